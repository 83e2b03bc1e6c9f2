"""Reads from the store, cached on what is asked and the store's revision: a rerun without news touches no table."""

from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from werank_core.settings import settings
from werank_core.store import Store, open_store, queries
from werank_core.store import runs as runs_store
from werank_core.sweeps import SweepSpec

_cached = st.cache_data(show_spinner=False, max_entries=16)


@st.cache_resource(show_spinner=False)
def _opened(url: str, read_only: bool) -> Store:
    return open_store(url, read_only=read_only)


def store() -> Store:
    """The store of this server, opened once."""
    return _opened(settings().store_url, settings().demo)


def revision() -> int:
    """Changes whenever anything in the store does: the cheap poll."""
    return queries.revision(store())


def sweeps(experiment: str | None = None) -> pd.DataFrame:
    """Sweeps, newest first."""
    return _sweeps(settings().store_url, experiment, revision())


@_cached
def _sweeps(url: str, experiment: str | None, revision: int) -> pd.DataFrame:
    return queries.sweeps(store(), experiment)


def sweep_spec(sweep_id: str) -> SweepSpec:
    """What was asked for; it never changes, so it is read once."""
    return _sweep_spec(settings().store_url, sweep_id)


@st.cache_resource(show_spinner=False, max_entries=1024)
def _sweep_spec(url: str, sweep_id: str) -> SweepSpec:
    return queries.sweep_spec(store(), sweep_id)


def sweep_id(spec: SweepSpec) -> str | None:
    """The id of exactly this sweep, if it has been submitted."""
    identity = runs_store.sweep_identity(spec)
    return identity if identity in set(sweeps(spec.experiment)["sweep_id"]) else None


def final_metrics(*sweep_ids: str) -> pd.DataFrame:
    """Tidy frame of the newest value of every metric of every run of these sweeps."""
    return _final_metrics(settings().store_url, sweep_ids, revision())


@_cached
def _final_metrics(url: str, sweep_ids: tuple[str, ...], revision: int) -> pd.DataFrame:
    return queries.final_metrics(store(), sweep_ids=list(sweep_ids))


def history(sweep_id: str, metrics: Sequence[str]) -> pd.DataFrame:
    """Tidy frame of chosen metrics of a sweep over steps."""
    return _history(settings().store_url, sweep_id, tuple(metrics), revision())


@_cached
def _history(url: str, sweep_id: str, metrics: tuple[str, ...], revision: int) -> pd.DataFrame:
    return queries.history(store(), _run_ids(sweep_id), list(metrics), sweep_id=sweep_id)


def arrays(sweep_id: str, name: str, steps: Literal["last", "all"] | int = "last") -> pd.DataFrame:
    """Stored arrays (spectra, pictures) of a sweep's runs."""
    return _arrays(settings().store_url, sweep_id, name, steps, revision())


@_cached
def _arrays(url: str, sweep_id: str, name: str, steps: Literal["last", "all"] | int, revision: int) -> pd.DataFrame:
    return queries.arrays(store(), _run_ids(sweep_id), name, steps, sweep_id=sweep_id)


def runs(sweep_ids: Sequence[str] | None = None, experiment: str | None = None) -> pd.DataFrame:
    """One row a run."""
    return _runs(settings().store_url, tuple(sweep_ids or ()), experiment, revision())


@_cached
def _runs(url: str, sweep_ids: tuple[str, ...], experiment: str | None, revision: int) -> pd.DataFrame:
    return queries.runs(store(), sweep_ids=list(sweep_ids) or None, experiment=experiment)


def _run_ids(sweep_id: str) -> list[str]:
    return list(runs([sweep_id])["run_id"])
