"""An experiment page: question -> choose -> live -> answer -> details, the same order for every experiment."""

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.answer import Choice, show_answer
from pages.components.data_sets import show_data_note
from pages.components.details import Panel, show_details
from pages.components.divergence import show_diverged
from pages.components.launch import DataCheck, Places, remember_sweep, show_launch, show_relation
from pages.components.layout import explained_errors, show_heading
from pages.components.live import show_live_strip
from pages.components.plain import plain
from pages.components.sweep_choice import choose_sweep
from werank_core.experiments import Experiment
from werank_core.figures.ceilings import SIZES
from werank_core.figures.summaries import select_metrics
from werank_core.settings import settings
from werank_core.store import StoreError
from werank_core.vocabulary import MetricKey


def show_experiment(
    experiment: Experiment,
    prefix: str,
    sentence: str,
    how_to_read: str,
    *,
    panels: dict[str, Panel] | None = None,
    remarks: Callable[[Choice], None] | None = None,
    data_check: DataCheck | None = None,
    footer: Callable[[str], None] | None = None,
) -> None:
    """The whole page of one experiment.

    `panels` are details that only this one has; `remarks` are said below the answer; `data_check` gives a sweep the
    identity of its data, and shows what to do where they cannot be had; `footer` stands at the end and is given the
    prefix.
    """
    with explained_errors():
        show_heading(experiment.question, sentence, how_to_read)
        row, strip, form = st.container(), st.container(), st.container()
        asked = show_launch(experiment, prefix, data_check, Places(row, form))
        shown = st.container(gap="xsmall")  # the sweep and its metrics, close together: the picture stays in sight
        with shown:
            sweep_id = choose_sweep(experiment, prefix)
        with strip:
            show_live_strip(sweep_id, prefix)
        if sweep_id is not None and (told := _unreadable(sweep_id)):
            st.error(plain(told), icon=":material/error:")
        elif sweep_id is None:
            if not cached.sweep_count(experiment.name):
                show_first_run(experiment, prefix)
        else:
            with shown:
                metrics = _chosen_metrics(experiment, prefix)
            show_relation(experiment, prefix, asked, sweep_id)
            choice = _view(experiment, prefix, sweep_id, metrics)
            show_data_note(choice.spec.config)
            show_answer(choice)
            show_diverged(choice)
            if remarks is not None:
                remarks(choice)
            show_details(choice, panels)
        if footer is not None:
            footer(prefix)


def _unreadable(sweep_id: str) -> str:
    """Why this sweep cannot be shown, where another one can; nothing where it can be read."""
    try:
        cached.sweep_spec(sweep_id)
    except StoreError as error:
        return f"{error} Choose another sweep above."
    return ""


def _chosen_metrics(experiment: Experiment, prefix: str) -> tuple[str, ...]:
    """The group of metrics to draw."""
    sets = experiment.all_metric_sets
    with st.container(horizontal=True, vertical_alignment="center"):
        chosen = st.segmented_control(
            "Metrics", list(sets), default="headline", key=f"{prefix}_metrics", required=True, bind="query-params",
            label_visibility="collapsed", wrap=True, width="content",
        )  # fmt: skip
        st.caption(sets[chosen or "headline"].help, width="stretch")
    return sets[chosen or "headline"].metrics


def _view(experiment: Experiment, prefix: str, sweep_id: str, metrics: tuple[str, ...]) -> Choice:
    """What is looked at, with the key that was the sweep's before its frame was read."""
    seen, spec = cached.sweep_key(sweep_id), cached.sweep_spec(sweep_id)
    metrics = tuple(key for key in metrics if spec.config.records_metric(MetricKey.parse(key).metric))
    metrics = recorded(metrics, cached.final_metrics(sweep_id, metrics))
    frame = cached.counted_metrics(sweep_id, (*metrics, *experiment.headline, *SIZES))
    return Choice(experiment, sweep_id, spec, metrics, frame, prefix, seen)


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
            remember_sweep(prefix, actions.submit_example(experiment))
            st.rerun()
