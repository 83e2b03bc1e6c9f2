"""Downloads that break, against a server of this process: one sentence each, and nothing half-written."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch_geometric.datasets
from filelock import FileLock

from tests.datasets.test_graphs import tiny_planetoid
from werank_core.datasets import downloads, fetching
from werank_core.datasets.errors import DataError
from werank_core.datasets.fetching import FetchState, fetch, fetch_state, tell
from werank_core.datasets.graph_catalogue import CATALOGUE, graph_path, is_downloaded

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def status(code: int) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.end_headers()
        handler.wfile.write(b"no")

    return answer


def cut(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"x" * 500)


def portal(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"\n<!DOCTYPE html><title>Please log in</title>")


def garbage(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(bytes(range(256)) * 4)


def reset(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.close()


def silence(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(1.0)


BREAKS: dict[str, tuple[Answer, str]] = {
    "404": (status(404), r"the server answers 404 \(Not Found\): try again later"),
    "403": (status(403), r"the server answers 403 \(Forbidden\)"),
    "429": (status(429), r"the server answers 429 \(Too Many Requests\): wait a while"),
    "502": (status(502), r"the server answers 502 \(Bad Gateway\): wait a while"),
    "cut": (cut, "the connection broke off|what came is damaged"),
    "reset": (reset, "the connection broke off|no connection"),
    "captive portal": (portal, "a web page came in place of the data"),
    "garbage": (garbage, "is damaged or not|what came is damaged"),
    "silence": (silence, "the server stopped answering"),
}


class Server(http.server.ThreadingHTTPServer):
    """Answers every request in the same way."""

    answer: Answer

    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.answer(self)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server in the place of those of the data sets."""
    monkeypatch.setenv("NO_PROXY", "*")
    running = Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch_geometric.datasets.Planetoid, "url", running.address())
    monkeypatch.setattr(torch_geometric.datasets.WikiCS, "url", running.address())
    monkeypatch.setattr(torch_geometric.datasets.Amazon, "url", running.address() + "/")
    monkeypatch.setattr("werank_core.datasets.arxiv.URL", running.address() + "/arxiv.zip")
    yield running
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("broken", BREAKS)
@pytest.mark.parametrize("name", ["cora", "wikics", "amazon_photo", "ogbn_arxiv"])
def test_every_break_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, name: str, broken: str
) -> None:
    server.answer, sentence = BREAKS[broken]
    monkeypatch.setattr(downloads, "_SILENCE_SECONDS", 0.3)
    with pytest.raises(DataError, match=sentence) as caught:
        fetch(name, tmp_path)
    assert CATALOGUE[name].title in str(caught.value) or "ind.cora" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not is_downloaded(name, tmp_path)
    assert list((tmp_path / "graphs").iterdir()) == []
    assert fetch_state(name, tmp_path) == FetchState("failed", str(caught.value))


def test_what_comes_whole_is_kept_with_its_facts(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    said: list[str] = []
    tiny_planetoid(raw, np.eye(520))
    counts = {"num_nodes": 520, "num_edges": 1040, "num_features": 520, "num_classes": 2}
    monkeypatch.setitem(CATALOGUE, "cora", type(CATALOGUE["cora"])(**vars(CATALOGUE["cora"]) | counts))

    def serve(handler: http.server.BaseHTTPRequestHandler) -> None:
        content = (raw / handler.path.strip("/")).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.answer = serve
    left = tmp_path / "graphs" / ".cora-fetch-of-a-killed-process"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    fetch("cora", tmp_path, on_progress=said.append)
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == [".cora.facts", "cora.npz"]
    assert said[0] == "Cora: downloading"
    assert said[-1] == "Cora: 520 nodes and 520 edges, counts as published"
    assert fetch_state("cora", tmp_path) == FetchState("idle")


def test_one_process_fetches_and_others_see_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_LOCK_SECONDS", 0.05)
    assert fetch_state("cora", tmp_path) == FetchState("idle")
    tell("cora", tmp_path, "starting", "Cora: starting")
    assert fetch_state("cora", tmp_path) == FetchState("fetching", "Cora: starting")
    with FileLock(tmp_path / "fetching" / "cora.lock"):
        tell("cora", tmp_path, "fetching", "Cora: downloading, 3 MB so far")
        assert fetch_state("cora", tmp_path) == FetchState("fetching", "Cora: downloading, 3 MB so far")
        with pytest.raises(DataError, match="Cora is being fetched already"):
            fetch("cora", tmp_path)
    assert fetch_state("cora", tmp_path).state == "failed"
    assert "ended without a word" in fetch_state("cora", tmp_path).sentence


def test_a_start_that_nothing_came_of_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tell("cora", tmp_path, "starting", "Cora: starting")
    monkeypatch.setattr(fetching, "_START_SECONDS", 0.0)
    assert fetch_state("cora", tmp_path).state == "failed"


@pytest.mark.parametrize(("name", "sentence"), [("corra", "'corra' is no data set that can be fetched; there are cora"),
                                                ("karate_club", "no data set that can be fetched"),
                                                ("../x", "no data set")])  # fmt: skip
def test_unknown_names_list_the_known(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        fetch(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    error = RuntimeError("while writing")
    assert downloads.what_happened(error, tmp_path).startswith("what came is damaged")
    error.__cause__ = OSError(28, "No space left on device")
    assert downloads.what_happened(error, tmp_path) == "the disk is full: make room and try again"


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match=r"the data folder .* cannot be written"):
        fetch("cora", tmp_path / "data")
    assert not graph_path("cora", tmp_path / "data").exists()
