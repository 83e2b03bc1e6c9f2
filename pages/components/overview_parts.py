"""The parts of the overview: two claims with a small picture each, guided starts, sweep cards, the machine line."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.charts import Chart, show_chart, theme
from pages.components.destinations import DESTINATIONS, show_sweep_link
from pages.components.live import NO_WORKER, ago
from pages.components.plain import counted, plain
from pages.components.sweep_choice import unique_names
from werank_core.config import penalty_formula, title_of
from werank_core.experiments import EXPERIMENTS, Experiment
from werank_core.figures.alt_text import strength_alt_text
from werank_core.figures.ceilings import SIZES, ceiling_notes, within_ceilings
from werank_core.figures.example import measured_example
from werank_core.figures.formats import format_second, format_strength, format_value
from werank_core.figures.strength import plot_sparkline
from werank_core.figures.summaries import distinct, distinct_seconds, summarize_strength
from werank_core.settings import settings
from werank_core.store import queries
from werank_core.theory.deep_linear import optimal_rank
from werank_core.vocabulary import MetricKey, RunState

CARDS = 6
SMALL = 110
MOST_TOLD = 3


def show_claims() -> None:
    """What the two papers say, one sentence and one picture each."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown(
            "**WERank.** Encoders trained without labels (self-supervised learning, SSL) can lose rank. A penalty "
            f"${penalty_formula('werank').latex}$ on every layer, $G$ a Gram matrix of its weights, is to keep it. "
            "[arXiv 2402.09586](https://arxiv.org/abs/2402.09586)"
        )
        _show_measured_example()
    with right.container(border=True, height="stretch"):
        st.markdown(
            "**Neural rank collapse.** Weight decay drives the weights of a classifier to low rank. The less the "
            "inputs vary within classes, the lower the rank. [arXiv 2402.03991](https://arxiv.org/abs/2402.03991)"
        )
        _show_closed_form()


def _show_measured_example() -> None:
    """What the default sweep of the first experiment measured, whatever was trained last."""
    experiment = EXPERIMENTS["toy_ssl"]
    key, label = experiment.headline[0], experiment.strength_label
    summary = measured_example()
    chart = Chart(plot_sparkline(summary, key, theme(), height=SMALL), strength_alt_text(summary, [key], label))
    show_chart(chart, "overview_measured")
    preset = next(iter(experiment.presets.values())).title
    st.caption(f"Measured, {experiment.title}, preset {preset}, 10 seeds: {_ends(summary, key, label)}.")


def _show_closed_form() -> None:
    """The rank that weight decay leaves of a deep linear network's five singular values."""
    figure = plot_sparkline(_closed_form(depth=3), "numerical_rank", theme(), height=SMALL)
    alt = "The rank of a 3-layer linear network falls from 5 to 0 in jumps as λ grows"
    show_chart(Chart(figure, alt), "overview_theory")
    st.caption("Closed form: the rank of a 3-layer linear network against weight decay λ. It falls in jumps.")


def _closed_form(depth: int) -> pd.DataFrame:
    """As a summary frame without spread: one value a strength."""
    strengths = np.geomspace(0.003, 1, 40)
    singular_values = np.array([3, 1.5, 0.9, 0.35, 0.1])
    ranks = [float(optimal_rank(singular_values, strength, depth)) for strength in strengths]
    fixed: dict[str, Any] = {
        "metric": "numerical_rank",
        "layer": 0,
        "split": "",
        "series": "",
        "second_value": np.nan,
        "low": np.nan,
        "high": np.nan,
    }
    counts = {"n": 1, "n_expected": 1, "num_diverged": 0, "num_failed": 0, "num_unfinished": 0, "num_undefined": 0}
    return pd.DataFrame({"strength": strengths, "mean": ranks}).assign(**fixed, **counts)


def show_starts() -> None:
    """Three guided starts: each opens an experiment; without any sweep, the example runs at one click."""
    st.subheader("Start here", anchor=False)
    for place, (name, target) in zip(st.columns(3), DESTINATIONS.items(), strict=False):
        with place.container(border=True, height="stretch"):
            st.markdown(f"**{EXPERIMENTS[name].question}**")
            st.page_link(target.script, label=EXPERIMENTS[name].title, icon=":material/arrow_forward:")


