"""Below the answer: spectra, training, rank against accuracy, runs, settings. Only the chosen one is drawn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from pages.components import cached
from pages.components.answer import Choice, at_one_second
from pages.components.charts import Chart, show_chart, theme
from pages.components.downloads import show_downloads
from pages.components.run_table import show_runs
from werank_core.config import title_of, trait
from werank_core.figures.alt_text import rank_accuracy_alt_text, spectra_alt_text, training_alt_text
from werank_core.figures.ceilings import ceiling_notes, within_ceilings
from werank_core.figures.curves import plot_training
from werank_core.figures.rank_accuracy import plot_rank_accuracy, rank_and_accuracy
from werank_core.figures.spectra import plot_spectra
from werank_core.figures.style import Theme
from werank_core.figures.summaries import distinct, select_metrics, summarize_history
from werank_core.vocabulary import MetricKey
from werank_core.vocabulary.spelling import spelled

SPECTRA = {
    "weights": "weight_spectrum",
    "representations": "representation_spectrum",
    "embeddings": "embedding_spectrum",
}


@dataclass(frozen=True)
class Panel:
    """One detail of the experiment page; `at_one_second`: its lines are strengths, at one value of the second axis."""

    show: Callable[[Choice], None]
    at_one_second: bool = False


def show_details(choice: Choice, extra: Mapping[str, Panel] | None = None) -> None:
    """One panel of the experiment page, chosen by a person and drawn when chosen."""
    panels = {
        "Spectra": Panel(show_spectra, at_one_second=True),
        "Training": Panel(show_training, at_one_second=True),
        "Rank against accuracy": Panel(show_rank_accuracy, at_one_second=True),
        **(extra or {}),
        "Table of runs": Panel(lambda c: show_runs(cached.runs([c.sweep_id]), f"{c.prefix}_runs")),
        "Table of settings": Panel(show_settings),
        "Downloads": Panel(lambda c: show_downloads(c.sweep_id, c.prefix)),
    }
    st.space("small")
    names = list(panels)
    chosen = st.segmented_control(
        "Details", names, default=names[0], key=f"{choice.prefix}_details", required=True, bind="query-params",
        label_visibility="collapsed", wrap=True,
    )  # fmt: skip
    panel = panels[chosen or names[0]]
    with st.container(key=f"{choice.prefix}_panel"):
        several = panel.at_one_second and choice.spec.second_values
        panel.show(at_one_second(choice, choice.second_title, "second") if several else choice)


def chosen_layer(choice: Choice, layers: Sequence[int]) -> int:
    """The layer that a panel shows, the same in all panels that have it; 0 where there is none to choose."""
    if not layers:
        return 0
    chosen = st.segmented_control(
        "Layer", layers, default=layers[0], required=True, key=f"{choice.prefix}_layer", bind="query-params", wrap=True
    )
    return layers[0] if chosen is None else chosen


def show_spectra(choice: Choice) -> None:
    """Singular values of one layer, one line a strength, with a slider over the recorded steps."""
    with st.container(horizontal=True):
        what = st.segmented_control(
            "Spectrum of", list(SPECTRA), key=f"{choice.prefix}_spectrum", required=True, default="weights",
            bind="query-params",
        )  # fmt: skip
        name, look = SPECTRA[what or "weights"], theme()
        summary = cached.drawn(
            "spectra", choice.seen, name, choice.second_value,
            make=lambda: cached.spectra(choice.sweep_id, name, choice.second_value),
        )  # fmt: skip
        layer = chosen_layer(choice, [int(layer) for layer in distinct(summary["layer"]) if layer])

    def chart() -> Chart:
        rows = summary[summary["layer"] == layer]
        figure = plot_spectra(rows, strength_label=choice.experiment.strength_label, theme=look)
        return Chart(figure, spectra_alt_text(rows), rows)

    key = ("spectra of a layer", choice.seen, name, choice.second_value, layer, look)
    scope = (choice.sweep_id, name, layer, choice.second_value)
    show_chart(cached.drawn(*key, make=chart), f"{choice.prefix}_spectra", called="Spectra", scope=scope)


def show_training(choice: Choice) -> None:
    """Loss and chosen metrics against the step."""
    rows = MetricKey.parse(choice.experiment.headline[0]).split
    names = (str(MetricKey("loss", rows)), *choice.metrics)
    layers = distinct(select_metrics(choice.frame, names)["layer"].unique())
    layer, look = chosen_layer(choice, [int(layer) for layer in layers if layer]), theme()
    chart = cached.drawn(
        "training", choice.seen, names, layer, choice.second_value, look,
        make=lambda: _training_chart(choice, names, layer, look),
    )  # fmt: skip
    scope = (choice.sweep_id, names, layer, choice.second_value)
    show_chart(chart, f"{choice.prefix}_training", called="Training curves", scope=scope)


def _training_chart(choice: Choice, names: tuple[str, ...], layer: int, look: Theme) -> Chart:
    frame = choice.rows(cached.history(choice.sweep_id, names, layer))
    summary = summarize_history(frame, names, include_unfinished=True, expected_seeds=choice.spec.seeds)
    summary = within_ceilings(summary, choice.frame)
    present = [name for name in names if len(select_metrics(frame, [name]))]
    label = choice.experiment.strength_label
    figure = plot_training(
        summary, frame, present or names, layer=layer, strength_label=label, theme=look,
        notes=ceiling_notes(choice.frame),
    )  # fmt: skip
    return Chart(figure, training_alt_text(summary, present, label), summary)


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

    drawn = cached.drawn("rank against accuracy", choice.seen, choice.second_value, look, make=chart)
    scope = (choice.sweep_id, choice.second_value)
    show_chart(drawn, f"{choice.prefix}_rank_accuracy", called="Ranks and accuracies", scope=scope)


def show_settings(choice: Choice) -> None:
    """Every setting that has an effect, beside the default, and the formulas of penalty and metrics."""
    config = choice.spec.config
    default, fields = type(config)(), type(config).model_fields
    rows = [
        {
            "group": trait(fields[name], "group"),
            "setting": title_of(fields[name], name),
            "value": spelled(value),
            "default": spelled(getattr(default, name)),
            "meaning": fields[name].description,
        }
        for name, value in config.effective().items()
        if name not in ("strength", "model_seed", "data_seed")
    ]
    st.dataframe(rows, hide_index=True, alt="The settings of this sweep")
    if config.penalty_sentence:
        st.caption(config.penalty_sentence)
    for known in dict.fromkeys(MetricKey.parse(key).known for key in choice.metrics):
        st.caption(known.tooltip)
    st.caption(f"Every run keeps the version of the code that trained it. This is sweep {choice.sweep_id}.")
