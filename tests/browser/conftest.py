"""A dashboard of its own for every browser test, and a real Chromium: skipped where there is none, except in CI."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


@dataclass(frozen=True)
class Dashboard:
    """A running server and its store."""

    address: str
    store_url: str


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    executable = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        _missing("the Python package playwright (requirements-dev.txt)")
    if executable is None:
        _missing("the program chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


def _missing(what: str) -> None:
    sentence = f"Browser tests need {what}."
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Dashboard]]:
    """Starts `streamlit run app.py` on a temporary home; ends it and every process that belongs to that home."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> Dashboard:
        port = _free_port()
        store_url = f"sqlite:///{tmp_path / 'store.sqlite'}"
        mine = {"WERANK_HOME": str(tmp_path), "WERANK_STORE": store_url, "WERANK_IDLE_MINUTES": "0.5"}
        with (tmp_path / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
                cwd=ROOT, env={**os.environ, **mine, **environment}, stdout=log, stderr=log,
            )  # fmt: skip
        servers.append(server)
        _wait_for(f"http://localhost:{port}/_stcore/health", server)
        return Dashboard(f"http://localhost:{port}", store_url)

    yield start
    for server in servers:
        _end(psutil.Process(server.pid))
    for process in _workers_of(tmp_path):
        _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"The server ended with code {server.returncode}.")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer.")


def _workers_of(home: Path) -> list[psutil.Process]:
    """Processes started with this home in their environment: the supervisor detaches from the server."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("WERANK_HOME") == str(home)
        except psutil.Error:
            continue
        if mine and process.pid != os.getpid():
            found.append(process)
    return found


def _end(process: psutil.Process) -> None:
    try:
        process.terminate()
        process.wait(timeout=10)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.Error:
        return
