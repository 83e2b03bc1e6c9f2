"""Details that only graphs have: pictures of the embedding, layer schedules side by side, the probe's C curve."""

import numpy as np
import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.answer import Choice
from pages.components.charts import show_figure, theme
from pages.components.comparison import Item, overlaid
from werank_core.figures.alt_text import strength_alt_text
from werank_core.figures.embeddings import Picture, plot_embeddings
from werank_core.figures.formats import format_strength
from werank_core.figures.probe_curve import plot_probe_curve, summarize_probe_curve
from werank_core.figures.strength import plot_strength
from werank_core.figures.summaries import summarize_strength
from werank_core.settings import settings

SCHEDULES = ("uniform", "first", "last", "linear")


def show_embeddings(choice: Choice) -> None:
    """Two principal components of the representations at two strengths, coloured by label."""
    points, labels = (cached.arrays(choice.sweep_id, name) for name in ("picture", "picture_labels"))
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
    show_figure(figure, "graph_embedding", alt=f"{caption} Left {pictures[0].name}, right {pictures[1].name}.")


def _only(frame: pd.DataFrame, strength: float, seed: int) -> np.ndarray:
    rows = frame[(frame["strength"] == strength) & (frame["seed"] == seed)]
    values: np.ndarray = rows["values"].iloc[-1] if len(rows) else np.zeros((0, 2))
    return values


def show_schedules(choice: Choice) -> None:
    """This sweep beside those that differ from it in the layer schedule alone."""
    specs = {
        name: choice.spec.model_copy(
            update={"config": choice.spec.config.replaced(alpha_schedule=name, alpha_weights=()), "name": ""}
        )
        for name in SCHEDULES
    }
    items = {
        name: Item(name, name, sweep_id, None) for name, spec in specs.items() if (sweep_id := cached.sweep_id(spec))
    }
    missing = [name for name in SCHEDULES if name not in items]
    st.caption("Which layers should carry the penalty? The same sweep with the strength on all, one or later layers.")
    if missing and st.button(
        f"Train {', '.join(missing)}", disabled=settings().demo, key=f"{choice.prefix}_train_schedules"
    ):
        for name in missing:
            actions.submit(specs[name])
        st.rerun()
    frame = overlaid(list(items.values()))
    summary = summarize_strength(frame, choice.experiment.headline)
    label = choice.experiment.strength_label
    figure = plot_strength(summary, frame, choice.experiment.headline, strength_label=label, theme=theme())
    alt = strength_alt_text(summary, choice.experiment.headline, label)
    show_figure(figure, f"{choice.prefix}_schedules", alt=alt, table=summary)


def show_probe_curves(choice: Choice) -> None:
    """Validation accuracy of the probe against its own regularization C."""
    summary = summarize_probe_curve(cached.arrays(choice.sweep_id, "probe_curve"))
    figure = plot_probe_curve(summary, strength_label=choice.experiment.strength_label, theme=theme())
    alt = "Validation accuracy of the probe against C, one line a strength"
    show_figure(figure, f"{choice.prefix}_probe", alt=alt, table=summary)
