"""An experiment page: question -> choose -> live -> answer -> details, the same order for every experiment."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.answer import Choice, show_answer
from pages.components.details import Panel, show_details
from pages.components.forms import choose_open, choose_preset, chosen_sweep, show_form
from pages.components.layout import explained_errors, show_heading
from pages.components.live import duration, show_live_strip
from werank_core.experiments import Experiment
from werank_core.figures.ceilings import SIZES
from werank_core.figures.summaries import select_metrics
from werank_core.settings import settings
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import MetricKey

DataCheck = Callable[[SweepSpec, str], bool]


def show_experiment(
    experiment: Experiment,
    prefix: str,
    sentence: str,
    how_to_read: str,
    *,
    panels: dict[str, Panel] | None = None,
    data_check: DataCheck | None = None,
    footer: Callable[[str], None] | None = None,
) -> None:
    """The whole page of one experiment.

    `panels` are details that only this one has; `data_check` says whether the data of a sweep can be had, and shows
    what to do where it cannot; `footer` stands at the end and is given the prefix.
    """
    with explained_errors():
        show_heading(experiment.question, sentence, how_to_read)
        _show_launch(experiment, prefix, data_check)
        strip = st.container()
        left, right = st.columns([3, 4], vertical_alignment="center")
        with left:
            sweep_id = _selected_sweep(experiment, prefix)
        with strip:
            show_live_strip(sweep_id, prefix)
        with right:
            metrics = _chosen_metrics(experiment, prefix) if sweep_id else ()
        choice = _view(experiment, prefix, sweep_id, metrics)
        if choice is not None:
            show_answer(choice)
            show_details(choice, panels)
        if footer is not None:
            footer(prefix)


def _show_launch(experiment: Experiment, prefix: str, data_check: DataCheck | None) -> None:
    """Preset, settings, cost and button in one row; the form under it when asked for."""
    with st.container(horizontal=True, vertical_alignment="center", key=f"{prefix}_launch"):
        preset = experiment.presets[choose_preset(experiment, prefix)]
        opened = choose_open(preset.config, prefix)
        button = st.container(width="content")
        cost = st.container(width="stretch")
    if opened:
        show_form(experiment, preset, prefix)
    spec, problems = chosen_sweep(experiment, preset, prefix)
    for problem in problems:
        st.error(problem, icon=":material/error:")
    if spec is not None and data_check is not None and not data_check(spec, prefix):
        spec = None
    clicked = button.button(
        "Run sweep", type="primary", key=f"{prefix}_run", shortcut="Ctrl+Enter",
        disabled=spec is None or settings().demo, help=None if spec is None else "What is trained already is reused.",
    )  # fmt: skip
    cost.caption(actions.DEMO if settings().demo else cost_sentence(spec) if spec else "Correct the settings first.")
    if clicked and spec is not None:
        _remember(prefix, actions.submit(spec))
        st.rerun()


def cost_sentence(spec: SweepSpec) -> str:
    """Runs and expected time of a sweep, from step times measured here."""
    seconds = actions.predicted_seconds(spec)
    time = "first run here: time unknown" if seconds is None else f"about {duration(seconds)} here"
    return f"{spec.num_runs:,} runs, {time}"


def _remember(prefix: str, sweep_id: str) -> None:
    st.session_state[f"{prefix}_next_sweep"] = sweep_id


def _selected_sweep(experiment: Experiment, prefix: str) -> str | None:
    """The sweep that is looked at: just submitted, in the address, or the newest.

    The address is kept by hand: a bound widget writes what it displays, and that changes while a sweep runs.
    """
    key = f"{prefix}_sweep"
    options = cached.sweeps(experiment.name)
    ids = list(options["sweep_id"])
    if not ids:
        return None
    wanted = st.session_state.pop(f"{prefix}_next_sweep", None) or st.session_state.get(key, st.query_params.get(key))
    st.session_state[key] = wanted if wanted in ids else ids[0]
    names = {str(row["sweep_id"]): _sweep_label(row) for _, row in options.iterrows()}
    chosen: str = st.selectbox("Sweep", ids, format_func=lambda i: names[i], key=key, label_visibility="collapsed")
    st.query_params[key] = chosen
    return chosen


def _sweep_label(row: pd.Series) -> str:
    created = pd.Timestamp(row["created_at"]).tz_convert(st.context.timezone or "UTC")
    parts = [str(row["name"]), created.strftime("%-d %b %H:%M")]
    parts += [f"{row[s]} {s}" for s in ("running", "queued", "failed", "diverged", "cancelled") if row[s]]
    return " · ".join(parts + ["older code"] * bool(row["stale"]))


def _chosen_metrics(experiment: Experiment, prefix: str) -> tuple[str, ...]:
    """The group of metrics to draw."""
    sets = {"headline": experiment.headline, **experiment.metric_sets}
    chosen = st.segmented_control(
        "Metrics", list(sets), default="headline", key=f"{prefix}_metrics", required=True, bind="query-params",
        label_visibility="collapsed", wrap=True,
    )  # fmt: skip
    return sets[chosen or "headline"]


def _view(experiment: Experiment, prefix: str, sweep_id: str | None, metrics: tuple[str, ...]) -> Choice | None:
    """What is looked at; without any sweep, the one-click example instead."""
    if sweep_id is None:
        show_first_run(experiment, prefix)
        return None
    spec = cached.sweep_spec(sweep_id)
    metrics = tuple(key for key in metrics if spec.config.records_metric(MetricKey.parse(key).metric))
    metrics = recorded(metrics, cached.final_metrics(sweep_id, metrics))
    frame = cached.counted_metrics(sweep_id, (*metrics, *experiment.headline, *SIZES))
    return Choice(experiment, sweep_id, spec, metrics, frame, prefix)


def recorded(metrics: Sequence[str], frame: pd.DataFrame) -> tuple[str, ...]:
    """Those of the metrics that the frame has; all if it has none yet."""
    return tuple(key for key in metrics if len(select_metrics(frame, [key]))) or tuple(metrics)


def show_first_run(experiment: Experiment, prefix: str) -> None:
    """What stands where the picture will be while there is nothing to draw."""
    with st.container(border=True, height=360, vertical_alignment="center", horizontal_alignment="center"):
        st.markdown(
            "**No sweep yet.** The example trains this experiment's default on this machine and draws its curves.",
            text_alignment="center",
        )
        default = next(iter(experiment.presets.values())).config
        shown = [key.known for key in map(MetricKey.parse, experiment.headline) if default.records_metric(key.metric)]
        names = ", ".join(known.label for known in shown)
        st.caption(f"You will see {names} against {experiment.strength_label}.", text_alignment="center")
        if st.button("Run the example", type="primary", disabled=settings().demo, key=f"{prefix}_example"):
            _remember(prefix, actions.submit_example(experiment))
            st.rerun()
