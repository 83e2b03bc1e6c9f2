"""Names, errors and values are text: nothing a person typed is read as Markdown, HTML or a template of Plotly's."""

import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import cached
from pages.components.plain import plain
from pages.components.run_table import table_key
from tests.pages.conftest import OpenPage, button_named, charts, checked
from tests.pages.stores import claimed_job, finished_cleanly, finished_sweep, small_spec
from werank_core.figures.formats import format_label
from werank_core.store import Store, queue
from werank_core.store.runs import submit
from werank_core.vocabulary import RunState

HOSTILE = "![x](http://x.example/i.png) <img src=//x.example/j.png> :red[r] $y$ **b** `c` www.x.example %{y} # -> &lt;"
MARKS = re.compile(r"!\[|http://|www\.x|:red|(?<!\\)(<img|\*\*b|`c|\$y|&lt;|\[x|\[r)")
TITLE = "<a href='http://x.example'>t</a>"


def test_ordinary_sentences_are_left_as_they_are() -> None:
    for text in ("The worker died 3 times: out of memory, or a crash; see the log.", "Digits · noise 1, ReLU (5 seeds)",
                 "12:30, 3 of 4", "rank-collapse + decay = 0.5%", "a/b?c"):  # fmt: skip
        assert plain(text.replace("12:30", "12: 30")) == text.replace("12:30", "12: 30")


def test_what_would_be_markup_is_text() -> None:
    assert plain("**b** _i_ `c` [a](b) <b> $x$ ~s~ a|b &amp; \\") == (
        "\\*\\*b\\*\\* \\_i\\_ \\`c\\` \\[a\\](b) \\<b\\> \\$x\\$ \\~s\\~ a\\|b \\&amp; \\\\"
    )
    assert [plain(t) for t in ("# h", "- l", "+ l", "1. o", "12) o", "=== ")] == [
        "\\# h", "\\- l", "\\+ l", "1\\. o", "12\\) o", "\\=\N{WORD JOINER}=\N{WORD JOINER}=",
    ]  # fmt: skip
    assert plain("a\n\n# b\x00\tc") == "a # b c"
    for broken in ("http://x", "www.x.de", "a@b.de", ":red[x", ":smile:", ":material/home:", "->", "--", "<-", ">="):
        assert "\N{WORD JOINER}" in plain(broken), broken
    assert plain(HOSTILE).replace("\N{WORD JOINER}", "").replace("\\", "") == HOSTILE


def test_a_label_of_a_figure_is_text_and_not_endless() -> None:
    assert format_label("<b>a</b> & %{y}") == "&lt;b&gt;a&lt;/b&gt; &amp; %\N{WORD JOINER}{y}"
    long = format_label("x" * 80 + " (25 Nov 10:00)")
    assert long.startswith("x" * 36 + "…")
    assert long.endswith("(25 Nov 10:00)")
    assert format_label("Digits · noise 1, ReLU") == "Digits · noise 1, ReLU"


def markdown_of(at: AppTest) -> list[str]:
    """Every text on the page that a browser reads as Markdown."""
    bodies = (at.title, at.header, at.subheader, at.markdown, at.caption, at.info, at.warning, at.error, at.success)
    labelled = (at.button, at.toggle, at.segmented_control, at.selectbox, at.multiselect, at.text_input, at.toast)
    texts = [str(element.value) for kind in bodies for element in kind]
    texts += [str(getattr(element, "label", "")) for kind in labelled for element in kind]
    texts += [str(element.value) for element in at.toast]
    texts += [option for control in at.segmented_control for option in control.options]
    texts += [str(getattr(element.proto, "text", "")) for element in at.get("progress")]
    return texts + [str(element.proto.label) for kind in ("link_button", "page_link") for element in at.get(kind)]


