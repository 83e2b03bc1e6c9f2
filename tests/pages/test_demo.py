"""The read-only demo: everything can be looked at, nothing launched, stopped or removed."""

import pytest

from pages.components import cached
from pages.components.actions import DEMO
from pages.components.run_table import table_key
from tests.pages.conftest import OpenPage, button_named, checked, words
from tests.pages.stores import finished_sweep, running_sweep
from werank_core.settings import Settings, settings
from werank_core.store import Store


@pytest.fixture
def demo(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read-only mode, on a store that exists."""
    monkeypatch.setenv("WERANK_DEMO", "true")
    settings.cache_clear()


@pytest.mark.usefixtures("demo")
def test_nothing_can_be_launched(open_page: OpenPage, store: Store, started: list[Settings]) -> None:
    at = open_page("pages/toy.py")
    assert button_named(at, "Run sweep").disabled
    assert button_named(at, "Run the example").disabled
    assert DEMO in words(at)
    assert button_named(open_page("app.py"), "Run the example").disabled
    assert started == []


@pytest.mark.usefixtures("demo")
def test_a_running_sweep_can_be_watched_and_not_cancelled(
    open_page: OpenPage, store: Store, started: list[Settings]
) -> None:
    running_sweep(store)
    at = open_page("pages/toy.py")
    assert "**running**" in words(at)
    assert button_named(at, "Cancel").disabled


@pytest.mark.usefixtures("demo")
def test_runs_can_be_read_and_not_changed(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = open_page("pages/runs.py")
    at.session_state[table_key(cached.runs(), "runs")] = {"selection": {"rows": [0], "columns": []}}
    checked(at.run())
    assert DEMO in words(at)
    assert not [b for b in at.button if b.label.startswith(("Cancel", "Retry", "Delete"))]


def test_a_demo_without_a_store_says_so(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WERANK_DEMO", "true")
    settings.cache_clear()
    at = open_page("pages/toy.py")
    assert at.error[0].value.startswith("There is no store at")
