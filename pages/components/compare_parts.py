"""The parts of the compare page: choosing, what differs, curves overlaid, differences with intervals, spectra."""

from collections.abc import Callable, Hashable, Sequence

import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.cached import Made
from pages.components.charts import Chart, show_chart, show_csv, strength_chart, theme
from pages.components.comparison import (
    AT,
    Item,
    compared_arrays,
    differences,
    differing_settings,
    item,
    item_labels,
    overlaid,
    shared_strengths,
)
from pages.components.details import SPECTRA
from pages.components.plain import plain
from pages.components.sweep_choice import searched, unique_names
from werank_core.experiments import EXPERIMENTS, Experiment
from werank_core.figures.ceilings import ceiling_notes
from werank_core.figures.compared_spectra import (
    compared_spectra_alt_text,
    plot_compared_spectra,
    summarize_compared_spectra,
)
from werank_core.figures.formats import format_strength
from werank_core.figures.summaries import select_metrics, summarize_strength

MOST = 6
STRENGTHS_OF = 30
KEY = "compare_items"


def choose_items() -> list[Item]:
    """What a person compares, the first is the reference; empty where there is nothing to choose from."""
    listed = cached.sweeps(containing=searched("compare"))
    # The address is kept by hand: a bound widget writes labels, and those change when a sweep of the same name comes.
    wanted = list(st.session_state.get(KEY, st.query_params.get_all(KEY)))
    labels = _labels(listed, wanted)
    _note_missing([key for key in wanted if key not in labels], len([key for key in wanted if key in labels]))
    st.session_state[KEY] = [key for key in wanted if key in labels][:MOST]
    if not labels:
        st.info(
            "Nothing to compare yet: this page needs sweeps with finished runs. The overview has an example to run."
        )
        return []
    keys = st.multiselect(
        "Compare", list(labels), format_func=lambda key: labels[key], max_selections=MOST, key=KEY,
        placeholder="Add sweeps or strengths; the first is the reference", on_change=_forget_missing,
        select_all=False, filter_mode="contains",
    )  # fmt: skip
    st.query_params[KEY] = keys
    if len(keys) < 2:
        st.caption("Choose at least two.")
    if len(listed) > STRENGTHS_OF:
        st.caption(
            f"Single strengths are offered of the newest {STRENGTHS_OF} sweeps and of those chosen here: to compare "
            "strengths of an older one, choose the sweep first."
        )
    return [item(key, labels[key]) for key in keys]


def _labels(listed: pd.DataFrame, wanted: Sequence[str]) -> dict[str, str]:
    """What is offered, by key: every sweep with finished runs, and single strengths of the newest and the chosen."""
    chosen = cached.known_sweeps([key.partition(AT)[0] for key in wanted][: 4 * MOST])
    rows = pd.concat([listed, chosen[~chosen["sweep_id"].isin(listed["sweep_id"])]], ignore_index=True)
    rows = rows[rows["finished"] > 0]
    names = unique_names(rows)
    newest = list(rows["sweep_id"][:STRENGTHS_OF])
    return item_labels(names, dict.fromkeys([*newest, *(i for i in chosen["sweep_id"] if i in names)]))


def _note_missing(missing: Sequence[str], found: int) -> None:
    """Say what of an address is not here, until a person chooses something else."""
    key = f"{KEY}_missing"
    if missing or found > MOST:
        told = ", ".join(plain(name[:40]) for name in missing[:MOST]) + ("…" if len(missing) > MOST else "")
        lost = f"There is no {told} to compare here: it was deleted, is of another store, or has no finished runs."
        cut = f"Of {found} items the first {MOST} are compared."
        st.session_state[key] = " ".join([lost] * bool(missing) + [cut] * (found > MOST))
    if st.session_state.get(key):
        st.warning(st.session_state[key])


def _forget_missing() -> None:
    st.session_state.pop(f"{KEY}_missing", None)


def compared_experiment(chosen: Sequence[Item]) -> Experiment:
    """The experiment of the reference: its headline metrics are compared."""
    return EXPERIMENTS[cached.sweep_spec(chosen[0].sweep_id).experiment]


def show_curves(chosen: Sequence[Item], experiment: Experiment) -> None:
    """One line an item in every row."""
    look, label = theme(), experiment.strength_label

    def chart() -> Chart:
        frame = overlaid(chosen)
        recorded = [key for key in experiment.headline if len(select_metrics(frame, [key]))]
        metrics = recorded or list(experiment.headline)
        summary = summarize_strength(frame, metrics)
        return strength_chart(summary, frame, metrics, label, theme=look, notes=ceiling_notes(frame))

    show_chart(_made("curves", chosen, look, make=chart), "compare_strength")


def _made(what: str, chosen: Sequence[Item], *parts: Hashable, make: Callable[[], Made]) -> Made:
    names = tuple((item.key, item.label) for item in chosen)
    return cached.drawn_together(what, [item.seen for item in chosen], names, *parts, make=make)


def show_settings(chosen: Sequence[Item]) -> None:
    """What is not the same in all of them."""
    st.subheader("What differs in configuration", anchor=False)
    settings = differing_settings(chosen)
    if settings.empty:
        st.caption("Nothing: the same configuration.")
    else:
        st.dataframe(settings, hide_index=True, alt="Settings that differ between the compared items")


def show_differences(chosen: Sequence[Item], experiment: Experiment) -> None:
    """Every other item against the first, metric by metric."""
    st.subheader("Differences from the first", anchor=False)
    table = _made("differences", chosen, make=lambda: differences(chosen, experiment.headline))
    if table.empty:
        st.caption("They share no strength with finished runs: choose single strengths to compare those.")
        return
    st.dataframe(table, hide_index=True, alt="Metric differences with 95% intervals")
    show_csv(table, "differences.csv", "compare_csv")


def show_spectra(chosen: Sequence[Item], experiment: Experiment) -> None:
    """Singular values of the representations, one line an item; whole sweeps at a strength they share."""
    st.subheader("Spectra of the representations", anchor=False)
    shared = _made("shared strengths", chosen, make=lambda: shared_strengths(chosen))
    strength = experiment.focus
    if shared:
        strength = st.select_slider(
            f"Whole sweeps at {experiment.strength_label}", shared, format_func=format_strength,
            value=min(shared, key=lambda s: abs(s - experiment.focus)), key="compare_spectra_strength",
        ) if len(shared) > 1 else shared[0]  # fmt: skip
    look = theme()

    def chart() -> Chart:
        summary = summarize_compared_spectra(compared_arrays(chosen, SPECTRA["representations"], strength))
        return Chart(plot_compared_spectra(summary, theme=look), compared_spectra_alt_text(summary), summary)

    show_chart(_made("spectra", chosen, strength, look, make=chart), "compare_spectra")
