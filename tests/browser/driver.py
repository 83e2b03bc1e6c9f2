"""Acting as a person who waits: Streamlit redraws after everything one does, and what is done meanwhile can be lost."""

import re
from typing import Any

LOOK = 30_000
"""Milliseconds in which a page on a busy machine shows what it has."""

# A page is at rest when the script is not running and has ended since the browser last sent something. A message that
# starts no run (a file's address, say) is let go after a while. `data-test-script-state` is Streamlit 1.67's own.
_WATCH = """
(() => {
  const seen = (window.seen = {sent: 0, ended: 0, changed: 0});
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (...message) {
    seen.sent = performance.now();
    return send.apply(this, message);
  };
  const state = () => document.querySelector("[data-testid=stApp]")?.dataset.testScriptState;
  let last;
  new MutationObserver(() => {
    if (state() === last) return;
    last = state();
    seen.changed = performance.now();
    if (last === "notRunning") seen.ended = seen.changed;
  }).observe(document, {subtree: true, childList: true, attributeFilter: ["data-test-script-state"]});
  window.atRest = () => {
    const now = performance.now();
    const answered = seen.ended > seen.sent || now - Math.max(seen.sent, seen.changed) > 3000;
    return state() === "notRunning" && answered && now - Math.max(seen.sent, seen.changed) > 150;
  };
})();
"""


def new_page(browser: Any, *, width: int = 1440, height: int = 900, **options: Any) -> Any:
    """A page in a fresh context that knows when it is at rest."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.add_init_script(_WATCH)
    return context.new_page()


def opened(browser: Any, address: str, **options: Any) -> Any:
    """A page in a fresh context, once it has drawn what it has."""
    page = new_page(browser, **options)
    visit(page, address)
    return page


def visit(page: Any, address: str) -> None:
    """Go there and wait until it is drawn."""
    page.goto(address)
    page.locator("h1").wait_for(timeout=LOOK)
    settle(page)


def settle(page: Any) -> None:
    """Wait until nothing is being redrawn."""
    page.wait_for_function("window.atRest()", timeout=LOOK)


def click(page: Any, target: Any) -> None:
    """Press something when the page is at rest, and wait until it is so again."""
    settle(page)
    target.click(timeout=LOOK)
    settle(page)


def fill(page: Any, label: str, text: str) -> None:
    """Type into the field with this label, as a person would who waits for the page."""
    settle(page)
    type_into(page, label, text)
    settle(page)


def type_into(page: Any, label: str, text: str) -> None:
    """Type into the field with this label without waiting for anything."""
    box = page.get_by_role("textbox", name=re.compile(f"^{label}")).first
    box.fill(text)
    box.press("Enter")


def upload(page: Any, **tables: str) -> None:
    """Give CSV files to the uploader and press the button."""
    files = [{"name": f"{n}.csv", "mimeType": "text/csv", "buffer": text.encode()} for n, text in tables.items()]
    settle(page)
    page.locator("input[type=file]").set_input_files(files)
    for name in tables:
        page.get_by_text(f"{name}.csv").last.wait_for(timeout=LOOK)
    removals(page).nth(len(tables) - 1).wait_for(timeout=LOOK)
    click(page, page.get_by_role("button", name="Check and keep"))


def remove_uploads(page: Any) -> None:
    """Take every file out of the uploader, one by one."""
    settle(page)
    for left in reversed(range(removals(page).count())):
        removals(page).first.click(timeout=LOOK)
        removals(page).nth(left).wait_for(state="detached", timeout=LOOK)
        settle(page)


def removals(page: Any) -> Any:
    """The button beside every file in the uploader."""
    return page.get_by_role("button", name="Remove")