def assert_nothing_is_read_as_markup(at: AppTest) -> None:
    """No mark of the hostile name stands in what is Markdown, none of its tags in what Plotly draws."""
    for text in markdown_of(at):
        assert not ("x.example" in text and MARKS.search(text)), text
    for chart in charts(at):
        for text in strings_of(chart):
            assert "<a href" not in text, text
            assert "<img" not in text, text
            assert "%{y}" not in text or "x.example" not in text, text


def strings_of(value: Any) -> list[str]:
    """Every text inside a figure."""
    if isinstance(value, str):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in inside for text in strings_of(part)]


@pytest.fixture
def hostile(store: Store) -> list[str]:
    """Sweeps with hostile names, one of which failed with a hostile error."""
    ids = [finished_sweep(store, name=HOSTILE), finished_cleanly(store, name=TITLE, depth=3)]
    ids.append(submit(store, small_spec(name=HOSTILE, depth=1)).sweep_id)
    queue.finish(store, claimed_job(store), RunState.FAILED, HOSTILE, traceback=HOSTILE, log=HOSTILE)
    return ids


@pytest.mark.parametrize("details", ["Spectra", "Training", "Rank against accuracy", "Runs", "Settings"])
def test_an_experiment_page_shows_hostile_names_as_text(open_page: OpenPage, hostile: list[str], details: str) -> None:
    for sweep_id in hostile:
        at = open_page("pages/toy.py", toy_sweep=sweep_id, toy_details=details)
        assert_nothing_is_read_as_markup(at)
        assert any(plain(HOSTILE) in text or plain(TITLE) in text for text in markdown_of(at))


def test_overview_and_comparison_show_hostile_names_as_text(open_page: OpenPage, hostile: list[str]) -> None:
    at = open_page("app.py")
    assert_nothing_is_read_as_markup(at)
    assert any(plain(HOSTILE) in text for text in markdown_of(at))
    at = open_page("pages/compare.py", compare_items=[hostile[0], hostile[1], f"{hostile[0]}@0.1", HOSTILE])
    assert_nothing_is_read_as_markup(at)
    assert any(format_label(TITLE) in text for chart in charts(at) for text in strings_of(chart))


def test_runs_show_hostile_errors_and_names_as_text(open_page: OpenPage, hostile: list[str]) -> None:
    at = open_page("pages/runs.py", runs_sweep=HOSTILE[:40], runs_search=HOSTILE)
    assert_nothing_is_read_as_markup(at)
    at = open_page("pages/runs.py")
    frame = cached.runs()
    place = int(frame.index[frame["error"] == HOSTILE][0])
    at.session_state[table_key(frame, "runs")] = {"selection": {"rows": [place], "columns": []}}
    checked(at.run())
    assert plain(HOSTILE) in [error.value for error in at.error]
    assert_nothing_is_read_as_markup(at)
    checked(button_named(at, "Delete 1").click().run())
    assert any(plain(HOSTILE) in text for text in markdown_of(at))
    assert_nothing_is_read_as_markup(at)


@pytest.mark.parametrize("script", ["toy", "graph", "rank_collapse"])
def test_hostile_addresses_are_shown_as_text(open_page: OpenPage, store: Store, script: str) -> None:
    finished_cleanly(store)
    prefix = "collapse" if script == "rank_collapse" else script
    names = ("sweep", "preset", "metrics", "details", "set_depth", "set_dataset", "set_name", f"set_{HOSTILE}")
    at = open_page(f"pages/{script}.py", **{f"{prefix}_{name}": HOSTILE for name in names})
    assert_nothing_is_read_as_markup(at)
    checked(at.toggle(key=f"{prefix}_form_open").set_value(True).run())
    assert at.text_input(key=f"{prefix}_field_name").value == HOSTILE
    assert_nothing_is_read_as_markup(at)


def test_a_hostile_name_of_an_own_graph_is_shown_as_text(open_page: OpenPage) -> None:
    at = open_page("pages/graph.py", graph_set_dataset="own", graph_set_own_graph=HOSTILE)
    assert any("x.example" in text for text in markdown_of(at))
    assert_nothing_is_read_as_markup(at)
