"""Details that only graphs have: pictures of the embedding, sweeps side by side, the probe's C curve."""

from collections.abc import Mapping
from typing import get_args

import numpy as np
import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.answer import Choice
from pages.components.charts import Chart, show_chart, strength_chart, theme
from pages.components.comparison import Item, overlaid
from werank_core.config import ExperimentConfig
from werank_core.config.formulas import Gram
from werank_core.figures.ceilings import ceiling_notes
from werank_core.figures.embeddings import Picture, plot_embeddings
from werank_core.figures.formats import format_strength
from werank_core.figures.probe_curve import plot_probe_curve, summarize_probe_curve
from werank_core.figures.summaries import summarize_strength
from werank_core.settings import settings

GRAMS: tuple[str, ...] = get_args(Gram)
SCHEDULES = ("uniform", "first", "last", "linear")


def show_embeddings(choice: Choice) -> None:
    """Two principal components of the representations at two strengths, coloured by label."""
    points, labels = (choice.rows(cached.arrays(choice.sweep_id, name)) for name in ("picture", "picture_labels"))
    if points.empty:
        st.info("The picture appears when the first run of the sweep has finished.")
        return
    strengths = sorted(points["strength"].unique())
    left, middle, right = st.columns(3)
    first = left.selectbox("Left", strengths, format_func=format_strength, key=f"{choice.prefix}_left")
    default = strengths.index(choice.picked) if choice.picked in strengths else len(strengths) - 1
    second = middle.selectbox(
        "Right", strengths, index=default, format_func=format_strength, key=f"{choice.prefix}_right"
    )
    seed = right.selectbox("Seed", sorted(points["seed"].unique()), key=f"{choice.prefix}_picture_seed")
    symbol = choice.experiment.strength_label.split()[-1]
    pictures = [
        Picture(f"{symbol} = {format_strength(s)}, seed {seed}", _only(points, s, seed), _only(labels, s, seed))
        for s in (first, second)
    ]
    caption = "First two principal components of at most 3,000 nodes, coloured by label."
    figure = plot_embeddings(pictures, theme=theme(), caption=caption)
    show_chart(Chart(figure, f"{caption} Left {pictures[0].name}, right {pictures[1].name}."), "graph_embedding")


def _only(frame: pd.DataFrame, strength: float, seed: int) -> np.ndarray:
    rows = frame[(frame["strength"] == strength) & (frame["seed"] == seed)]
    values: np.ndarray = rows["values"].iloc[-1] if len(rows) else np.zeros((0, 2))
    return values


def show_schedules(choice: Choice) -> None:
    """This sweep beside those that differ from it in the layer schedule alone."""
    if choice.spec.second_axis == "alpha_schedule":
        st.info("The layer schedule is this sweep's second axis: the picture above shows it.")
        return
    st.caption("Which layers should carry the penalty? The same sweep with the strength on all, one or later layers.")
    configs = {name: choice.spec.config.replaced(alpha_schedule=name, alpha_weights=()) for name in SCHEDULES}
    _show_side_by_side(choice, configs, "schedules")


def show_grams(choice: Choice) -> None:
    """This sweep beside those that differ from it in the Gram matrix of the penalty alone."""
    if not choice.spec.config.applies("gram"):
        st.info("This penalty is the same for both Gram matrices of a weight.")
        return
    if choice.spec.second_axis == "gram":
        st.info("The Gram matrix is this sweep's second axis: the picture above shows it.")
        return
    st.caption(
        "W Wᵀ (output), WᵀW (input) or the smaller of them. For the larger one the unsquared norm has a floor and a "
        "weaker pull, so the same α is another strength."
    )
    configs = {gram: choice.spec.config.replaced(gram=gram) for gram in GRAMS}
    _show_side_by_side(choice, configs, "grams")


def _show_side_by_side(choice: Choice, configs: Mapping[str, ExperimentConfig], name: str) -> None:
    """The same sweep with each of the configs, one line each; a button trains what is missing."""
    specs = {key: choice.spec.model_copy(update={"config": config, "name": ""}) for key, config in configs.items()}
    items = {key: Item(key, key, sweep_id, None) for key, spec in specs.items() if (sweep_id := cached.sweep_id(spec))}
    missing = [key for key in specs if key not in items]
    if missing and st.button(
        f"Train {', '.join(missing)}", disabled=settings().demo, key=f"{choice.prefix}_train_{name}"
    ):
        for key in missing:
            actions.submit(specs[key])
        st.rerun()
    frame, metrics = overlaid(list(items.values())), choice.experiment.headline
    summary = summarize_strength(frame, metrics)
    chart = strength_chart(
        summary, frame, metrics, choice.experiment.strength_label, theme=theme(), notes=ceiling_notes(frame)
    )
    show_chart(chart, f"{choice.prefix}_{name}", called="These curves", scope=(choice.sweep_id, tuple(items)))


def show_probe_curves(choice: Choice) -> None:
    """Validation accuracy of the probe against its own regularization C."""
    summary = summarize_probe_curve(choice.rows(cached.arrays(choice.sweep_id, "probe_curve")))
    figure = plot_probe_curve(summary, strength_label=choice.experiment.strength_label, theme=theme())
    alt = "Validation accuracy of the probe against C, one line a strength"
    scope = (choice.sweep_id, choice.second_value)
    show_chart(Chart(figure, alt, summary), f"{choice.prefix}_probe", called="Probe", scope=scope)
