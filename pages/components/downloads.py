"""Everything of a sweep as files: written out when a button is pressed, in parts, never kept."""

import functools
from collections.abc import Callable, Iterable

import pandas as pd
import streamlit as st

from pages.components import cached
from werank_core.store import exports

_TITLES: dict[exports.Contents, str] = {"final": "Final metrics", "history": "History", "arrays": "Arrays"}


def show_downloads(sweep_id: str, prefix: str) -> None:
    """A button for each kind of table and of file, and one for the settings."""
    store = cached.store()
    st.markdown("**Everything of this sweep**")
    for contents, title in _TITLES.items():
        st.caption(f"{title}: {exports.CONTENTS[contents]}.")
        writers = {"csv": exports.as_csv, "parquet": exports.as_parquet}
        if contents == "arrays" or (contents == "history" and exports.is_too_long(store, sweep_id)):
            del writers["csv"]  # arrays are no table of numbers, and so long a text would fill this process
        with st.container(horizontal=True):
            for kind, write in writers.items():
                parts = functools.partial(exports.table_parts, store, sweep_id, contents)
                label = f"{title} as {'CSV' if kind == 'csv' else 'Parquet'}"
                _show_button(label, functools.partial(_written, write, parts), f"{contents}.{kind}", prefix, sweep_id)
    st.caption("Settings: what was asked for, as the store keeps it.")
    spec = cached.sweep_spec(sweep_id)
    _show_button("Settings as JSON", lambda: spec.model_dump_json(indent=1).encode(), "settings.json", prefix, sweep_id)


def _written(write: Callable[[Iterable[pd.DataFrame]], bytes], parts: Callable[[], Iterable[pd.DataFrame]]) -> bytes:
    return write(parts())


def _show_button(label: str, make: Callable[[], bytes], name: str, prefix: str, sweep_id: str) -> None:
    """Nothing is written out before the button is pressed."""
    st.download_button(
        label,
        make,
        f"{sweep_id}-{name}",
        key=f"{prefix}_download_{name}",
        on_click="ignore",
        icon=":material/download:",
    )
