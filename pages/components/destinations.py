"""Where the page of each experiment is, and the prefix of its query parameters: links are built from here alone."""

from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

import streamlit as st


@dataclass(frozen=True)
class Destination:
    """Script of an experiment's page, and what its query parameters begin with."""

    script: str
    prefix: str


DESTINATIONS = {
    "toy_ssl": Destination("pages/toy.py", "toy"),
    "graph": Destination("pages/graph.py", "graph"),
    "rank_collapse": Destination("pages/rank_collapse.py", "collapse"),
}


def sweep_address(experiment: str, sweep_id: str) -> str:
    """Address of the experiment's page with that sweep chosen, relative to any other page."""
    target = DESTINATIONS[experiment]
    return f"{PurePath(target.script).stem}?{target.prefix}_sweep={quote(sweep_id)}"


def runs_address(sweep_id: str, state: str) -> str:
    """Address of the table of runs with those of a sweep in that state, relative to any other page."""
    return f"runs?runs_state={quote(state)}&runs_sweep={quote(sweep_id)}"


def show_sweep_link(experiment: str, sweep_id: str, label: str = "Open") -> None:
    """A link to the experiment's page with that sweep chosen."""
    target = DESTINATIONS.get(experiment)
    if target is not None:
        st.page_link(target.script, label=label, query_params={f"{target.prefix}_sweep": sweep_id})
