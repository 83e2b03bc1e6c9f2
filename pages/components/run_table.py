"""The table of runs, what can be done with a selection, and the details of one run."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.charts import show_csv
from pages.components.layout import explained_errors
from pages.components.live import duration
from pages.components.plain import counted, plain
from werank_core.experiments import EXPERIMENTS
from werank_core.settings import settings
from werank_core.store import queries
from werank_core.vocabulary import METRICS, MetricKey

_FIRST = [
    "state",
    "experiment",
    "sweep_name",
    "differs",
    "strength",
    "second_value",
    "seed",
    "progress",
    "device",
    "seconds",
]
_LAST = ["started_at", "error", "run_id"]


NO_RUNS = "No runs here yet. They appear as soon as a sweep is submitted."


def show_runs(frame: pd.DataFrame, key: str, nothing: str = NO_RUNS) -> None:
    """Runs as a table with a selection, or `nothing`; actions on it, and the details when it is one run."""
    if frame.empty:
        st.info(nothing)
        return
    table = _table(frame)
    event = st.dataframe(
        table, hide_index=True, key=table_key(frame, key), on_select="rerun", selection_mode="multi-row",
        column_config=_columns(table), height=min(420, 38 + 35 * len(table)),
        alt="Runs with state, progress and metrics", placeholder="",
    )  # fmt: skip
    chosen = [str(frame["run_id"].iloc[row]) for row in event["selection"]["rows"] if row < len(frame)]
    _show_actions(frame, chosen, key)
    if len(chosen) == 1:
        show_run(chosen[0])


def training_sentence(frame: pd.DataFrame) -> str:
    """How many runs, and how long training took: runs that trained together took that time once."""
    seconds = frame.groupby(["started_at", "device"])["seconds"].max().sum()
    return f"{counted(len(frame), 'run')}, {duration(seconds)} of training in all."


def table_key(frame: pd.DataFrame, key: str) -> str:
    """The table's name, another one for other runs: a selection is of row numbers, and must not pass to other runs."""
    return f"{key}_table_{hashlib.sha256(''.join(frame['run_id']).encode()).hexdigest()[:8]}"


def _table(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame.copy()
    done = 100 * table["step"] / table["num_steps"].clip(lower=1)
    titles = {name: of.title for name, of in EXPERIMENTS.items()}
    table["experiment"] = table["experiment"].map(lambda name: titles.get(name, name))
    table["progress"] = done.where(table["state"] != "finished", 100.0).round()  # some stop early, by themselves
    metrics = [c for c in frame.columns if MetricKey.parse(c).metric in METRICS]
    table = table[[c for c in (*_FIRST, *metrics, *_LAST) if c in table.columns]]
    return table.replace("", pd.NA).dropna(axis=1, how="all")


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    config: dict[str, Any] = {
        "progress": st.column_config.ProgressColumn(
            "progress", min_value=0, max_value=100, format="%d%%", width="small"
        ),
        "sweep_name": st.column_config.TextColumn("sweep", width="medium"),
        "second_value": st.column_config.Column("second axis"),
        "strength": st.column_config.NumberColumn("strength", format="%g"),
        "seconds": st.column_config.NumberColumn("duration of its batch", format="%.1f s"),
        "started_at": st.column_config.DatetimeColumn("started", format="distance"),
        "differs": st.column_config.TextColumn("differs from the default in", width="medium"),
    }
    for name in table.columns:
        key = MetricKey.parse(name)
        if key.metric in METRICS:
            config[name] = st.column_config.NumberColumn(key.label, format="%.3f", help=key.known.tooltip)
    return config


def _show_actions(frame: pd.DataFrame, chosen: Sequence[str], key: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        show_csv(frame, "runs.csv", f"{key}_csv")
        if not chosen:
            st.caption("Select rows to cancel, retry or delete those runs; select one row for its details.")
            return
        if settings().demo:
            st.caption(actions.DEMO)
            return
        if st.button(f"Cancel {len(chosen)}", key=f"{key}_cancel"):
            actions.cancel_runs(chosen)
            st.rerun()
        if st.button(
            f"Retry {len(chosen)}", key=f"{key}_retry",
            help="Queues failed, cancelled and diverged runs again. Where there is a checkpoint, they go on from it.",
        ):  # fmt: skip
            st.toast(f"{counted(actions.retry_runs(chosen), 'run')} queued again.")
            st.rerun()
        if st.button(f"Delete {len(chosen)}", key=f"{key}_delete"):
            confirm_deletion(frame[frame["run_id"].isin(chosen)])


@st.dialog("Delete runs?")
def confirm_deletion(runs: pd.DataFrame) -> None:
    """Ask once more, naming what goes; deleted runs do not come back."""
    of = ", ".join(f"{count} of {name}" for name, count in runs["sweep_name"].fillna("no sweep").value_counts().items())
    st.markdown(
        f"**{counted(len(runs), 'run')}** ({plain(of)}) and everything recorded of them will be gone. "
        "This cannot be undone."
    )
    with explained_errors():
        if st.button(f"Delete {counted(len(runs), 'run')}", type="primary"):
            st.toast(f"{counted(actions.delete_runs(list(runs['run_id'])), 'run')} deleted.")
            st.rerun()


def show_run(run_id: str) -> None:
    """State, error, configuration; traceback and log on request."""
    run = queries.run_details(cached.store(), run_id)
    st.subheader(f"Run {plain(run_id)}", anchor=False)
    facts = [run.state.value, f"step {run.step:,} of {run.num_steps:,}", run.device, f"attempt {max(1, run.attempts)}"]
    st.markdown(" · ".join(plain(fact) for fact in facts if fact))
    if run.stale:
        st.badge(f"trained by {plain(run.code_version)}, older than the code", color="gray")
    if run.error:
        st.error(plain(run.error))
    left, right = st.columns(2)
    with left.expander("Configuration", expanded=True):
        st.json(run.config)
    if run.traceback:
        with right.expander("Traceback"):
            st.code(run.traceback, language="python")
    with right.expander("Log"):
        st.code(run.log or "The worker wrote nothing.", language=None)
