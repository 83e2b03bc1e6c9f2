"""A kept figure is of the state it is kept under: runs that finish meanwhile leave no old picture behind."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import streamlit as st

from pages.components import cached
from tests.pages.conftest import OpenPage, charts
from tests.pages.stores import claimed_job, finished_cleanly, small_spec, write_records
from werank_core.store import Store, queries, queue
from werank_core.store.runs import submit
from werank_core.vocabulary import RunState

# Each place with what it reads of a sweep, one after the other.
PLACES = [
    ("pages/toy.py", {"toy_details": "Spectra"}, ("final_metrics", "runs", "arrays")),
    ("pages/toy.py", {"toy_details": "Training"}, ("final_metrics", "runs", "history")),
    ("pages/toy.py", {"toy_details": "Rank against accuracy"}, ("final_metrics", "runs")),
    ("app.py", {}, ("final_metrics", "runs")),
    ("pages/compare.py", {}, ("final_metrics", "runs", "arrays")),
]


def half_finished(store: Store) -> tuple[str, Callable[[], object]]:
    """A sweep of two jobs, one of them over; and how the other one ends."""
    sweep_id = submit(store, small_spec(name="half", second_axis="width", second_values=(8, 9))).sweep_id
    first, second = claimed_job(store), claimed_job(store)
    for claimed in (first, second):
        queue.started_on(store, claimed, "cpu")
    write_records(store, first)
    queue.finish(store, first, RunState.FINISHED, seconds=1.0)
    write_records(store, second, steps=(0, 10))

    def end() -> None:
        write_records(store, second, steps=(20,))
        queue.finish(store, second, RunState.FINISHED, seconds=1.0)

    return sweep_id, end


def drawn(open_page: OpenPage, script: str, query: dict[str, Any]) -> list[Any]:
    """Everything a viewer who comes now sees of figures and tables."""
    at = open_page(script, **query)
    return [*charts(at), *(table.value.astype(str).to_dict("list") for table in at.dataframe)]


@pytest.mark.parametrize(
    ("script", "query", "reader"), [(s, q, reader) for s, q, readers in PLACES for reader in readers]
)
def test_runs_that_finish_between_two_reads_leave_no_old_picture(
    open_page: OpenPage,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    query: dict[str, Any],
    reader: str,
) -> None:
    other = finished_cleanly(store, name="other", depth=3)
    sweep_id, end = half_finished(store)
    query = {**query, "compare_items": [sweep_id, other]} if "compare" in script else query
    read, ends = getattr(queries, reader), [end]

    def read_while_runs_finish(*args: Any, **options: Any) -> pd.DataFrame:
        frame: pd.DataFrame = read(*args, **options)
        while ends:
            ends.pop()()
        return frame

    with monkeypatch.context() as during:
        during.setattr(cached.queries, reader, read_while_runs_finish)
        open_page(script, **query)
    assert not ends, "the page did not read what it is said to read"
    seen = drawn(open_page, script, query)
    st.cache_resource.clear()
    assert seen == drawn(open_page, script, query)
