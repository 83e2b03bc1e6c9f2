"""More sweeps than a list holds: said, and every one of them can be reached."""

import pytest

from pages.components import cached, compare_parts
from tests.pages.conftest import OpenPage, charts, checked, words
from tests.pages.stores import finished_cleanly
from werank_core.store import Store, queries


@pytest.fixture
def sweeps(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five sweeps, oldest first, where a list holds three and strengths are offered of one."""
    monkeypatch.setattr(cached, "LISTED", 3)
    monkeypatch.setattr(compare_parts, "STRENGTHS_OF", 1)
    return [finished_cleanly(store, name=f"number {place}", steps=10 + place) for place in range(5)]


def test_an_old_sweep_is_shown_by_its_address_and_found_by_its_name(open_page: OpenPage, sweeps: list[str]) -> None:
    at = open_page("pages/toy.py")
    box = at.selectbox(key="toy_sweep")
    assert [label.split(" · ")[0] for label in box.options] == ["number 4", "number 3", "number 2"]
    assert "Listed below are the newest 3." in words(at)
    assert at.text_input(key="toy_find").label == "Find one of 5 sweeps by name"
    checked(at.text_input(key="toy_find").set_value("NUMBER 0").run())
    assert "Listed below are 1 with this in their name." in words(at)
    assert box.value == sweeps[4], "the sweep in the picture stays"
    checked(at.selectbox(key="toy_sweep").set_value(sweeps[0]).run())
    assert charts(at)[0]["data"]
    at = open_page("pages/toy.py", toy_sweep=sweeps[1])
    assert at.selectbox(key="toy_sweep").value == sweeps[1]
    assert not at.warning


def test_a_search_without_a_hit_keeps_what_is_shown(open_page: OpenPage, sweeps: list[str]) -> None:
    at = open_page("pages/toy.py")
    checked(at.text_input(key="toy_find").set_value("nothing like it").run())
    assert "Listed below are 0 with this in their name." in words(at)
    assert at.selectbox(key="toy_sweep").value == sweeps[4]
    assert len(at.selectbox(key="toy_sweep").options) == 1


def test_any_two_sweeps_and_their_strengths_can_be_compared(open_page: OpenPage, sweeps: list[str]) -> None:
    at = open_page("pages/compare.py", compare_items=[sweeps[0], f"{sweeps[1]}@0.1"])
    assert at.multiselect(key="compare_items").value == [sweeps[0], f"{sweeps[1]}@0.1"]
    assert not at.warning
    assert "Single strengths are offered of the newest 1 sweeps and of those chosen here" in words(at)
    options = at.multiselect(key="compare_items").options
    assert sum("strength" in option for option in options) == 3 * 3
    checked(at.text_input(key="compare_find").set_value("number 2").run())
    assert any(option == "number 2" for option in at.multiselect(key="compare_items").options)


def test_the_runs_of_every_sweep_can_be_filtered(open_page: OpenPage, sweeps: list[str]) -> None:
    at = open_page("pages/runs.py", runs_sweep=sweeps[0])
    assert set(at.dataframe[0].value["sweep_name"]) == {"number 0"}
    assert len(at.multiselect(key="runs_sweep").options) == 5


def test_a_form_finds_a_sweep_that_is_not_listed(sweeps: list[str], store: Store) -> None:
    assert [cached.sweep_id(queries.sweep_spec(store, sweep_id)) for sweep_id in sweeps] == sweeps
