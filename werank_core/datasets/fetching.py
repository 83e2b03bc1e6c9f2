"""`data fetch`: one public data set at a time into the data folder, and what others may know of it meanwhile.

Whoever fetches holds a lock and writes how far it is into a small file beside it; so a page can watch a process that
it did not start, and tell one that ended without a word.
"""

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from werank_core.datasets import openml
from werank_core.datasets.downloads import Say, silent
from werank_core.datasets.errors import DataError
from werank_core.datasets.facts import graph_facts, image_facts
from werank_core.datasets.graph_catalogue import CATALOGUE as GRAPHS
from werank_core.datasets.graph_catalogue import graph_path
from werank_core.datasets.identity import is_fetchable
from werank_core.datasets.readers.limits import megabytes

_LOCK_SECONDS = 2.0
"""Longer than anybody holds the lock just to see whether it is free."""
_START_SECONDS = 60.0
_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class FetchState:
    """Whether somebody fetches a data set, or how the last try ended; `sentence` is for people."""

    state: Literal["idle", "fetching", "failed"]
    sentence: str = ""


def title_of(name: str) -> str:
    """What people call a public data set.

    Raises: DataError: unknown, with the known ones.
    """
    if not is_fetchable(name):
        known = [key for key in (*GRAPHS, *openml.CATALOGUE) if is_fetchable(key)]
        raise DataError(f"{name!r} is no data set that can be fetched; there are {', '.join(known)}.")
    return GRAPHS[name].title if name in GRAPHS else openml.CATALOGUE[name].title


def fetch(name: str, root: Path, *, raw: Path | None = None, on_progress: Say = silent) -> Path:
    """Fetch a public data set and keep it; nothing half-written stays.

    Args: raw, a folder with a graph's raw files in place of the network.
    Raises: DataError: unknown, being fetched already, or what went wrong; told to `fetch_state` as well.
    """
    title = title_of(name)
    if raw is not None and name not in GRAPHS:
        raise DataError(f"raw files are read for graphs; {title} comes from OpenML.")
    with ExitStack() as around:
        say = around.enter_context(_watched(name, root, title, around.enter_context(_locked(name, root)), on_progress))
        # what libraries print on their way is of no use to anybody
        around.enter_context(redirect_stdout(io.StringIO()))
        around.enter_context(redirect_stderr(io.StringIO()))
        # facts are taken here, so that no web process has to read the whole file for them
        if images := openml.CATALOGUE.get(name):
            path = openml.download_images(images, root, say)
            image_facts(path, images.shape)
            return path
        from werank_core.datasets.graphs import download_graph

        path = download_graph(name, root, raw=raw, on_progress=say)
        graph_facts(path)
        return path


def fetch_state(name: str, root: Path) -> FetchState:
    """What is known of the fetching of a data set, by whichever process."""
    told = _told(name, root)
    state = str(told.get("state", ""))
    sentence = str(told.get("sentence", ""))
    if _is_held(_lock(name, root)):
        return FetchState("fetching", sentence if state == "fetching" else "")
    if state == "starting" and 0 <= time.time() - float(str(told.get("at", 0))) < _START_SECONDS:
        return FetchState("fetching", sentence)
    if state in ("starting", "fetching"):
        return FetchState("failed", f"Fetching {title_of(name)} ended without a word; nothing half-written was kept.")
    return FetchState("failed", sentence) if state == "failed" else FetchState("idle")


def tell(name: str, root: Path, state: Literal["starting", "fetching", "failed"], sentence: str) -> None:
    """Leave word of how the fetching of a data set is going; a folder that cannot be written is no reason to stop."""
    with suppress(OSError):
        path = _word(name, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".partial")
        draft.write_text(json.dumps({"state": state, "sentence": sentence, "at": time.time()}))
        draft.replace(path)


def _word(name: str, root: Path) -> Path:
    return root / "fetching" / f"{name}.json"


def _lock(name: str, root: Path) -> FileLock:
    return FileLock(root / "fetching" / f"{name}.lock")


def _told(name: str, root: Path) -> dict[str, object]:
    try:
        found = json.loads(_word(name, root).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_held(lock: FileLock) -> bool:
    try:
        with lock.acquire(blocking=False):
            return False
    except Timeout:
        return True
    except OSError:  # no folder yet, or one that may not be written
        return False


@contextmanager
def _locked(name: str, root: Path) -> Iterator[Say]:
    """Fetch alone, and leave word: what is going on, or at the end what went wrong."""
    lock = _lock(name, root)
    try:
        (root / "fetching").mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise DataError(f"{title_of(name)} is being fetched already.") from error
    except OSError as error:
        raise DataError(f"the data folder {root} cannot be written: {error.strerror or error}.") from error
    try:
        yield lambda sentence: tell(name, root, "fetching", sentence)
        _word(name, root).unlink(missing_ok=True)
    except BaseException as error:
        text = str(error) if isinstance(error, DataError) else f"Fetching was stopped ({type(error).__name__})."
        tell(name, root, "failed", text)
        raise
    finally:
        lock.release()


@contextmanager
def _watched(name: str, root: Path, title: str, tell_others: Say, on_progress: Say) -> Iterator[Say]:
    """What to say goes to the file and to the caller; from time to time also how much has come."""

    def say(sentence: str) -> None:
        tell_others(sentence)
        on_progress(sentence)

    over = threading.Event()
    folder = (graph_path(name, root) if name in GRAPHS else openml.image_path(openml.CATALOGUE[name], root)).parent

    def watch() -> None:
        while not over.wait(_WATCH_SECONDS):
            with suppress(OSError):
                files = [path for draft in folder.glob(f".{name}-fetch-*") for path in draft.rglob("*")]
                if come := sum(path.stat().st_size for path in files if path.is_file()):
                    say(f"{title}: downloading, {megabytes(come)} so far")

    thread = threading.Thread(target=watch, name=f"watch {name}", daemon=True)
    thread.start()
    try:
        yield say
    finally:
        over.set()
        thread.join()
