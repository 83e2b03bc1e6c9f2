"""Every page test has a home of its own; the caches of the web process are emptied around it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from pages.components import actions
from werank_core.settings import Settings, settings
from werank_core.store import Store, open_store

ROOT = Path(__file__).parent.parent.parent
OpenPage = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary home, and no trace of the settings and caches of another test."""
    monkeypatch.setenv("WERANK_HOME", str(tmp_path))
    monkeypatch.setenv("WERANK_STORE", f"sqlite:///{tmp_path / 'store.sqlite'}")
    monkeypatch.delenv("WERANK_DEMO", raising=False)
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    settings.cache_clear()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture(autouse=True)
def _navigation_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server learns once that app.py calls `st.navigation`; AppTest forgets it before every run."""
    made = PagesManager.__init__

    def make(self: PagesManager, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", make)


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """The store that the pages will open, seen from outside."""
    opened = open_store(settings().store_url)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The calls that would have started a supervisor process: the boundary of these tests."""
    calls: list[Settings] = []

    def record(given: Settings) -> bool:
        calls.append(given)
        return True

    monkeypatch.setattr(actions, "ensure_supervisor", record)
    return calls


@pytest.fixture
def open_page() -> OpenPage:
    """Runs a script, by default a page, as a browser with these query parameters would."""

    def run(script: str, **query: Any) -> AppTest:
        at = AppTest.from_file(str(ROOT / script), default_timeout=20)
        for name, value in query.items():
            at.query_params[name] = value
        return checked(at.run())

    return run


def checked(at: AppTest) -> AppTest:
    """The same, once sure that the script ended without an exception."""
    assert not at.exception, [e.message for e in at.exception]
    return at


def charts(at: AppTest) -> list[dict[str, Any]]:
    """The figures on the page, as the browser gets them."""
    return [json.loads(chart.proto.spec) for chart in at.get("plotly_chart")]


def words(at: AppTest) -> str:
    """Everything written on the page outside of charts and tables."""
    kinds = (at.title, at.header, at.subheader, at.markdown, at.caption, at.info, at.warning, at.error, at.code)
    bars = [bar.proto.text for bar in at.get("progress")]
    return "\n".join([*(str(element.value) for kind in kinds for element in kind), *bars])


def button_named(at: AppTest, label: str) -> Any:
    """The one button with that label."""
    (found,) = [button for button in at.button if button.label == label]
    return found
