"""The runs page: filters, actions on exactly the rows chosen, deletion only after a second click."""

from collections.abc import Sequence

from streamlit.testing.v1 import AppTest

from pages.components import cached
from pages.components.run_table import table_key
from tests.pages.conftest import OpenPage, button_named, checked, words
from tests.pages.stores import finished_cleanly, finished_sweep, running_sweep
from werank_core.settings import Settings
from werank_core.store import Store, queries


def choose(at: AppTest, places: Sequence[int]) -> AppTest:
    """Select rows of the table of all runs; AppTest has no click for it."""
    key = table_key(cached.runs(), "runs")
    at.session_state[key] = {"selection": {"rows": list(places), "columns": []}}
    return checked(at.run())


def places_of(state: str) -> list[int]:
    frame = cached.runs()
    return [int(place) for place in frame.index[frame["state"] == state]]


def test_filters_narrow_the_table_and_add_up(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    finished_cleanly(store, name="other", depth=3)
    at = open_page("pages/runs.py")
    assert len(at.dataframe[0].value) == 18
    checked(at.multiselect(key="runs_state").set_value(["failed", "diverged"]).run())
    assert sorted(at.dataframe[0].value["state"]) == ["diverged", "failed"]
    assert "2 runs" in words(at)
    checked(at.multiselect(key="runs_sweep").set_value(["other"]).run())
    assert "No runs" in words(at)


def test_headline_metrics_stand_beside_the_state(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    table = open_page("pages/runs.py").dataframe[0].value
    assert {"test/effective_rank", "test/relative_tcv", "test/accuracy", "error"} <= set(table.columns)
    assert table.loc[table["state"] == "finished", "test/effective_rank"].notna().all()
    assert table.loc[table["state"] == "failed", "test/effective_rank"].isna().all()


def test_cancel_ends_the_runs_chosen_and_no_other(open_page: OpenPage, store: Store) -> None:
    running_sweep(store)
    at = choose(open_page("pages/runs.py"), [0, 1])
    wanted = set(cached.runs()["run_id"].iloc[:2])
    checked(button_named(at, "Cancel 2").click().run())
    table = queries.runs(store)
    assert set(table.loc[table["state"] == "cancelled", "run_id"]) == wanted


def test_retry_queues_failed_and_diverged_runs_again(
    open_page: OpenPage, store: Store, started: list[Settings]
) -> None:
    finished_sweep(store)
    at = choose(open_page("pages/runs.py"), [*places_of("failed"), *places_of("diverged"), *places_of("finished")[:1]])
    checked(button_named(at, "Retry 3").click().run())
    assert queries.runs(store)["state"].value_counts().to_dict() == {"finished": 7, "queued": 2}
    assert len(started) == 1


def test_deletion_asks_once_more(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = choose(open_page("pages/runs.py"), [0, 2])
    checked(button_named(at, "Delete 2").click().run())
    assert "cannot be undone" in words(at)
    assert "small" in words(at)
    assert button_named(at, "Delete 2 runs")  # a dialog reruns by itself, which AppTest cannot: see tests/browser
    assert len(queries.runs(store)) == 9


def test_a_selection_never_passes_to_runs_that_came_since(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = choose(open_page("pages/runs.py"), [0])
    assert button_named(at, "Delete 1")
    finished_cleanly(store, name="newer", depth=3)
    checked(at.run())
    assert not [button for button in at.button if button.label.startswith("Delete")]


def test_one_run_shows_its_settings(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = choose(open_page("pages/runs.py"), [0])
    assert f"Run {cached.runs()['run_id'].iloc[0]}" in words(at)
    assert '"depth": 2' in at.json[0].value or '"depth":2' in at.json[0].value