def show_sweep_cards(sweeps: pd.DataFrame) -> None:
    """The newest sweeps, each with a miniature of its first headline curve."""
    st.subheader("Newest sweeps", anchor=False)
    if sweeps.empty:
        _show_example()
        return
    newest = list(sweeps.head(CARDS).itertuples())
    names = unique_names(sweeps.head(CARDS))
    for start in range(0, len(newest), 3):
        for place, row in zip(st.columns(3), newest[start : start + 3], strict=False):
            with place.container(border=True, height="stretch"):
                _show_card(row, names[str(row.sweep_id)])


def _show_card(row: object, shown: str) -> None:
    sweep_id, name = str(getattr(row, "sweep_id", "")), str(getattr(row, "experiment", ""))
    experiment = EXPERIMENTS.get(name)
    st.markdown(f"**{plain(shown or sweep_id)}**")
    counts = {state.value: int(getattr(row, state.value, 0)) for state in RunState}
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    st.caption(
        f"{experiment.title if experiment else plain(name)} · {states} · {ago(getattr(row, 'created_at', None))}"
    )
    if experiment is not None:
        _show_miniature(experiment, sweep_id)
        show_sweep_link(name, sweep_id)


def _show_miniature(experiment: Experiment, sweep_id: str) -> None:
    chart, words = _miniature(experiment, sweep_id)
    show_chart(chart, f"card_{sweep_id}")
    st.caption(words)


def _miniature(experiment: Experiment, sweep_id: str, height: int = 72) -> tuple[Chart, str]:
    """A sweep's curve of one metric without axes, and where it begins and ends."""
    look, name, label = theme(), experiment.headline[0], experiment.strength_label

    def make() -> tuple[Chart, str]:
        frame = cached.counted_metrics(sweep_id, (name, *SIZES))
        summary = within_ceilings(summarize_strength(frame, [name]), frame)
        figure = plot_sparkline(summary, name, look, height=height)
        return Chart(figure, strength_alt_text(summary, [name], label)), _ends(summary, name, label, frame, experiment)

    return cached.drawn("miniature", cached.sweep_key(sweep_id), name, look, height, make=make)


def _ends(
    summary: pd.DataFrame, name: str, label: str, frame: pd.DataFrame | None = None, of: Experiment | None = None
) -> str:
    """Where a curve begins and ends, for the first values of a second axis each; with the ceiling of a rank."""
    means = summary.dropna(subset="mean").sort_values("strength")
    strengths = distinct(means["strength"])
    if len(strengths) < 2:
        return "No curve yet."
    key, seconds = MetricKey.parse(name), distinct_seconds(means["second_value"])
    ceiling = "" if frame is None else ceiling_notes(frame).get(key.metric, "")
    what = ", ".join(filter(None, [key.known.label, ceiling]))
    span = f"at {label.split()[-1]} {' → '.join(map(format_strength, (strengths[0], strengths[-1])))}"
    if not seconds or frame is None or of is None:
        return f"{what}{':' * bool(ceiling)} {_first_and_last(means)} {span}"
    axis = str(frame["second_axis"].dropna().iloc[0])
    told = [
        f"{format_second(second)}: {_first_and_last(means[means['second_value'] == second])}"
        for second in seconds[:MOST_TOLD]
    ]
    told += ["…"] * (len(seconds) > MOST_TOLD)
    return f"{what}, {span}. {title_of(of.config_class.model_fields[axis], axis)} {', '.join(told)}"


def _first_and_last(means: pd.DataFrame) -> str:
    return " → ".join(format_value(float(value)) for value in means["mean"].iloc[[0, -1]])


def _show_example() -> None:
    """One click to something to look at."""
    with st.container(border=True):
        st.markdown("**Nothing trained yet.** The example sweep trains encoders on real 8×8 digits, in the background.")
        if st.button("Run the example", type="primary", disabled=settings().demo, key="overview_example"):
            actions.submit_example(EXPERIMENTS["toy_ssl"])
            st.switch_page(DESTINATIONS["toy_ssl"].script)


def show_machine() -> None:
    """Device, slots and queue in one line."""
    machine = queries.machine(cached.store())
    jobs = f"{counted(machine.running_jobs, 'job')} running, {machine.queued_jobs} queued"
    worker = (
        f"{counted(machine.slots, 'slot')} on {', '.join(machine.devices)}" if machine.supervisor_alive else NO_WORKER
    )
    st.caption(f"This machine: {worker} · {jobs}.")
