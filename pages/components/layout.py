"""What every page begins with: page config, heading, and one sentence where something is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from pages.components import browser
from pages.components.actions import look_after_queue
from pages.components.plain import plain
from werank_core.datasets.errors import DataError
from werank_core.settings import SettingsError
from werank_core.store import StoreError

ICON = Path(__file__).parent / "icon.png"

# Reserved heights: nothing jumps when data arrives. The live strip's is in the style below.
CARD_HEIGHT = 520

_STYLE = """
<style>
  .stMainBlockContainer { padding: 3.9rem 2.2rem 3rem 2.2rem; max-width: 1560px; }
  .st-key-browser { position: absolute; height: 0; overflow: hidden; }
  h1 { font-size: 1.65rem !important; font-weight: 600 !important; padding: 0 0 .2rem 0 !important; }
  h2 { font-size: 1.15rem !important; padding: .4rem 0 0 0 !important; }
  h3 { font-size: 1rem !important; padding: .2rem 0 .8rem 0 !important; }
  [data-testid="stMetricValue"] { font-size: 1.3rem; }
  [data-testid="stCaptionContainer"] { color: inherit; opacity: .8; }
  button[kind="primary"]:enabled, button[kind="primary"]:enabled p { color: light-dark(#FFFFFF, #0E1117); }
  [role="radio"][data-selected="true"]:hover p { color: light-dark(#005A8C, #7CC0EE); }
  .stMultiSelect span[title] { color: light-dark(#FFFFFF, #0E1117); }
  button kbd { color: inherit !important; opacity: 1 !important; }
  /* A finger cannot hover: the toolbar of a chart is always there, and stands above its caption. */
  @media (hover: none) {
    [data-testid="stElementContainer"]:has(.stPlotlyChart) { margin-top: 30px; }
    [data-testid="stElementContainer"]:has(.stPlotlyChart), .stPlotlyChart { overflow: visible !important; }
    .stPlotlyChart .modebar-container { top: -30px !important; }
  }
  [data-testid^="stMetric"] *, [data-testid="stMetricValue"] {
    white-space: normal !important; overflow: visible !important;
  }
  [data-testid="stPopoverButton"] * { white-space: normal !important; overflow: visible !important; }
  [data-testid="stHorizontalBlock"] { row-gap: .5rem; }
  [class*="_live_strip"] { min-height: 2.8rem; justify-content: center; }
  [class*="_relation"] { min-height: 2.5rem; margin: -.7rem 0; }
  [class*="_fields"] { padding: .2rem 1rem .9rem 1rem !important; }
  [class*="_fields"] [data-testid="stVerticalBlock"] { gap: .7rem; }
  [class*="_fields"] [role="tabpanel"] { padding-top: .6rem; }
  [class*="_fields"] [data-testid="stAlert"] { margin-top: -.6rem; }
  [class*="_fields"] [data-testid="stAlertContainer"] { padding: .4rem .6rem; }
  [class*="_fields"] [data-testid="stAlertContainer"] p { font-size: .875rem; }
  [data-testid="stPopoverBody"]:has([data-testid="stDataFrame"]) { width: min(860px, 92vw); }
  @media (min-width: 641px) { [class*="_fields"] .stCheckbox { padding-top: 2rem; } }
  @media (max-width: 640px) {
    .stMainBlockContainer { padding-left: 1rem; padding-right: 1rem; }
    h1 { padding-bottom: 1.1rem !important; }
    /* Four maps side by side keep the width at which their numbers can be read, and are moved sideways. */
    [class*="collapse_maps"]:not([class*="numbers"]) { overflow-x: auto !important; }
    [class*="collapse_maps"]:not([class*="numbers"]) > * { min-width: 720px; }
  }
  @media (max-width: 900px) {
    [class*="_card"], [data-testid="stLayoutWrapper"]:has(> [class*="_card"]) {
      height: auto !important; flex: 0 0 auto !important;
    }
    [data-testid="stHorizontalBlock"]:has(> [data-testid="stColumn"] [class*="_card"]) { flex-direction: column; }
    [data-testid="stColumn"]:has([class*="_card"]),
    [data-testid="stColumn"]:has(+ [data-testid="stColumn"] [class*="_card"]) {
      width: 100% !important; flex: 1 1 auto !important;
    }
  }
</style>
"""


def configure_page() -> None:
    """Wide layout, title and icon; called by app.py."""
    # Arrow's own allocator keeps what was freed for later: some 15 MB of this process.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    st.set_page_config(page_title="WERank Lab", page_icon=str(ICON), layout="wide")


def show_heading(question: str, sentence: str, how_to_read: str) -> None:
    """The question a page answers, one sentence under it, and what to know before reading the picture."""
    _leave_pages_directory_mode()
    st.html(_STYLE)
    browser.listen()
    left, right = st.columns([5, 1], vertical_alignment="center")
    left.title(question, anchor=False)
    with right.popover("How to read this", width="stretch"):
        st.markdown(how_to_read)
    st.markdown(sentence)
    look_after_queue()


def _leave_pages_directory_mode() -> None:
    """Run app.py instead, once: a deep link into a fresh server finds Streamlit running pages/*.py by themselves.

    It does so until something calls `st.navigation`, and offers no public switch (seen with Streamlit 1.67).
    """
    if PagesManager.uses_pages_directory:
        PagesManager.uses_pages_directory = False
        st.rerun()


@contextmanager
def explained_errors() -> Iterator[None]:
    """A store or setting in trouble ends the page with its one sentence instead of a traceback."""
    try:
        yield
    except (StoreError, SettingsError, DataError) as error:
        st.error(plain(error), icon=":material/error:")
        st.stop()
