"""Below the answer: spectra, training, rank against accuracy, runs, settings. Only the chosen one is drawn."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.answer import Choice
from pages.components.charts import show_figure, theme
from pages.components.forms import field_title
from pages.components.run_table import show_runs
from werank_core.config import trait
from werank_core.figures.alt_text import rank_accuracy_alt_text, spectra_alt_text, training_alt_text
from werank_core.figures.curves import plot_training
from werank_core.figures.formats import format_strength
from werank_core.figures.rank_accuracy import plot_rank_accuracy, rank_and_accuracy
from werank_core.figures.spectra import plot_spectra
from werank_core.figures.spectrum_summaries import summarize_spectra
from werank_core.figures.summaries import distinct, summarize_history
from werank_core.vocabulary import metric

SPECTRA = {
    "weights": "weight_spectrum",
    "representations": "representation_spectrum",
    "embeddings": "embedding_spectrum",
}
Panel = Callable[[Choice], None]


def show_details(choice: Choice, extra: dict[str, Panel] | None = None) -> None:
    """One panel of the experiment page, chosen by a person and drawn when chosen."""
    panels: dict[str, Panel] = {
        "Spectra": show_spectra,
        "Training": show_training,
        "Rank against accuracy": show_rank_accuracy,
        **(extra or {}),
        "Runs": lambda c: show_runs(cached.runs([c.sweep_id]), f"{c.prefix}_runs"),
        "Settings": show_settings,
    }
    st.space("small")
    names = list(panels)
    chosen = st.segmented_control(
        "Details", names, default=names[0], key=f"{choice.prefix}_details", required=True, bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    panels[chosen or names[0]](choice)


def show_spectra(choice: Choice) -> None:
    """Singular values per layer, one line a strength, with a slider over the recorded steps."""
    what = st.segmented_control(
        "Spectrum of", list(SPECTRA), key=f"{choice.prefix}_spectrum", required=True, default="weights"
    )
    summary = summarize_spectra(
        _of_second_value(cached.arrays(choice.sweep_id, SPECTRA[what or "weights"], "all"), choice)
    )
    figure = plot_spectra(summary, strength_label=choice.experiment.strength_label, theme=theme())
    show_figure(figure, f"{choice.prefix}_spectra", alt=spectra_alt_text(summary), table=summary)


def _of_second_value(arrays: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """The rows of one second value, chosen by a person: lines are strengths, and there is one slider only."""
    values = distinct(arrays["second_value"])
    if len(values) < 2:
        return arrays
    name = str(choice.spec.second_axis).replace("_", " ").capitalize()
    chosen = st.segmented_control(
        name, values, default=values[0], format_func=format_strength, required=True, key=f"{choice.prefix}_second"
    )
    return arrays[arrays["second_value"] == chosen]


def show_training(choice: Choice) -> None:
    """Loss and chosen metrics against the step."""
    names = ("loss", *choice.metrics)
    frame = cached.history(choice.sweep_id, names)
    layers = sorted(set(frame["layer"]) - {0}) if len(frame) else []
    layer = 0
    if layers:
        layer = int(
            st.segmented_control("Layer", layers, default=layers[0], required=True, key=f"{choice.prefix}_layer") or 0
        )
    summary = summarize_history(frame, names, include_unfinished=True, expected_seeds=choice.spec.seeds)
    present = [name for name in names if len(frame) and (frame["metric"] == name.rpartition("/")[2]).any()]
    figure = plot_training(
        summary, frame, present or names, layer=layer, strength_label=choice.experiment.strength_label, theme=theme()
    )
    show_figure(figure, f"{choice.prefix}_training", alt=training_alt_text(summary, present), table=summary)


def show_rank_accuracy(choice: Choice) -> None:
    """One dot a run."""
    figure = plot_rank_accuracy(choice.frame, theme(), strength_label=choice.experiment.strength_label)
    table = rank_and_accuracy(choice.frame)
    show_figure(figure, f"{choice.prefix}_rank_accuracy", alt=rank_accuracy_alt_text(choice.frame), table=table)


def show_settings(choice: Choice) -> None:
    """Every setting that has an effect, beside the default, and the formulas of the metrics drawn."""
    config = choice.spec.config
    default = type(config)()
    rows = [
        {
            "group": trait(type(config).model_fields[name], "group"),
            "setting": field_title(type(config).model_fields[name], name),
            "value": str(value),
            "default": str(getattr(default, name)),
            "meaning": type(config).model_fields[name].description,
        }
        for name, value in config.effective().items()
        if name not in ("strength", "model_seed", "data_seed")
    ]
    st.dataframe(rows, hide_index=True, alt="The settings of this sweep")
    for name in dict.fromkeys(key.rpartition("/")[2] for key in choice.metrics):
        st.caption(metric(name).tooltip)
    st.caption(f"Code version of new runs is recorded with each run; sweep {choice.sweep_id}.")
