"""What axe-core finds on every page in both themes; keyboard and focus; screens of other sizes."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.conftest import Dashboard
from tests.browser.driver import LOOK, click, opened, settle, visit
from tests.pages.stores import finished_cleanly, finished_sweep
from werank_core.store import open_store

pytestmark = pytest.mark.browser

Serve = Callable[..., Dashboard]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
PATHS = ("", "toy", "graph", "rank_collapse", "runs?runs_state=diverged")


def filled(dashboard: Dashboard) -> list[str]:
    """Two sweeps in the dashboard's store."""
    store = open_store(dashboard.store_url)
    ids = [finished_cleanly(store, name="deep", depth=3), finished_sweep(store, name="flat")]
    store.close()
    return ids


def violations(page: Any) -> Iterator[str]:
    """What axe-core has to say about the page as it is, one line an element."""
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_function("window.werank?.observer", timeout=LOOK)
    for found in Axe().run(page, options={"runOnly": RULES}).response["violations"]:
        for node in found["nodes"]:
            yield f"{found['id']}: {node['html'][:200]} {[check['message'] for check in node['any']]}"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_on_any_page(browser: Any, serve: Serve, theme: str) -> None:
    dashboard = serve()
    ids = filled(dashboard)
    page = opened(browser, dashboard.address, color_scheme=theme)
    for path in (*PATHS, f"compare?compare_items={ids[0]}&compare_items={ids[1]}"):
        visit(page, f"{dashboard.address}/{path}")
        assert list(violations(page)) == [], path
    visit(page, f"{dashboard.address}/toy")
    click(page, page.get_by_text("All settings"))
    assert list(violations(page)) == [], "the form"
    for panel in ("Training", "Table of settings", "Downloads"):
        click(page, page.get_by_role("radio", name=panel, exact=True))
        assert list(violations(page)) == [], panel


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_button_that_waits_for_corrections_can_be_read(browser: Any, serve: Serve, theme: str) -> None:
    """Streamlit greys it out, which no rule asks a contrast of; its own colours must not meet ours."""
    page = opened(browser, f"{serve().address}/toy?toy_set_seeds=0", color_scheme=theme)
    button = page.locator(".st-key-toy_run button:disabled")
    button.wait_for(timeout=LOOK)
    settle(page)
    text, behind = button.evaluate(
        "b => [getComputedStyle(b.querySelector('p')).color, getComputedStyle(b).backgroundColor]"
    )
    page_behind = page.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    assert text not in (behind, page_behind)
    assert {text, page_behind} != {"rgb(255, 255, 255)", "rgb(14, 17, 23)"}, "a disabled button looks disabled"


def test_every_button_has_a_name(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    filled(dashboard)
    page = opened(browser, f"{dashboard.address}/toy")
    click(page, page.get_by_text("All settings"))
    names = (
        page.get_by_role("main")
        .get_by_role("button")
        .evaluate_all("all => all.filter(e => e.offsetParent).map(e => (e.ariaLabel || e.innerText || e.title).trim())")
    )
    assert len(names) > 20
    assert "" not in names


def test_focus_stays_where_a_person_works(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    filled(dashboard)
    page = opened(browser, f"{dashboard.address}/toy")
    box = page.get_by_role("combobox", name=re.compile("^α against 0|α against 0"))
    settle(page)
    box.focus()
    box.press("ArrowDown")
    page.get_by_role("option", name="1", exact=True).wait_for(timeout=LOOK)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("toy_picked="), timeout=LOOK)
    settle(page)
    page.wait_for_timeout(600)  # longer than the script waits before it gives a lost focus back
    assert page.evaluate("document.activeElement.tagName") not in ("BODY", "HTML")


@pytest.mark.parametrize("width", [390, 720, 768])
def test_nothing_is_cut_off_on_a_narrow_screen(browser: Any, serve: Serve, width: int) -> None:
    """720 px is also what 1440 px at 200% are."""
    dashboard = serve()
    ids = filled(dashboard)
    page = opened(browser, dashboard.address, width=width, height=900, has_touch=True)
    for path in (*PATHS, f"compare?compare_items={ids[0]}&compare_items={ids[1]}"):
        visit(page, f"{dashboard.address}/{path}")
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], path
        cut = page.evaluate(CUT_OFF)
        assert cut == [], path
        assert page.evaluate(TOOLBAR_ON_CAPTION) == [], path


