"""The dashboard as a person uses it: open, choose, run, watch, come back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Dashboard
from tests.browser.driver import (
    LOOK,
    click,
    fill,
    new_page,
    opened,
    removals,
    remove_uploads,
    settle,
    type_into,
    upload,
    visit,
)
from tests.pages.stores import finished_sweep
from werank_core.store import open_store, queries

pytestmark = pytest.mark.browser

SLOW = 120_000
"""Milliseconds that a whole small sweep may take on a busy machine, torch's import included."""

TRACES = "graph => graph.data.map(t => ({mode: t.mode, xaxis: t.xaxis, x: t.x.length, row: t.yaxis}))"
POINT_AT_STRENGTH_1 = """graph => {
    const x = graph._fullLayout.xaxis, y = graph._fullLayout.yaxis;
    const means = graph._fullData.find(t => t.mode == "lines+markers"), last = means.x.length - 1;
    return [x._offset + x.c2p(means.x[last]), y._offset + y.c2p(means.y[last])];
}"""
FIFTH_VALUE = "graph => graph._fullData.filter(t => t.name)[0].y[4]"
Serve = Callable[..., Dashboard]


def launch_small_sweep(page: Any, steps: int) -> None:
    """Make the default sweep small in the form, and run it."""
    click(page, page.get_by_test_id("stSidebarNav").get_by_role("link", name="Toy SSL"))
    click(page, page.get_by_text("All settings"))
    fill(page, "Seeds", "2")
    fill(page, "Strengths", "0.1, 1")
    click(page, page.get_by_role("tab", name="Training"))
    fill(page, "Steps", str(steps))
    page.get_by_text("6 runs").wait_for(timeout=LOOK)
    click(page, page.get_by_role("button", name="Run sweep"))


def strength_curves(page: Any) -> list[dict[str, Any]]:
    """The traces of the first chart."""
    graph = page.locator(".js-plotly-plot").first
    graph.wait_for(timeout=LOOK)
    traces: list[dict[str, Any]] = graph.evaluate(TRACES)
    return traces


def points_per_row(page: Any) -> dict[str, tuple[int, int]]:
    """Means on the log axis and on the strip, by row of the linked picture."""
    curves = strength_curves(page)
    log = [trace for trace in curves if trace["mode"] == "lines+markers"]
    return {trace["row"]: (trace["x"], len([t for t in curves if t["xaxis"] == "x2"])) for trace in log}


def test_a_sweep_is_launched_watched_and_found_again(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    page = opened(browser, dashboard.address)
    launch_small_sweep(page, steps=40)
    page.get_by_role("button", name="Cancel").wait_for(timeout=LOOK)
    page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=SLOW)
    page.wait_for_function("document.querySelector('.js-plotly-plot')?.data?.length > 0", timeout=LOOK)
    rows = points_per_row(page)
    assert {row: means for row, (means, _) in rows.items()} == {"y": 2, "y2": 2, "y3": 2}
    store = open_store(dashboard.store_url)
    (sweep,) = queries.sweeps(store).to_dict("records")
    store.close()
    assert sweep["finished"] == 6
    assert f"toy_sweep={sweep['sweep_id']}" in page.url

    again = opened(browser, page.url)
    assert points_per_row(again) == rows
    assert again.get_by_text("n = 2 paired seeds").count() == 1
    again.get_by_text("All settings (3 changed)").wait_for(timeout=LOOK)
    again.get_by_text("No new runs: all 6 are trained or in training.").wait_for(timeout=LOOK)
    visit(again, f"{dashboard.address}/toy?toy_sweep={sweep['sweep_id']}")
    again.get_by_text("40 runs, about").wait_for(timeout=LOOK)
    assert points_per_row(again) == rows
    settle(again)
    again.keyboard.press("Control+Enter")
    again.get_by_text("40 runs queued").or_(again.get_by_role("button", name="Cancel")).first.wait_for(timeout=LOOK)
    click(again, again.get_by_role("button", name="Cancel"))
    again.get_by_text("40 cancelled. Nothing is running here.").wait_for(timeout=LOOK)


