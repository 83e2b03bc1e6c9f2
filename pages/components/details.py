"""Below the answer: spectra, training, rank against accuracy, runs, settings. Only the chosen one is drawn."""

from collections.abc import Callable

import streamlit as st

from pages.components import cached
from pages.components.answer import Choice
from pages.components.charts import Chart, show_chart, theme
from pages.components.run_table import show_runs
from werank_core.config import title_of, trait
from werank_core.figures.alt_text import rank_accuracy_alt_text, spectra_alt_text, training_alt_text
from werank_core.figures.ceilings import ceiling_notes
from werank_core.figures.curves import plot_training
from werank_core.figures.formats import format_strength
from werank_core.figures.rank_accuracy import plot_rank_accuracy, rank_and_accuracy
from werank_core.figures.spectra import plot_spectra
from werank_core.figures.style import Theme
from werank_core.figures.summaries import distinct, select_metrics, summarize_history
from werank_core.vocabulary import MetricKey

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
    name, second_value, look = SPECTRA[what or "weights"], _chosen_second_value(choice), theme()

    def chart() -> Chart:
        summary = cached.spectra(choice.sweep_id, name, second_value)
        figure = plot_spectra(summary, strength_label=choice.experiment.strength_label, theme=look)
        return Chart(figure, spectra_alt_text(summary), summary)

    show_chart(cached.drawn("spectra", choice.seen, name, second_value, look, make=chart), f"{choice.prefix}_spectra")


def _chosen_second_value(choice: Choice) -> float | str | None:
    """The second value whose spectra are drawn: lines are strengths, and there is one slider only."""
    values = choice.spec.second_values
    if not values:
        return None
    name = str(choice.spec.second_axis).replace("_", " ").capitalize()
    chosen = st.segmented_control(
        name, values, default=values[0], format_func=format_strength, required=True, key=f"{choice.prefix}_second"
    )
    return values[0] if chosen is None else chosen


def show_training(choice: Choice) -> None:
    """Loss and chosen metrics against the step."""
    rows = MetricKey.parse(choice.experiment.headline[0]).split
    names = (str(MetricKey("loss", rows)), *choice.metrics)
    layers = [layer for layer in distinct(select_metrics(choice.frame, names)["layer"].unique()) if layer]
    layer = 0
    if layers:
        whole = [int(layer) for layer in layers]
        layer = st.segmented_control("Layer", whole, default=whole[0], required=True, key=f"{choice.prefix}_layer") or 0
    look = theme()
    chart = cached.drawn(
        "training", choice.seen, names, layer, look, make=lambda: _training_chart(choice, names, layer, look)
    )
    show_chart(chart, f"{choice.prefix}_training")


def _training_chart(choice: Choice, names: tuple[str, ...], layer: int, look: Theme) -> Chart:
    frame = cached.history(choice.sweep_id, names, layer)
    summary = summarize_history(frame, names, include_unfinished=True, expected_seeds=choice.spec.seeds)
    present = [name for name in names if len(select_metrics(frame, [name]))]
    label = choice.experiment.strength_label
    figure = plot_training(
        summary, frame, present or names, layer=layer, strength_label=label, theme=look,
        notes=ceiling_notes(choice.frame),
    )  # fmt: skip
    return Chart(figure, training_alt_text(summary, present), summary)


def show_rank_accuracy(choice: Choice) -> None:
    """One dot a run."""
    look, label = theme(), choice.experiment.strength_label

    keys = {
        "rank_metric": choice.experiment.headline_key("effective_rank"),
        "accuracy_metric": choice.experiment.headline_key("accuracy"),
    }

    def chart() -> Chart:
        figure = plot_rank_accuracy(choice.frame, look, strength_label=label, **keys)
        return Chart(figure, rank_accuracy_alt_text(choice.frame, **keys), rank_and_accuracy(choice.frame, **keys))

    show_chart(cached.drawn("rank against accuracy", choice.seen, look, make=chart), f"{choice.prefix}_rank_accuracy")


def show_settings(choice: Choice) -> None:
    """Every setting that has an effect, beside the default, and the formulas of penalty and metrics."""
    config = choice.spec.config
    default = type(config)()
    rows = [
        {
            "group": trait(type(config).model_fields[name], "group"),
            "setting": title_of(type(config).model_fields[name], name),
            "value": str(value),
            "default": str(getattr(default, name)),
            "meaning": type(config).model_fields[name].description,
        }
        for name, value in config.effective().items()
        if name not in ("strength", "model_seed", "data_seed")
    ]
    st.dataframe(rows, hide_index=True, alt="The settings of this sweep")
    if config.penalty_sentence:
        st.caption(config.penalty_sentence)
    for known in dict.fromkeys(MetricKey.parse(key).known for key in choice.metrics):
        st.caption(known.tooltip)
    st.caption(f"Code version of new runs is recorded with each run; sweep {choice.sweep_id}.")
