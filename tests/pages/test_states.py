"""Every page on an empty, a running and a finished store: it runs, and it says in words what is the case."""

import re
from collections.abc import Callable

import pandas as pd
import pytest
import sqlalchemy as sa

from pages.components import cached
from pages.components.run_table import table_key, training_sentence
from tests.pages.conftest import OpenPage, button_named, charts, checked, words
from tests.pages.stores import ERROR, TRACEBACK, finished_cleanly, finished_sweep, running_sweep, small_spec
from werank_core.settings import Settings
from werank_core.store import Store, queue
from werank_core.store.queue import Claim
from werank_core.store.runs import delete_runs, submit
from werank_core.store.schema import job, sweep
from werank_core.vocabulary import RunState

TITLES = {
    "app.py": "Does my network lose rank, and does it matter?",
    "pages/toy.py": "Does WERank keep the rank of a self-supervised encoder?",
    "pages/compare.py": "What changes between these runs, and is it more than noise?",
    "pages/runs.py": "What has been trained here?",
}
EMPTY = {
    "app.py": "Nothing trained yet.",
    "pages/toy.py": "No sweep yet.",
    "pages/compare.py": "Nothing to compare yet",
    "pages/runs.py": "No runs here yet.",
}


@pytest.mark.parametrize("script", ["pages/graph.py", "pages/rank_collapse.py"])
def test_the_other_experiments_open_with_their_question(open_page: OpenPage, script: str) -> None:
    at = open_page(script)
    (title,) = at.title
    assert title.value.endswith("?")
    assert words(at).count("No sweep yet.") == 1
    assert "runs, first run here: time unknown" in words(at)


@pytest.mark.parametrize("script", TITLES)
def test_an_empty_store_says_so_in_one_sentence(open_page: OpenPage, script: str) -> None:
    at = open_page(script)
    assert [title.value for title in at.title] == [TITLES[script]]
    assert words(at).count(EMPTY[script]) == 1


@pytest.mark.parametrize("script", ["app.py", "pages/toy.py"])
def test_an_empty_store_offers_the_example_at_one_click(
    open_page: OpenPage, script: str, store: Store, started: list[Settings]
) -> None:
    at = open_page(script)
    checked(button_named(at, "Run the example").click().run())
    sweeps = cached.sweeps("toy_ssl")
    assert sweeps["name"].tolist() == ["Example: Digits"]
    assert sweeps["queued"].tolist() == [40]
    assert len(started) >= 1


@pytest.mark.parametrize("script", TITLES)
@pytest.mark.parametrize("fill", [running_sweep, finished_sweep])
def test_every_page_runs_on_every_store(
    open_page: OpenPage, store: Store, script: str, fill: Callable[[Store], str]
) -> None:
    fill(store)
    at = open_page(script)
    assert [title.value for title in at.title] == [TITLES[script]]
    nothing_finished = fill is running_sweep and script == "pages/compare.py"
    assert (EMPTY[script] in words(at)) == nothing_finished


