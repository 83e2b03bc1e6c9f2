"""An address restores what was looked at, and a wrong one breaks nothing."""

import pytest

from tests.pages.conftest import OpenPage, button_named, charts, checked, words
from tests.pages.stores import finished_cleanly, finished_sweep
from werank_core.store import Store
from werank_core.store.runs import delete_sweep


def test_an_address_restores_sweep_metrics_and_panel(open_page: OpenPage, store: Store) -> None:
    wanted = finished_sweep(store, name="wanted")
    finished_cleanly(store, name="newer", depth=3)
    at = open_page("pages/toy.py", toy_sweep=wanted, toy_metrics="weights", toy_details="Training")
    assert at.selectbox(key="toy_sweep").value == wanted
    assert at.segmented_control(key="toy_metrics").value == "weights"
    assert at.segmented_control(key="toy_details").value == "Training"
    rows = [note["text"] for note in charts(at)[0]["layout"]["annotations"] if note["text"].startswith("<b>")]
    assert [row.split("<b>")[1].split("</b>")[0] for row in rows] == [
        "effective rank of the weights", "stable rank of the weights", "layer alignment",
    ]  # fmt: skip
    assert {trace["xaxis"] for trace in charts(at)[1]["data"]} == {"x"}


def test_without_an_address_the_newest_sweep_is_shown(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    newest = finished_cleanly(store, name="newer", depth=3)
    assert open_page("pages/toy.py").selectbox(key="toy_sweep").value == newest


def test_an_unknown_sweep_is_named_and_nothing_shown_for_it(open_page: OpenPage, store: Store) -> None:
    known = finished_sweep(store)
    at = open_page("pages/toy.py", toy_sweep="0000000000000000", toy_metrics="nonsense", toy_details="Nothing")
    assert at.selectbox(key="toy_sweep").value is None
    assert [warning.value for warning in at.warning] == [
        "There is no sweep 0000000000000000 here: it was deleted, or is of another store. Nothing is shown for it."
    ]
    assert not charts(at)
    checked(at.run())
    assert len(at.warning) == 1
    checked(at.selectbox(key="toy_sweep").set_value(known).run())
    assert not at.warning
    assert len(charts(at)) == 2
    assert at.segmented_control(key="toy_metrics").value == "headline"
    assert at.query_params["toy_sweep"] == known


def test_a_sweep_that_is_deleted_while_it_is_looked_at_is_named(open_page: OpenPage, store: Store) -> None:
    gone = finished_cleanly(store)
    finished_cleanly(store, depth=3)
    at = open_page("pages/toy.py", toy_sweep=gone)
    delete_sweep(store, gone)
    checked(at.run())
    assert f"There is no sweep {gone} here" in at.warning[0].value
    assert not charts(at)


def test_a_sweep_of_another_experiment_is_named_and_opened_there(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_cleanly(store)
    at = open_page("pages/graph.py", graph_sweep=sweep_id)
    assert f"Sweep {sweep_id} is of another experiment, Toy SSL." in at.warning[0].value
    (link,) = at.get("link_button")
    assert link.proto.url == f"toy?toy_sweep={sweep_id}"


def test_an_unknown_preset_is_named(open_page: OpenPage) -> None:
    at = open_page("pages/toy.py", toy_preset="Digitz")
    assert [warning.value for warning in at.warning] == ["There is no preset Digitz here: this starts from Digits."]
    for name in ("Mixture", "mixture"):
        at = open_page("pages/toy.py", toy_preset=name)
        assert at.segmented_control(key="toy_preset").value == "mixture"
        assert not at.warning


def test_an_unknown_sweep_in_an_empty_store_shows_the_example(open_page: OpenPage) -> None:
    at = open_page("pages/toy.py", toy_sweep="0000000000000000")
    assert "No sweep yet." in words(at)
    assert "There is no sweep 0000000000000000 here" in at.warning[0].value
    assert button_named(at, "Run the example")


def test_the_runs_page_restores_its_filters(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_sweep(store)
    finished_cleanly(store, name="other", depth=3)
    at = open_page("pages/runs.py", runs_state="diverged")
    assert at.dataframe[0].value["state"].tolist() == ["diverged"]
    for word in (sweep_id, "small"):  # links of old name a sweep by its name
        at = open_page("pages/runs.py", runs_sweep=word, runs_state=["diverged", "failed"])
        assert at.multiselect(key="runs_sweep").value == [sweep_id]
        assert sorted(at.dataframe[0].value["state"]) == ["diverged", "failed"]
        assert not at.warning
    at = open_page("pages/runs.py", runs_search="depth 9")
    assert "No runs" in words(at)


@pytest.mark.parametrize("key", ["runs_state", "runs_experiment", "runs_sweep"])
def test_an_unknown_filter_is_named_and_lists_nothing(open_page: OpenPage, store: Store, key: str) -> None:
    sweep_id = finished_sweep(store)
    at = open_page("pages/runs.py", **{key: "nonsense"})
    (warning,) = at.warning
    assert f"There is no {key.removeprefix('runs_')} nonsense here: nothing is listed for it." in warning.value
    assert "No runs match these filters." in words(at)
    checked(at.run())
    assert len(at.warning) == 1
    known = {"runs_state": "finished", "runs_experiment": "toy_ssl", "runs_sweep": sweep_id}[key]
    checked(at.multiselect(key=key).set_value([known]).run())
    assert not at.warning
    assert len(at.dataframe[0].value) == (7 if key == "runs_state" else 9)
    assert at.query_params[key] == known
