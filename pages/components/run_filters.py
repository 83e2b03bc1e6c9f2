"""Which runs the table lists: filters that stand in the address, where what is not here is named."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.plain import plain
from pages.components.sweep_choice import unique_names
from werank_core.experiments import EXPERIMENTS
from werank_core.names import one_line
from werank_core.vocabulary import RunState

_MOST_CHARACTERS = 200
_MOST_NAMED = 6
_WHY = {"state": "", "experiment": "", "sweep_id": "It was deleted, or is of another store."}


def chosen_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Those of the runs that the filters let through."""
    places = st.columns(4)
    listed = cached.known_sweeps(list(dict.fromkeys(frame["sweep_id"])))
    names = unique_names(listed)
    by_name = {str(name): list(rows["sweep_id"]) for name, rows in listed.groupby("name")}
    filters: tuple[tuple[str, str, Mapping[str, str]], ...] = (
        ("state", "State", {state.value: state.value for state in RunState}),
        ("experiment", "Experiment", {name: of.title for name, of in EXPERIMENTS.items()}),
        ("sweep_id", "Sweep", names),
    )
    for place, (column, title, options) in zip(places, filters, strict=False):
        with place:
            key = f"runs_{column.removesuffix('_id')}"
            chosen, missing = _chosen(key, title, options, by_name if column == "sweep_id" else {})
        if missing:
            told = ", ".join(plain(name[:40]) for name in missing[:_MOST_NAMED])
            st.warning(f"There is no {title.lower()} {told} here: nothing is listed for it. {_WHY[column]}".strip())
        if chosen or missing:
            frame = frame[frame[column].isin(chosen)]
    with places[-1]:
        text = _searched()
    return frame[frame["differs"].str.contains(text, case=False, regex=False)] if text else frame


def _chosen(
    key: str, title: str, options: Mapping[str, str], also: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[str]]:
    """What a filter is set to, and what of its address does not exist; the address is kept by hand to be able to tell.

    `also` are other words in an address for some of the options: links of old name a sweep and not its id.
    """
    asked = st.session_state.get(key)
    if asked is None:
        linked = [option for word in st.query_params.get_all(key) for option in also.get(word, [word])]
        st.session_state[f"{key}_missing"] = [option for option in linked if option not in options]
        asked = linked
    st.session_state[key] = [option for option in dict.fromkeys(asked) if option in options]
    chosen = st.multiselect(
        title,
        list(options),
        format_func=lambda option: options[option],
        key=key,
        on_change=_forget,
        args=(key,),
        select_all=False,
        filter_mode="contains",
        placeholder="all",
    )
    missing: list[str] = st.session_state.get(f"{key}_missing", [])
    if not missing:
        st.query_params[key] = chosen
    return chosen, missing


def _forget(key: str) -> None:
    st.session_state[f"{key}_missing"] = []


def _searched() -> str:
    """The text that what differs must have in it."""
    key = "runs_search"
    if key not in st.session_state:
        st.session_state[key] = one_line(st.query_params.get(key, "")[:_MOST_CHARACTERS])
    text: str = st.text_input("Differs in", key=key, placeholder="for example depth 2", max_chars=_MOST_CHARACTERS)
    if text:
        st.query_params[key] = text
    else:
        st.query_params.pop(key, None)
    return text