CUT_OFF = """() => {
    const box = e => e.getBoundingClientRect();
    const main = box(document.querySelector("[data-testid=stMain]"));
    const shortened = [...document.querySelectorAll("[data-testid^=stMetric] *, button p")]
        .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === "hidden");
    const clipped = [...document.querySelectorAll(".js-plotly-plot")]
        .filter(e => box(e).bottom > box(e.closest("[data-testid=stElementContainer]")).bottom + 1);
    return [...shortened, ...clipped,
            ...document.querySelectorAll("h1, h2, h3, button p, .annotation-text, .gtitle, .xtitle")]
        .filter(e => box(e).width && e.closest("[data-testid=stMain]"))
        .filter(e => shortened.includes(e) || clipped.includes(e)
            || box(e).right > main.right + 1 || box(e).left < main.left - 1)
        .map(e => e.textContent);
}"""
TOOLBAR_ON_CAPTION = """() => [...document.querySelectorAll(".js-plotly-plot")].flatMap(graph => {
    const bar = graph.querySelector(".modebar"), title = graph.querySelector(".gtitle");
    if (!bar || !title || getComputedStyle(bar.firstElementChild || bar).opacity === "0") return [];
    const a = bar.getBoundingClientRect(), b = title.getBoundingClientRect();
    const apart = a.left >= b.right || a.right <= b.left || a.top >= b.bottom || a.bottom <= b.top;
    return apart || !a.width ? [] : [[title.textContent, a.top, a.bottom, b.top, b.bottom]];
})"""


def test_typing_and_enter_takes_the_first_match(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    filled(dashboard)
    page = opened(browser, f"{dashboard.address}/compare")
    box = page.get_by_role("combobox", name=re.compile("Compare"))
    settle(page)
    box.fill("flat")
    page.get_by_role("option").first.wait_for(timeout=LOOK)
    offered = [text.strip() for text in page.get_by_role("option").all_inner_texts()]
    assert offered[:4] == ["flat", "flat, strength 0", "flat, strength 0.1", "flat, strength 1"]
    box.press("Enter")
    page.wait_for_url(re.compile("compare_items=[0-9a-f]{16}$"), timeout=LOOK)


def test_zoom_and_strength_stand_in_the_link(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    filled(dashboard)
    page = opened(browser, f"{dashboard.address}/toy")
    graph = page.locator(".js-plotly-plot").first
    graph.wait_for(timeout=LOOK)
    settle(page)
    graph.evaluate("graph => Plotly.relayout(graph, {'yaxis.range[0]': 4, 'yaxis.range[1]': 5})") if page.evaluate(
        "!!window.Plotly"
    ) else graph.evaluate("graph => graph.emit('plotly_relayout', {'yaxis.range[0]': 4, 'yaxis.range[1]': 5})")
    page.wait_for_url(re.compile("toy_strength_zoom="), timeout=LOOK)
    again = opened(browser, page.url)
    graph = again.locator(".js-plotly-plot").first
    graph.wait_for(timeout=LOOK)
    assert graph.evaluate("graph => graph._fullLayout.yaxis.range") == [4, 5]


def test_diverged_runs_are_one_click_away(browser: Any, serve: Serve) -> None:
    dashboard = serve()
    filled(dashboard)
    page = opened(browser, f"{dashboard.address}/toy")
    link = page.get_by_role("link", name="Show the diverged run")
    link.wait_for(timeout=LOOK)
    assert re.search("runs_state=diverged&runs_sweep=[0-9a-f]{16}$", link.get_attribute("href"))