def test_a_cancelled_sweep_ends_cancelled(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    page = opened(browser, dashboard.address)
    launch_small_sweep(page, steps=100_000)
    click(page, page.get_by_role("button", name="Cancel"))
    page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=LOOK)
    store = open_store(dashboard.store_url)
    (sweep,) = queries.sweeps(store).to_dict("records")
    store.close()
    assert sweep["cancelled"] == 6
    page.get_by_text("6 cancelled. Nothing is running here.").wait_for(timeout=LOOK)


def test_a_telephone_scrolls_in_one_direction_only(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    store = open_store(dashboard.store_url)
    finished_sweep(store)
    store.close()
    page = new_page(browser, width=390, height=844)
    for path in ("", "toy", "compare", "runs"):
        visit(page, f"{dashboard.address}/{path}")
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], path or "overview"


def test_runs_are_deleted_after_a_second_click(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    store = open_store(dashboard.store_url)
    finished_sweep(store)
    page = opened(browser, f"{dashboard.address}/runs?runs_state=diverged")
    table = page.locator("[data-testid=stDataFrame]")
    table.wait_for(timeout=LOOK)
    settle(page)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 36 + 18)
    click(page, page.get_by_role("button", name="Delete 1"))
    page.get_by_role("dialog").get_by_text("cannot be undone").wait_for(timeout=LOOK)
    assert len(queries.runs(store)) == 9
    click(page, page.get_by_role("dialog").get_by_role("button", name="Delete 1 run"))
    page.get_by_text("No runs match").or_(page.get_by_text("No runs here")).first.wait_for(timeout=LOOK)
    assert set(queries.runs(store)["state"]) == {"finished", "failed"}
    store.close()


