"""Which sweep a page shows: listed or searched for, told apart from its namesakes, and called what a person likes."""

from collections import Counter

import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.destinations import DESTINATIONS, sweep_address
from pages.components.layout import explained_errors
from pages.components.plain import plain
from werank_core.experiments import EXPERIMENTS, Experiment
from werank_core.settings import settings
from werank_core.sweeps import MAX_NAME

_COUNTED = ("running", "queued", "failed", "diverged", "cancelled")
_MOST_NAMESAKES = 12


def choose_sweep(experiment: Experiment, prefix: str) -> str | None:
    """The sweep that is looked at: just submitted, in the address, or the newest; None where there is none.

    The address is kept by hand: a bound widget writes what it displays, and that changes while a sweep runs. A sweep
    that is not there, because it was deleted or the link is of another store, is named and nothing shown for it.
    """
    key = f"{prefix}_sweep"
    asked = st.session_state.pop(f"{prefix}_next_sweep", None) or st.session_state.get(key) or st.query_params.get(key)
    listed = cached.sweeps(experiment.name, searched(prefix, experiment.name))
    here = cached.known_sweeps([asked]) if asked else listed.iloc[:0]
    own = here[here["experiment"] == experiment.name]
    rows = pd.concat([own[~own["sweep_id"].isin(listed["sweep_id"])], listed], ignore_index=True)
    if asked and own.empty:
        _show_missing(str(asked), here)
    if rows.empty:
        return None
    ids = list(rows["sweep_id"])
    st.session_state[key] = ids[0] if not asked else str(asked) if len(own) else None
    labels = _labels(rows, st.session_state[key])
    with st.container(horizontal=True, vertical_alignment="center"):
        chosen: str | None = st.selectbox(
            "Sweep", ids, index=0 if st.session_state[key] else None, format_func=labels.__getitem__, key=key,
            label_visibility="collapsed", placeholder="Choose a sweep",
        )  # fmt: skip
        if chosen is not None:
            _show_renaming(chosen, str(rows.set_index("sweep_id")["name"][chosen]), prefix)
    if chosen is not None:
        st.query_params[key] = chosen
    return chosen


def searched(prefix: str, experiment: str | None = None) -> str:
    """The part of a name that is searched for; asked only where there are more sweeps than a list holds."""
    count = cached.sweep_count(experiment)
    if count <= cached.LISTED:
        return ""
    text: str = st.text_input(
        f"Find one of {count:,} sweeps by name", key=f"{prefix}_find", placeholder="part of a name, or an id"
    )
    found = len(cached.sweeps(experiment, text))
    cut = f"the newest {found:,}" if found == cached.LISTED else f"{found:,}"
    st.caption(f"Listed below are {cut}{' with this in their name' if text else ''}.")
    return text


def _show_missing(sweep_id: str, here: pd.DataFrame) -> None:
    shown = plain(sweep_id[:40])
    if here.empty:
        st.warning(f"There is no sweep {shown} here: it was deleted, or is of another store. Nothing is shown for it.")
        return
    name = str(here["experiment"].iloc[0])
    title = EXPERIMENTS[name].title if name in EXPERIMENTS else plain(name)
    st.warning(f"Sweep {shown} is of another experiment, {title}. Nothing is shown for it here.")
    if name in DESTINATIONS:
        st.link_button(f"Open it under {title}", sweep_address(name, sweep_id), type="tertiary")


def _labels(rows: pd.DataFrame, shown: str | None) -> dict[str, str]:
    """Name, time and what became of the runs; of the sweep that is shown the live strip says that, and is newer."""
    names, times = names_told_apart(rows), _times(rows)
    repeated = Counter((names[sweep_id], times[sweep_id]) for sweep_id in rows["sweep_id"])
    labels = {}
    for sweep_id, states, stale in zip(rows["sweep_id"], rows[list(_COUNTED)].to_numpy(), rows["stale"], strict=True):
        told = [f"{count} {state}" for state, count in zip(_COUNTED, states, strict=True) if count]
        parts = [names[sweep_id], times[sweep_id], *([] if sweep_id == shown else told), *["older code"] * bool(stale)]
        parts += [sweep_id[:6]] * (repeated[names[sweep_id], times[sweep_id]] > 1)
        labels[sweep_id] = " · ".join(parts)
    return labels


def unique_names(rows: pd.DataFrame) -> dict[str, str]:
    """A name for each of these sweeps that no other has: with what differs, else with its time, else with its id."""
    names, times = names_told_apart(rows), _times(rows)
    for told in (times, {sweep_id: sweep_id[:6] for sweep_id in names}):
        counts = Counter(names.values())
        names = {i: f"{name} ({told[i]})" if counts[name] > 1 else name for i, name in names.items()}
    return names


def names_told_apart(rows: pd.DataFrame) -> dict[str, str]:
    """The sweeps' names; where several have the same, each with what it has and the others have not."""
    names = dict(zip(rows["sweep_id"], rows["name"].astype(str), strict=True))
    namesakes: dict[str, list[str]] = {}
    for sweep_id, name in names.items():
        namesakes.setdefault(name, []).append(sweep_id)
    for name, sweep_ids in namesakes.items():
        if 1 < len(sweep_ids) <= _MOST_NAMESAKES:
            told = cached.told_apart(sweep_ids)
            names |= {i: f"{name} ({words})" if words else name for i, words in zip(sweep_ids, told, strict=True)}
    return names


def _times(rows: pd.DataFrame) -> dict[str, str]:
    local = rows["created_at"].dt.tz_convert(st.context.timezone or "UTC").dt.strftime("%-d %b %H:%M")
    return dict(zip(rows["sweep_id"], local, strict=True))


def _show_renaming(sweep_id: str, name: str, prefix: str) -> None:
    with st.popover("Rename", type="tertiary", width="content", key=f"{prefix}_renaming_{sweep_id}"):
        given = st.text_input(
            "Name of this sweep", name, max_chars=MAX_NAME, key=f"{prefix}_rename_{sweep_id}",
            help="Empty: the name made from its settings.",
        )  # fmt: skip
        with explained_errors():
            if st.button("Keep this name", key=f"{prefix}_renamed", disabled=settings().demo):
                actions.rename_sweep(sweep_id, given)
                del st.session_state[f"{prefix}_rename_{sweep_id}"]  # the field shows the name it has now
                st.rerun()
