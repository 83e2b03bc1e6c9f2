"""Fetching files: nothing half-written stays, and what went wrong is said in one sentence."""

import errno
import http.client
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

_SILENCE_SECONDS = 60.0
_CHUNK = 1 << 20
_PAGE = (b"<!doctype html", b"<html")

Say = Callable[[str], None]
"""Called with a sentence whenever there is progress."""


def silent(sentence: str) -> None:
    """Progress that nobody wants to hear of."""


@contextmanager
def drafts(folder: Path, name: str) -> Iterator[Path]:
    """A folder for half-finished files that is removed at the end, with what a killed process left behind.

    One process at a time may hold the drafts of a name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{name}-fetch-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-fetch-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextmanager
def patience() -> Iterator[None]:
    """Give up on a server that is silent for a minute, also where a library sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def fetch_url(url: str, path: Path) -> None:
    """Write what a server sends into a file.

    Raises:
        OSError: no connection, a refusal, or an answer that ends too early.
    """
    with urllib.request.urlopen(url) as answer, path.open("wb") as file:
        expected = answer.headers.get("Content-Length")
        shutil.copyfileobj(answer, file, _CHUNK)
        if expected is not None and file.tell() != int(expected):
            raise ConnectionError(f"{file.tell():,} of {int(expected):,} bytes came")


def what_happened(error: BaseException, folder: Path) -> str:
    """Why a download failed, and what to do, as the rest of a sentence.

    Args: folder, where it wrote to: a web page in there tells of a network that asks for a login.
    """
    causes = list(_causes(error))
    codes = [code for cause in causes if (code := _status(cause)) is not None]
    if codes:
        phrase = HTTPStatus(codes[0]).phrase if codes[0] in {*HTTPStatus} else "no known answer"
        wait = "wait a while and try again" if codes[0] in (429, 502, 503, 504) else "try again later"
        return f"the server answers {codes[0]} ({phrase}): {wait}"
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in causes):
        return "the disk is full: make room and try again"
    if any(isinstance(cause, MemoryError) for cause in causes):
        return "there is not enough memory to read it"
    if holds_page(folder):
        return "a web page came in place of the data, perhaps the login of this network: log in and try again"
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return "the server stopped answering: check the network and try again"
    if any(isinstance(cause, ConnectionError | http.client.HTTPException) for cause in causes):
        return "the connection broke off: check the network and try again"
    if any(isinstance(cause, urllib.error.URLError | socket.gaierror) or _is_client_error(cause) for cause in causes):
        return "there is no connection to the server: check the network and try again"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the data folder cannot be used ({error.strerror})"
    return f"what came is damaged or not this data set ({type(error).__name__}): try again later"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those it came from."""
    seen: set[int] = set()
    waiting: list[BaseException | object | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None)]


def _status(error: BaseException) -> int | None:
    """The status of a refusal, as urllib and aiohttp carry it."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _is_client_error(error: BaseException) -> bool:
    """Whether aiohttp could not reach the server."""
    return any(kind.__name__ == "ClientError" for kind in type(error).__mro__)


def holds_page(folder: Path) -> bool:
    """Whether a file in the folder is a web page."""
    return any(_is_page(file) for file in folder.rglob("*") if file.is_file())


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith(_PAGE)
