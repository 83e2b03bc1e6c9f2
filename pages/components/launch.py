"""Choose and run: preset, settings, cost and button; and whether the picture below is of these settings."""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from pages.components import actions, cached
from pages.components.form_values import use_settings
from pages.components.forms import choose_open, choose_preset, chosen_sweep, show_form, show_problems
from pages.components.live import duration
from pages.components.plain import counted, plain
from werank_core.experiments import Experiment
from werank_core.names import distinctions
from werank_core.settings import settings
from werank_core.sweeps import SweepSpec

DataCheck = Callable[[SweepSpec, str], SweepSpec | None]
"""The sweep with the identity of its data, None where they cannot be had; it shows what to do then."""


@dataclass(frozen=True)
class Places:
    """Where the parts of the launch stand: the row itself, and the form, with the live strip between them."""

    row: st.delta_generator.DeltaGenerator
    form: st.delta_generator.DeltaGenerator


def show_launch(experiment: Experiment, prefix: str, data_check: DataCheck | None, places: Places) -> SweepSpec | None:
    """Preset, settings, cost and button in one row, the form where it is asked for; returns what the form asks for."""
    with places.row:
        with st.container(horizontal=True, vertical_alignment="center", key=f"{prefix}_launch"):
            preset = choose_preset(experiment, prefix)
            opened = choose_open(experiment, preset, prefix)
            button = st.container(width="content")
            cost = st.container(width="stretch")
        for notice in st.session_state.get(f"{prefix}_notices", ()):
            st.warning(notice)
        spec, found = chosen_sweep(experiment, preset, prefix)
        if not opened:
            show_problems(problem.sentence for problem in found)
        checked = data_check(spec, prefix) if spec is not None and data_check is not None else spec
        ready, spec = checked is not None, checked or spec
    where: list[str] = []
    if opened:
        with places.form:
            where = show_form(experiment, preset, prefix, found)
    clicked = button.button(
        "Run sweep", type="primary", key=f"{prefix}_run", shortcut="Ctrl+Enter",
        disabled=not ready or settings().demo, help="What is trained already is reused." if ready else None,
    )  # fmt: skip
    if settings().demo:
        cost.caption(actions.DEMO)
    elif spec is None:
        cost.caption(f"Correct the settings{' under ' * bool(where)}{', '.join(where)} first.")
    else:
        cost.caption(cost_sentence(spec) if ready else "Not ready to run: see below.")
    if clicked and ready and spec is not None:
        remember_sweep(prefix, actions.submit(spec))
        st.rerun()
    return spec


def cost_sentence(spec: SweepSpec) -> str:
    """Runs that are still to be trained, and the time they take, from step times measured here."""
    price = cached.price(spec)
    if not price.new_runs:
        return f"No new runs: all {price.num_runs:,} are trained or in training."
    new = f"{price.new_runs:,} of {counted(price.num_runs, 'run')} {'is' if price.new_runs == 1 else 'are'} new"
    runs = new if price.new_runs < price.num_runs else counted(price.num_runs, "run")
    if price.seconds is None:
        return f"{runs}, first run here: time unknown"
    return f"{runs}, about {duration(price.seconds)} here"


def remember_sweep(prefix: str, sweep_id: str) -> None:
    """Show this sweep from the next run of the page on."""
    st.session_state[f"{prefix}_next_sweep"] = sweep_id


def show_relation(experiment: Experiment, prefix: str, asked: SweepSpec | None, sweep_id: str) -> None:
    """Whether the picture is of the settings above; where it is not, what differs and what to do."""
    pictured, row = cached.sweep_spec(sweep_id), cached.known_sweeps([sweep_id]).iloc[0]
    with st.container(horizontal=True, vertical_alignment="center", key=f"{prefix}_relation"):
        if asked is not None and asked.same_runs(pictured):
            older = " It was trained by older code: *Run sweep* trains it anew." if row["stale"] else ""
            st.caption(f"The settings above are those of this sweep.{older}", width="content")
            return
        told = "The settings above have to be corrected first."
        if asked is not None:
            here, above = distinctions([pictured, asked])
            told = f"The settings above differ: {above or 'fewer settings'} instead of {here or 'none'}."
        st.caption(f"This picture is of **{plain(row['name'])}**. {plain(told)}", width="content")
        st.button(
            "Use these settings", key=f"{prefix}_use", type="tertiary", icon=":material/arrow_upward:",
            help="Load the settings of the sweep in the picture into the form.",
            on_click=use_settings, args=(experiment, prefix, pictured),
        )  # fmt: skip
