"""Reads from the store, each made once for every state of what it reads: a rerun without news touches no table.

What is kept is shared by all sessions and never changed in place; keeping it as it is, and not pickled, makes a hit
free. Everything of one sweep hangs on that sweep's own revision: other sweeps in training make nothing stale.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeVar

import pandas as pd
import streamlit as st

from werank_core.figures.spectrum_summaries import summarize_spectra
from werank_core.figures.unrecorded import with_unrecorded
from werank_core.names import distinctions
from werank_core.settings import settings
from werank_core.store import Store, StoreError, open_store, queries
from werank_core.store import runs as runs_store
from werank_core.sweeps import SweepSpec

Steps = Literal["last", "all"] | int
Key = tuple[Hashable, ...]
Made = TypeVar("Made")
LISTED = 2_000
"""Sweeps that a list offers; a search reaches the others."""

_AT_ONCE = 200  # runs
_SAME_EVERYWHERE = ["sweep_id", "experiment", "dataset", "second_axis"]

# Few and not for long: of a sweep in training every record makes a new entry, and 2,000 runs are some 10 MB.
_kept = st.cache_resource(show_spinner=False, max_entries=6, ttl=900)
_many_kept = st.cache_resource(show_spinner=False, max_entries=64, ttl=900)


@st.cache_resource(show_spinner=False)
def _opened(url: str, read_only: bool) -> Store:
    return open_store(url, read_only=read_only)


def store() -> Store:
    """The store of this server, opened once."""
    return _opened(settings().store_url, settings().demo)


def revision() -> Key:
    """Changes whenever anything in the store does, or another store takes its place: the cheap poll."""
    numbers = queries.revision_and_silent(store())
    return (store().opened, *numbers)


def sweep_key(sweep_id: str) -> Key:
    """Changes whenever one of the sweep's own runs does."""
    now = revision()
    return (settings().store_url, now[0], sweep_id, *_sweep_revision(settings().store_url, sweep_id, now))


@st.cache_resource(show_spinner=False, max_entries=256, ttl=900)
def _sweep_revision(url: str, sweep_id: str, revision: Key) -> tuple[float, ...]:
    return queries.sweep_revision(store(), sweep_id)


