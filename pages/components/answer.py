"""The answer of an experiment page: linked strength curves, and a card that compares one strength with the baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.cached import Key
from pages.components.charts import Chart, show_chart, strength_chart, theme
from pages.components.comparison import compare_address, item_key
from pages.components.form_values import shown
from pages.components.layout import CARD_HEIGHT
from werank_core.config import title_of
from werank_core.experiments import Experiment
from werank_core.figures.ceilings import ceiling_notes
from werank_core.figures.comparisons import Difference, paired_difference
from werank_core.figures.formats import format_difference, format_second, format_strength, format_value
from werank_core.figures.style import Theme
from werank_core.figures.summaries import distinct, distinct_seconds, summarize_strength, usable
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import MetricKey


@dataclass(frozen=True)
class Choice:
    """What the person looks at: a sweep, which metrics, and the strength picked.

    `seen` is the sweep's key from before the frame was read: what is drawn of the frame is kept under it.
    `second_value` is the one looked at where lines are strengths; None: all of them, or there is no second axis.
    """

    experiment: Experiment
    sweep_id: str
    spec: SweepSpec
    metrics: tuple[str, ...]
    frame: pd.DataFrame
    prefix: str
    seen: Key
    second_value: float | str | None = None

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
        """The strength picked last, here or in the address, or the one nearest to the experiment's focus."""
        chosen = st.session_state.get(self.picked_key, _linked_strength(self.prefix))
        positive = [s for s in self.strengths if s > 0]
        if chosen in positive or not positive:
            return chosen if chosen in positive else None
        return min(positive, key=lambda s: abs(math.log(s / self.experiment.focus)))

    def pick(self, strength: float) -> None:
        """Look at this strength from now on; it stands in the address."""
        st.session_state[self.picked_key] = strength
        st.query_params[f"{self.prefix}_picked"] = str(shown(strength))

    @property
    def second_title(self) -> str:
        """What the second axis is called; nothing where there is none."""
        name = self.spec.second_axis
        return title_of(type(self.spec.config).model_fields[name], name) if name else ""

    def at_second(self, value: float | str) -> "Choice":
        """The same at one value of the second axis."""
        return replace(self, frame=_at_second(self.frame, value), second_value=value)

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Those of the rows that are of the second value looked at."""
        return frame if self.second_value is None else _at_second(frame, self.second_value)


def _at_second(frame: pd.DataFrame, value: float | str) -> pd.DataFrame:
    """The rows of that second value, which no line has to be named after any more."""
    return frame[frame["second_value"] == value].assign(second_value=math.nan)


def _linked_strength(prefix: str) -> float | None:
    text = st.query_params.get(f"{prefix}_picked", "")
    try:
        return float(text[:40])
    except ValueError:
        return None


def show_answer(choice: Choice) -> None:
    """The picture, three quarters wide, and the card.

    Lines for every layer and every second value at once could not be told apart: layers are drawn at one of them.
    """
    if choice.spec.second_values and all(MetricKey.parse(key).known.per_layer for key in choice.metrics):
        choice = at_one_second(choice, f"Layers at {choice.second_title}", "layers_at")
    picture, card = st.columns([3, 1])
    with picture:
        _show_curves(choice)
    with card.container(border=True, key=f"{choice.prefix}_card", height=CARD_HEIGHT):
        _show_card(choice)


def at_one_second(choice: Choice, label: str, name: str) -> Choice:
    """The choice at one value of its second axis, picked here."""
    values = distinct_seconds(choice.spec.second_values)
    chosen = st.segmented_control(
        label, values, default=values[0], format_func=format_second, required=True, key=f"{choice.prefix}_{name}",
        bind="query-params", wrap=True,
    )  # fmt: skip
    return choice.at_second(values[0] if chosen is None else chosen)


def _show_curves(choice: Choice) -> None:
    look = theme()
    chart = cached.drawn(
        "strength",
        choice.seen,
        choice.metrics,
        choice.second_value,
        choice.picked,
        look,
        make=lambda: _curves(choice, look),
    )
    scope = (choice.sweep_id, choice.metrics, choice.second_value)
    points = show_chart(chart, f"{choice.prefix}_strength", called="Curves", selectable=True, scope=scope)
    clicked = next((float(point["customdata"][1]) for point in points if point.get("customdata")), None)
    key = f"{choice.prefix}_clicked"  # a selection stays after another strength was picked in the card
    if clicked != st.session_state.get(key):
        st.session_state[key] = clicked
        if clicked and clicked != choice.picked:
            choice.pick(clicked)
            st.rerun()


def _curves(choice: Choice, look: Theme) -> Chart:
    summary = summarize_strength(choice.frame, choice.metrics, expected_seeds=choice.spec.seeds)
    return strength_chart(
        summary, choice.frame, choice.metrics, choice.experiment.strength_label, theme=look, picked=choice.picked,
        notes=ceiling_notes(choice.frame),
        second_axis_label=choice.second_title if choice.second_value is None else None,
    )  # fmt: skip


def _show_card(choice: Choice) -> None:
    symbol = choice.experiment.strength_label.split()[-1]
    positive = [s for s in choice.strengths if s > 0]
    if choice.picked is None:
        st.caption("Appears when the baseline and one strength have finished runs.")
        return
    key = f"{choice.prefix}_strength_compared"
    st.session_state[key] = choice.picked
    picked = st.selectbox(
        f"{symbol} against 0", positive, format_func=format_strength, key=key,
        help="Click a point in the picture, or choose here.",
        on_change=lambda: choice.pick(st.session_state[key]),
    )  # fmt: skip
    if all(MetricKey.parse(key).known.per_layer for key in choice.metrics):
        st.caption("These metrics have a value for every layer: the picture shows them, and no card compares them.")
        return
    for value in second_values(choice.frame):
        if value is not None:
            st.markdown(f"**{choice.second_title} {format_second(value)}**")
        show_differences(choice.frame, choice.metrics, picked, value)
    address = compare_address(*(item_key(choice.sweep_id, strength) for strength in (0, picked)))
    st.link_button(
        "Compare these two", address, type="tertiary", icon=":material/compare_arrows:",
        help="Opens the page *Compare* with both strengths: what differs, curves, spectra.",
    )  # fmt: skip


def second_values(frame: pd.DataFrame) -> list[Any]:
    """Distinct second values, or one None where there is no second axis."""
    return distinct_seconds(frame["second_value"]) or [None]


def show_differences(frame: pd.DataFrame, metrics: Sequence[str], picked: float, second_value: Any) -> None:
    """Mean at 0 -> mean at the picked strength, and the paired difference with its interval, one block a metric."""
    whole = [key for key in metrics if not MetricKey.parse(key).known.per_layer]
    found = {key: paired_difference(frame, key, 0.0, picked, second_value=second_value) for key in whole}
    found = {key: difference for key, difference in found.items() if difference.n}
    groups = {_group_text(difference) for difference in found.values()}
    ceilings = ceiling_notes(frame)
    for key, difference in found.items():
        known = MetricKey.parse(key).known
        st.metric(
            ", ".join(filter(None, [known.label, ceilings.get(known.name)])),
            f"{format_value(difference.mean_a)} → {format_value(difference.mean_b)}",
            format_difference(difference.difference, difference.low, difference.high),
            delta_color="off", delta_arrow="off", help=known.tooltip,
        )  # fmt: skip
        if len(groups) > 1:
            st.caption(_group_text(difference))
    if len(groups) == 1:
        st.caption(groups.pop())
    elif not groups:
        st.caption("The baseline and this strength have no finished runs in common yet.")


def _group_text(difference: Difference) -> str:
    if not difference.paired:
        return f"n = {difference.n}, unpaired"
    return f"n = {difference.n} paired seed{'s' * (difference.n != 1)}"