def test_a_click_picks_a_strength_and_the_slider_a_step(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    store = open_store(dashboard.store_url)
    finished_sweep(store)
    store.close()
    page = opened(browser, f"{dashboard.address}/toy")
    graphs = page.locator(".js-plotly-plot")
    graphs.nth(1).wait_for(timeout=LOOK)
    settle(page)
    graphs.first.scroll_into_view_if_needed()
    place = graphs.first.evaluate(POINT_AT_STRENGTH_1)
    box = graphs.first.bounding_box()
    page.mouse.click(box["x"] + place[0], box["y"] + place[1])
    page.get_by_text("n = 1 paired seed").wait_for(timeout=LOOK)

    spectra = graphs.nth(1)
    rail = spectra.locator(".slider-rail-touch-rect")
    settle(page)
    rail.scroll_into_view_if_needed()
    before = spectra.evaluate(FIFTH_VALUE)
    box = rail.bounding_box()
    page.mouse.click(box["x"] + 2, box["y"] + box["height"] / 2)
    page.wait_for_function(
        f"before => ({FIFTH_VALUE})(document.querySelectorAll('.js-plotly-plot')[1]) > before", arg=before
    )


def test_an_own_graph_is_checked_kept_and_chosen(browser: Any, serve: Serve, tmp_path: Path) -> None:
    page = opened(browser, serve(WERANK_DATA_FOLDER=str(tmp_path / "data")).address + "/graph")
    click(page, page.get_by_text("Use your own graph"))
    fill(page, "Name", "friends")
    links = [(i, (i + step) % 30) for i in range(30) for step in (1, 29)]
    edges = "source,target\n" + "".join(f"{a},{b}\n" for a, b in links)
    nodes = "label,height\n" + "".join(f"{i % 2},{i / 10}\n" for i in range(30))
    upload(page, edges=edges, nodes=nodes.replace("0,0.4", "0,tall"))
    page.get_by_text("Feature column 'height' of nodes.csv is not numeric").wait_for(timeout=LOOK)
    remove_uploads(page)
    upload(page, edges=edges, nodes=nodes)
    page.get_by_text("friends is kept: 30 nodes, 30 edges, 1 features, 2 classes.").wait_for(timeout=LOOK)
    removals(page).first.wait_for(state="detached", timeout=LOOK)
    click(page, page.get_by_role("button", name="Use friends"))
    page.get_by_text("All settings (2 changed)").wait_for(timeout=LOOK)
    click(page, page.get_by_text("All settings"))
    click(page, page.get_by_role("tab", name="Data"))
    page.locator("input[aria-label^='Your graph'][value=friends]").wait_for(timeout=LOOK)


def test_edits_and_errors_survive_a_reload_and_stand_at_their_field(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    page = opened(browser, f"{dashboard.address}/toy")
    click(page, page.get_by_text("All settings"))
    click(page, page.get_by_role("tab", name="Encoder"))
    fill(page, "Depth", "2.5")
    sentence = page.get_by_text("Depth: 2.5 is not a whole number. Allowed: 1 to 32.")
    sentence.wait_for(timeout=LOOK)
    field = page.get_by_role("textbox", name=re.compile("^Depth")).bounding_box()
    told = sentence.bounding_box()
    assert abs(told["x"] - field["x"]) < 40
    assert 0 < told["y"] - field["y"] < 100
    assert page.get_by_role("tab", name="Encoder").get_attribute("aria-selected") == "true"
    page.wait_for_url(re.compile("toy_set_depth=2.5"), timeout=LOOK)
    fill(page, "Width", "9" * 400)
    page.get_by_text(re.compile("^Width: '9+… is too large")).wait_for(timeout=LOOK)

    page.reload()
    page.locator("h1").wait_for(timeout=LOOK)
    click(page, page.get_by_text("All settings (2 changed)"))
    click(page, page.get_by_role("tab", name="Encoder"))
    sentence.wait_for(timeout=LOOK)
    fill(page, "Depth", "3")
    fill(page, "Width", "32")
    page.get_by_text("40 runs").wait_for(timeout=LOOK)
    assert page.get_by_role("textbox", name=re.compile("^Depth")).input_value() == "3"


def test_quick_typing_loses_nothing(browser: Any, serve: Serve) -> None:
    page = opened(browser, f"{serve().address}/toy")
    click(page, page.get_by_text("All settings"))
    click(page, page.get_by_role("tab", name="Training"))
    for label, text in (("Learning rate", "0.5"), ("Batch size", "32"), ("Steps", "77")) * 2:
        type_into(page, label, text)  # without waiting for the answer: the address lags behind what is typed
    for name, text in (("learning_rate", "0.5"), ("batch_size", "32"), ("steps", "77")):
        page.wait_for_url(re.compile(f"toy_set_{name}={text}"), timeout=LOOK)


def test_the_picture_stays_in_sight_with_all_settings_open(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    store = open_store(dashboard.store_url)
    finished_sweep(store)
    store.close()
    page = opened(browser, f"{dashboard.address}/toy")
    click(page, page.get_by_text("All settings"))
    page.get_by_role("tab", name="Sweep").wait_for(timeout=LOOK)
    strip = page.get_by_text("Nothing is running here.").bounding_box()
    form = page.get_by_role("tab", name="Sweep").bounding_box()
    picture = page.locator(".js-plotly-plot").first.bounding_box()
    assert strip["y"] < form["y"] < picture["y"] < 780  # of 900


def test_a_hostile_name_fetches_nothing_and_is_shown_letter_by_letter(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    name = (
        "![x](http://x.example/i.png) <img src=//x.example/j.png> www.x.example :material/home: <a href='//x.example'>"
    )
    store = open_store(dashboard.store_url)
    ids = [finished_sweep(store, name=name), finished_sweep(store, name=f"{name} too", depth=3)]
    store.close()
    page = new_page(browser)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    links = "&".join(f"compare_items={sweep_id}" for sweep_id in ids)
    for path in (
        "",
        "toy",
        "runs",
        f"compare?{links}",
        f"toy?toy_sweep={name}&toy_preset={name}",
        f"graph?graph_set_dataset=own&graph_set_own_graph={name}",
    ):
        visit(page, f"{dashboard.address}/{path}")
        assert page.locator("a[href*='x.example'], img[src*='x.example']").count() == 0, path
    visit(page, f"{dashboard.address}/")
    shown = page.locator("strong", has_text="i.png").first
    shown.wait_for(timeout=LOOK)
    assert shown.inner_text().replace("\N{WORD JOINER}", "").startswith(name)
    assert [url for url in asked if not url.startswith((dashboard.address, "data:", "blob:"))] == []