def drawn(what: str, seen: Key, *parts: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` makes of a sweep's runs (a figure and its words), once for every state of them and of `parts`.

    `seen` is the sweep's key, taken before anything was read that goes into the figure: runs may finish between two
    reads, and a figure of what was there before must not be kept as one of what is there now.
    """
    return drawn_together(what, [seen], *parts, make=make)


def drawn_together(what: str, seen: Sequence[Key], *parts: Hashable, make: Callable[[], Made]) -> Made:
    """As `drawn`, of the runs of several sweeps."""
    made: Made = _drawn(what, tuple(seen), parts, _make=make)
    return made


@_many_kept
def _drawn(what: str, key: Key, parts: Key, _make: Callable[[], Any]) -> Any:
    return _make()


def sweeps(experiment: str | None = None, containing: str = "") -> pd.DataFrame:
    """The newest sweeps, at most `LISTED`, newest first; only those with this text in their name, if one is given."""
    return _sweeps(settings().store_url, experiment, containing, LISTED, revision())


@_kept
def _sweeps(url: str, experiment: str | None, containing: str, most: int, revision: Key) -> pd.DataFrame:
    if not containing:
        return queries.sweeps(store(), experiment, most)
    found = queries.find_sweeps(store(), containing, experiment)
    return queries.sweeps(store(), sweep_ids=found[:most])


def sweep_count(experiment: str | None = None) -> int:
    """How many sweeps there are, listed or not."""
    return _sweep_count(settings().store_url, experiment, revision())


@_many_kept
def _sweep_count(url: str, experiment: str | None, revision: Key) -> int:
    return queries.count_sweeps(store(), experiment)


def known_sweeps(sweep_ids: Sequence[str]) -> pd.DataFrame:
    """Those of these sweeps that exist, listed or not."""
    return _known_sweeps(settings().store_url, tuple(sweep_ids), revision())


@_many_kept
def _known_sweeps(url: str, sweep_ids: tuple[str, ...], revision: Key) -> pd.DataFrame:
    if len(sweep_ids) <= LISTED:
        return queries.sweeps(store(), sweep_ids=sweep_ids)
    listed = queries.sweeps(store())
    return listed[listed["sweep_id"].isin(sweep_ids)].reset_index(drop=True)


def sweep_spec(sweep_id: str) -> SweepSpec:
    """What was asked for; it never changes, so it is read once."""
    return _sweep_spec((settings().store_url, store().opened), sweep_id)


@st.cache_resource(show_spinner=False, max_entries=1024)
def _sweep_spec(place: Key, sweep_id: str) -> SweepSpec:
    return queries.sweep_spec(store(), sweep_id)


def told_apart(sweep_ids: Sequence[str]) -> list[str]:
    """What each of these sweeps has and the others have not; nothing where one of them cannot be read."""
    return _told_apart(settings().store_url, tuple(sweep_ids))


@st.cache_resource(show_spinner=False, max_entries=1024)
def _told_apart(url: str, sweep_ids: tuple[str, ...]) -> list[str]:
    try:
        return distinctions([sweep_spec(sweep_id) for sweep_id in sweep_ids])
    except StoreError:
        return [""] * len(sweep_ids)


def sweep_id(spec: SweepSpec) -> str | None:
    """The id of exactly this sweep, if it has been submitted."""
    identity = runs_store.sweep_identity(spec)
    return identity if queries.experiment_of(store(), identity) else None


def price(spec: SweepSpec) -> queries.Price:
    """What submitting this sweep now would train, and the seconds it takes here."""
    return _price(settings().store_url, spec.model_dump_json(), revision(), _spec=spec)


@_many_kept
def _price(url: str, text: str, revision: Key, _spec: SweepSpec) -> queries.Price:
    return queries.price(store(), _spec, settings().slots)


def final_metrics(sweep_id: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Tidy frame of the newest value of these metrics of every run of the sweep that has recorded any."""
    return _final_metrics(sweep_key(sweep_id), sweep_id, tuple(dict.fromkeys(metrics)))


@_kept
def _final_metrics(key: Key, sweep_id: str, metrics: tuple[str, ...]) -> pd.DataFrame:
    return queries.final_metrics(store(), sweep_ids=[sweep_id], metrics=metrics)


def counted_metrics(sweep_id: str, metrics: Sequence[str]) -> pd.DataFrame:
    """As `final_metrics`, with a NaN row for what a failed, diverged or unfinished run lacks, so that it is counted."""
    return with_unrecorded(final_metrics(sweep_id, metrics), runs([sweep_id]), metrics)


def history(sweep_id: str, metrics: Sequence[str], layer: int | None = None) -> pd.DataFrame:
    """Tidy frame of chosen metrics of a sweep over steps (of one layer); read every time, keep what is made of it.

    Read in parts, without what is the same in every row: all at once would be larger than all else in the process.
    """
    ids = _run_ids(sweep_id)
    chunks = (ids[start : start + _AT_ONCE] for start in range(0, max(1, len(ids)), _AT_ONCE))
    parts = (queries.history(store(), chunk, list(metrics), sweep_id=sweep_id) for chunk in chunks)
    parts = (part if layer is None else part[part["layer"].isin([0, layer])] for part in parts)
    return pd.concat([part.drop(columns=_SAME_EVERYWHERE) for part in parts], ignore_index=True)


def arrays(sweep_id: str, name: str, steps: Steps = "last") -> pd.DataFrame:
    """Stored arrays (spectra, pictures) of a sweep's runs."""
    return _arrays(sweep_key(sweep_id), sweep_id, name, steps)


@_kept
def _arrays(key: Key, sweep_id: str, name: str, steps: Steps) -> pd.DataFrame:
    return queries.arrays(store(), _run_ids(sweep_id), name, steps, sweep_id=sweep_id)


def spectra(sweep_id: str, name: str, second_value: float | str | None) -> pd.DataFrame:
    """Mean spectra of a sweep over all recorded steps, of one second value.

    Read strength by strength: all arrays of 2,000 runs at once would be larger than all else in the process.
    """
    listed = runs([sweep_id])
    chosen = listed if second_value is None else listed[listed["second_value"] == second_value]
    parts = [
        summarize_spectra(queries.arrays(store(), list(rows["run_id"]), name, "all", sweep_id=sweep_id))
        for _, rows in chosen.groupby("strength")
    ]
    found = [part for part in parts if len(part)]
    return pd.concat(found, ignore_index=True) if found else summarize_spectra(pd.DataFrame())


def runs(sweep_ids: Sequence[str] | None = None, experiment: str | None = None) -> pd.DataFrame:
    """One row a run."""
    ids = tuple(sweep_ids or ())
    key = tuple(sweep_key(sweep_id) for sweep_id in ids) or (settings().store_url, revision())
    return _runs(key, ids, experiment)


@_kept
def _runs(key: Key, sweep_ids: tuple[str, ...], experiment: str | None) -> pd.DataFrame:
    return queries.runs(store(), sweep_ids=list(sweep_ids) or None, experiment=experiment)


def _run_ids(sweep_id: str) -> list[str]:
    return list(runs([sweep_id])["run_id"])
