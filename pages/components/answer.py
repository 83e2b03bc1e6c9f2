"""The answer of an experiment page: linked strength curves, and a card that compares one strength with the baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.cached import Key
from pages.components.charts import Chart, show_chart, theme
from pages.components.comparison import compare_address, item_key
from pages.components.layout import CARD_HEIGHT
from werank_core.experiments import Experiment
from werank_core.figures.alt_text import strength_alt_text
from werank_core.figures.ceilings import ceiling_notes
from werank_core.figures.comparisons import Difference, paired_difference
from werank_core.figures.formats import format_difference, format_strength, format_value
from werank_core.figures.strength import plot_strength
from werank_core.figures.style import Theme
from werank_core.figures.summaries import distinct, summarize_strength, usable
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import MetricKey


@dataclass(frozen=True)
class Choice:
    """What the person looks at: a sweep, which metrics, at which second value, and the strength picked.

    `seen` is the sweep's key from before the frame was read: what is drawn of the frame is kept under it.
    """

    experiment: Experiment
    sweep_id: str
    spec: SweepSpec
    metrics: tuple[str, ...]
    frame: pd.DataFrame
    prefix: str
    seen: Key

    @property
    def picked_key(self) -> str:
        """Where the picked strength is remembered."""
        return f"{self.prefix}_picked_{self.sweep_id}"

    @property
    def strengths(self) -> list[float]:
        """Strengths with results."""
        return distinct(self.frame.loc[usable(self.frame), "strength"].unique()) if len(self.frame) else []

    @property
    def picked(self) -> float | None:
        """The strength clicked last, or the one nearest to the experiment's focus; None without results."""
        chosen = st.session_state.get(self.picked_key)
        positive = [s for s in self.strengths if s > 0]
        if chosen in positive or not positive:
            return chosen if chosen in positive else None
        return min(positive, key=lambda s: abs(math.log(s / self.experiment.focus)))


def show_answer(choice: Choice) -> None:
    """The picture, three quarters wide, and the card."""
    picture, card = st.columns([3, 1])
    with picture:
        _show_curves(choice)
    with card.container(border=True, key=f"{choice.prefix}_card", height=CARD_HEIGHT):
        _show_card(choice)


def _show_curves(choice: Choice) -> None:
    look = theme()
    chart = cached.drawn(
        "strength", choice.seen, choice.metrics, choice.picked, look, make=lambda: _curves(choice, look)
    )
    points = show_chart(chart, f"{choice.prefix}_strength", selectable=True)
    clicked = [float(point["customdata"][1]) for point in points if point.get("customdata")]
    if clicked and clicked[0] > 0 and clicked[0] != st.session_state.get(choice.picked_key):
        st.session_state[choice.picked_key] = clicked[0]
        st.rerun()


def _curves(choice: Choice, look: Theme) -> Chart:
    axis, label = choice.spec.second_axis, choice.experiment.strength_label
    summary = summarize_strength(choice.frame, choice.metrics, expected_seeds=choice.spec.seeds)
    figure = plot_strength(
        summary, choice.frame, choice.metrics, strength_label=label, theme=look, picked=choice.picked,
        notes=ceiling_notes(choice.frame),
        second_axis_label=axis.replace("_", " ") if axis else None,
    )  # fmt: skip
    return Chart(figure, strength_alt_text(summary, choice.metrics, label), summary)


def _show_card(choice: Choice) -> None:
    symbol = choice.experiment.strength_label.split()[-1]
    positive = [s for s in choice.strengths if s > 0]
    if choice.picked is None:
        st.caption("Appears when the baseline and one strength have finished runs.")
        return
    picked = st.selectbox(
        f"{symbol} against 0",
        positive,
        index=positive.index(choice.picked),
        format_func=format_strength,
        help="Click a point in the picture, or choose here.",
    )
    if picked != choice.picked:
        st.session_state[choice.picked_key] = picked
        st.rerun()
    for value in second_values(choice.frame):
        if not math.isnan(value):
            st.markdown(f"**{str(choice.spec.second_axis).replace('_', ' ').capitalize()} {format_strength(value)}**")
        show_differences(choice.frame, choice.metrics, picked, None if math.isnan(value) else value)
    address = compare_address(*(item_key(choice.sweep_id, strength) for strength in (0, picked)))
    st.link_button("Compare", address, type="tertiary", icon=":material/compare_arrows:", help="Opens these two there.")


def second_values(frame: pd.DataFrame) -> list[float]:
    """Distinct second values, or one NaN where there is no second axis."""
    return distinct(frame["second_value"].dropna()) or [math.nan]


def show_differences(frame: pd.DataFrame, metrics: Sequence[str], picked: float, second_value: float | None) -> None:
    """Mean at 0 -> mean at the picked strength, and the paired difference with its interval, one block a metric."""
    whole = [key for key in metrics if not MetricKey.parse(key).known.per_layer]
    found = {key: paired_difference(frame, key, 0.0, picked, second_value=second_value) for key in whole}
    found = {key: difference for key, difference in found.items() if difference.n}
    groups = {_group_text(difference) for difference in found.values()}
    ceilings = ceiling_notes(frame)
    for key, difference in found.items():
        known = MetricKey.parse(key).known
        own = f"  \n:gray[{_group_text(difference)}]" if len(groups) > 1 else ""
        label = ", ".join(filter(None, [known.label, ceilings.get(known.name)]))
        st.markdown(_difference_text(label, difference) + own, help=known.tooltip)
    if len(groups) == 1:
        st.caption(groups.pop())
    elif not groups:
        st.caption("The baseline and this strength have no finished runs in common yet, or the metrics are per layer.")


def _difference_text(label: str, difference: Difference) -> str:
    means = f"{format_value(difference.mean_a)} → {format_value(difference.mean_b)}"
    change = format_difference(difference.difference, difference.low, difference.high)
    return f"{label}  \n**{means}**  \n{change}"


def _group_text(difference: Difference) -> str:
    if not difference.paired:
        return f"n = {difference.n}, unpaired"
    return f"n = {difference.n} paired seed{'s' * (difference.n != 1)}"
