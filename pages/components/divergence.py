"""What became of runs that diverged, and what to do about it."""

import streamlit as st

from pages.components import cached
from pages.components.answer import Choice
from pages.components.destinations import runs_address
from werank_core.figures.formats import format_strength
from werank_core.figures.summaries import distinct
from werank_core.store import StoreError
from werank_core.vocabulary import RunState

_LOOKED_AT = 50
"""Sweeps of the same experiment, the newest, that are asked for learning rates that went well."""


def show_diverged(choice: Choice) -> None:
    """How many runs diverged and where, a link to them, and the largest learning rate that went well."""
    runs = cached.runs([choice.sweep_id])
    lost = runs[runs["state"] == RunState.DIVERGED]
    if lost.empty:
        return
    symbol = choice.experiment.strength_label.split()[-1]
    count = f"{len(lost)} run{'s' * (len(lost) != 1)} diverged"
    where = ", ".join(map(format_strength, distinct(lost["strength"])))
    with st.container(horizontal=True, vertical_alignment="center", key=f"{choice.prefix}_diverged"):
        st.caption(
            f"{count} at {symbol} = {where}: the loss stopped being a number. {_advice(choice)}", width="content"
        )
        st.link_button(
            f"Show the {len(lost)} diverged" if len(lost) > 1 else "Show the diverged run",
            runs_address(choice.sweep_id, RunState.DIVERGED), type="tertiary", icon=":material/arrow_forward:",
        )  # fmt: skip


def _advice(choice: Choice) -> str:
    rate = getattr(choice.spec.config, "learning_rate", None)
    sound = [value for value in _sound_rates(choice) if rate is None or value <= rate or _swept(choice)]
    if not sound:
        return "Try a smaller learning rate, or leave the largest strengths out."
    return f"The largest learning rate without a diverged run here is {format_strength(max(sound))}: try that or less."


def _swept(choice: Choice) -> bool:
    return choice.spec.second_axis == "learning_rate"


def _sound_rates(choice: Choice) -> set[float]:
    """Learning rates of runs on the same data with the same optimizer, all of which finished."""
    if _swept(choice):
        runs = cached.runs([choice.sweep_id])
        well = set(runs["second_value"]) - set(runs.loc[runs["state"] != RunState.FINISHED, "second_value"])
        return {float(value) for value in well}
    mine, rates = choice.spec.config.effective(), set()
    for row in cached.sweeps(choice.experiment.name).head(_LOOKED_AT).itertuples():
        if row.diverged or row.failed or not row.finished:
            continue
        try:
            theirs = cached.sweep_spec(str(row.sweep_id))
        except StoreError:
            continue
        other = theirs.config.effective()
        if theirs.second_axis != "learning_rate" and all(
            other.get(name) == mine.get(name) for name in ("dataset", "optimizer", "objective")
        ):
            rates.add(float(other.get("learning_rate", 0.0)))
    return {rate for rate in rates if rate > 0}
