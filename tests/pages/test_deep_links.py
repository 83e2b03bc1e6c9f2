"""An address restores what was looked at, and a wrong one breaks nothing."""

from tests.pages.conftest import OpenPage, button_named, charts, words
from tests.pages.stores import finished_cleanly, finished_sweep
from werank_core.store import Store


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


def test_an_unknown_sweep_shows_the_newest_instead(open_page: OpenPage, store: Store) -> None:
    known = finished_sweep(store)
    at = open_page("pages/toy.py", toy_sweep="0000000000000000", toy_metrics="nonsense", toy_details="Nothing")
    assert at.selectbox(key="toy_sweep").value == known
    assert at.segmented_control(key="toy_metrics").value == "headline"


def test_an_unknown_sweep_in_an_empty_store_shows_the_example(open_page: OpenPage) -> None:
    at = open_page("pages/toy.py", toy_sweep="0000000000000000")
    assert "No sweep yet." in words(at)
    assert button_named(at, "Run the example")


def test_the_runs_page_restores_its_filters(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = open_page("pages/runs.py", runs_state="diverged")
    assert at.dataframe[0].value["state"].tolist() == ["diverged"]
    at = open_page("pages/runs.py", runs_search="depth 9")
    assert "No runs" in words(at)