def test_overview_shows_the_newest_sweep_as_a_card(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_sweep(store)
    at = open_page("app.py")
    assert "7 finished, 1 failed, 1 diverged" in words(at)
    measured, theory, card = charts(at)
    assert len(measured["data"][-1]["x"]) == 8  # a fixed example, whatever was trained here
    assert "Measured, Toy SSL, preset Digits, 10 seeds: effective rank 29.0 → 39.3 at α 0 → 1." in words(at)
    assert len(card["data"][-1]["x"]) == 3
    assert len(theory["data"]) == 3
    links = [link.proto.query_string for link in at.get("page_link")]
    assert f"toy_sweep={sweep_id}" in links


def test_cards_of_one_name_are_told_apart(open_page: OpenPage, store: Store) -> None:
    for depth in (2, 3):
        finished_cleanly(store, name="*same*", depth=depth)
    said = words(open_page("app.py"))
    assert "\\*same\\* (depth 2)" in said
    assert "\\*same\\* (depth 3)" in said


def test_a_card_tells_every_value_of_a_second_axis(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store, second_axis="encoder", second_values=("relu", "linear"), seeds=2)
    at = open_page("app.py")
    *_, card = charts(at)
    assert [trace["name"] for trace in card["data"]] == ["linear", "ReLU"]
    assert re.search(r"effective rank, at α 0 → 1\. Encoder linear: [\d.]+ → [\d.]+, ReLU: [\d.]+ → [\d.]+", words(at))


def test_layers_are_drawn_at_one_value_of_a_second_axis(open_page: OpenPage, store: Store) -> None:
    """Lines for every layer and value at once could not be told apart."""
    sweep_id = finished_cleanly(store, second_axis="encoder", second_values=("linear", "relu"), seeds=2)
    at = open_page("pages/toy.py", toy_sweep=sweep_id, toy_metrics="weights", toy_details="Downloads")
    picked = at.segmented_control(key="toy_layers_at")
    assert (picked.label, picked.value) == ("Layers at Encoder", "linear")
    (picture,) = charts(at)
    assert {trace["name"] for trace in picture["data"] if trace.get("showlegend")} == {"layer 1", "layer 2"}
    assert "no card compares them" in words(at)


def test_a_running_sweep_has_its_strip_and_says_what_is_missing(open_page: OpenPage, store: Store) -> None:
    running_sweep(store)
    at = open_page("pages/toy.py")
    assert "**running**" in words(at)
    assert not button_named(at, "Cancel").disabled
    picture = charts(at)[0]
    assert picture["data"] == []
    assert "when the first runs finish" in picture["layout"]["annotations"][0]["text"].replace("<br>", " ")
    spectra = charts(at)[1]
    assert len([trace for trace in spectra["data"] if trace.get("name")]) == 3


def test_a_queue_nobody_works_on_gets_a_worker(open_page: OpenPage, store: Store, started: list[Settings]) -> None:
    submit(store, small_spec())
    at = open_page("pages/toy.py")
    assert "**starting a worker**" in words(at)
    at.run()
    assert len(started) == 1


def test_a_finished_sweep_has_three_curves_and_counts_what_went_wrong(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    picture, spectra = charts(open_page("pages/toy.py"))
    means = [trace for trace in picture["data"] if trace["mode"] == "lines+markers"]
    assert [trace["x"] for trace in means] == [[0.1, 1.0]] * 3
    strip = [trace for trace in picture["data"] if trace["mode"] == "markers" and trace["xaxis"] == "x2"]
    assert [len(trace["y"]) for trace in strip] == [3, 1] * 3
    caption = picture["layout"]["title"]["text"].replace("<br>", " ")
    assert "Mean and 95% interval over 3 seeds (1 at some strengths)." in caption
    assert "1 run diverged at α = 1 and is not in the mean." in caption
    assert "1 run failed at α = 1 and is not in the mean." in caption
    lines = [trace for trace in spectra["data"] if trace.get("name")]
    assert len(lines) == 3
    assert [step["label"] for step in spectra["layout"]["sliders"][0]["steps"]] == ["0", "10", "20", "30", "40"]


def test_what_was_drawn_before_follows_the_store(open_page: OpenPage, store: Store) -> None:
    running_sweep(store)
    at = open_page("pages/toy.py")
    assert charts(at)[0]["data"] == []
    claimed = Claim(*_running_job(store), "toy_ssl", tuple(cached.runs()["run_id"]), (), 3600)
    queue.finish(store, claimed, RunState.FINISHED, seconds=1.0)
    checked(at.run())
    picture = charts(at)[0]
    assert len([trace for trace in picture["data"] if trace["mode"] == "lines+markers"]) == 3
    assert "9 finished. Nothing is running here." in words(at)
    delete_runs(store, cached.runs()["run_id"].iloc[:1])
    checked(at.run())
    assert "8 finished" in words(at)


def _running_job(store: Store) -> tuple[str, int]:
    with store.reading() as connection:
        row = connection.execute(sa.select(job.c.id, job.c.attempt).where(job.c.state == "running")).one()
    return row.id, row.attempt


def test_the_card_compares_in_pairs(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = open_page("pages/toy.py")
    (box,) = [box for box in at.selectbox if box.label == "α against 0"]
    assert box.value == 0.1
    assert words(at).count("n = 3 paired seeds") == 1
    box.select(1.0)
    checked(at.run())
    assert words(at).count("n = 1 paired seed") == 1


@pytest.mark.parametrize(
    ("panel", "number"),
    [("Spectra", 2), ("Training", 2), ("Rank against accuracy", 2), ("Table of runs", 1), ("Table of settings", 1)],
)
def test_every_panel_draws_what_it_says(open_page: OpenPage, store: Store, panel: str, number: int) -> None:
    finished_sweep(store)
    at = open_page("pages/toy.py", toy_details=panel)
    figures = charts(at)
    assert len(figures) == number
    if panel == "Training":
        bold = [t for t in figures[1]["data"] if t.get("text")]
        assert len(bold) == 4 * 3  # loss and three metrics, three strengths
    if panel == "Rank against accuracy":
        assert sum(len(trace["x"]) for trace in figures[1]["data"]) == 7
        assert "(7 runs)" in figures[1]["layout"]["title"]["text"]
    if panel == "Table of runs":
        assert len(at.dataframe[0].value) == 9
    if panel == "Table of settings":
        table = at.dataframe[0].value.set_index("setting")
        assert table.loc["Depth", ["value", "default"]].tolist() == ["2", "4"]


def test_a_failed_run_shows_its_error_and_traceback_on_request(open_page: OpenPage, store: Store) -> None:
    finished_sweep(store)
    at = open_page("pages/runs.py")
    assert "9 runs" in words(at)
    frame = cached.runs()
    place = frame.index[frame["state"] == "failed"][0]
    at.session_state[table_key(frame, "runs")] = {"selection": {"rows": [int(place)], "columns": []}}
    checked(at.run())
    assert [error.value for error in at.error] == [ERROR]
    assert TRACEBACK in [code.value for code in at.code]
    assert "killed" in [code.value for code in at.code]


def test_a_store_from_a_newer_version_is_one_sentence_on_every_page(open_page: OpenPage, store: Store) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for script in TITLES:
        at = open_page(script)
        (error,) = at.error
        assert "newer version of WERank Lab" in error.value
        assert [title.value for title in at.title] == [TITLES[script]]


def test_the_card_links_to_the_comparison_of_what_it_shows(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_sweep(store)
    link, diverged = open_page("pages/toy.py").get("link_button")
    assert diverged.proto.url == f"runs?runs_state=diverged&runs_sweep={sweep_id}"
    assert link.proto.url == f"compare?compare_items={sweep_id}%400&compare_items={sweep_id}%400.1"
    items = [f"{sweep_id}@0", f"{sweep_id}@0.1"]
    at = open_page("pages/compare.py", compare_items=items)
    assert at.multiselect(key="compare_items").value == items


def test_a_sweep_that_cannot_be_read_takes_no_page_down(open_page: OpenPage, store: Store) -> None:
    sound = finished_sweep(store)
    broken = finished_sweep(store, depth=3, name="of tomorrow")
    with store.engine.begin() as connection:
        config = {"experiment": "toy_ssl", "config": {"tomorrow": 1}}
        connection.execute(sweep.update().where(sweep.c.id == broken).values(spec=config))
    for script in TITLES:
        assert open_page(script).title
    at = open_page("pages/toy.py", toy_sweep=broken)
    (error,) = at.error
    assert error.value.endswith("Choose another sweep above.")
    checked(at.selectbox(key="toy_sweep").set_value(sound).run())
    assert not at.error
    assert len(charts(at)) == 2


def test_training_time_counts_a_batch_once(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store)
    runs = cached.runs()
    batches = runs.drop_duplicates(["started_at"])
    assert len(batches) < len(runs)
    started = pd.Timestamp("2026-01-01", tz="UTC")
    timed = runs.assign(started_at=started, seconds=[60.0] * len(runs))
    assert training_sentence(timed) == f"{len(runs)} runs, 60 s of training in all."
    timed.loc[0, "started_at"] += pd.Timedelta(minutes=5)
    assert training_sentence(timed.assign(seconds=3600.0)) == f"{len(runs)} runs, 2.0 h of training in all."
    assert training_sentence(timed.head(1)).startswith("1 run, ")
