"""Data on the pages: fetched by a process that is watched, brought along by a person, replaced under an old sweep."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from streamlit.testing.v1 import AppTest

from pages.components import data_sets
from tests.datasets.readers.brought import LABELS, edge_text, node_text
from tests.pages.conftest import OpenPage, button_named, checked, words
from werank_core.config import GraphConfig
from werank_core.datasets import fetching
from werank_core.datasets.fetching import tell
from werank_core.datasets.graph_data import Graph, compact_features, symmetric_adjacency
from werank_core.datasets.identity import identified
from werank_core.datasets.own_data import keep_own_graph, load_own_graph, load_own_images
from werank_core.jobs import fetching as jobs
from werank_core.settings import Settings, settings
from werank_core.store import Store, queries
from werank_core.store.runs import submit
from werank_core.sweeps import SweepSpec

OWN = {"graph_field_dataset": "own", "graph_field_own_graph": "mine"}


@pytest.fixture(autouse=True)
def data_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of the test's own."""
    monkeypatch.setenv("WERANK_DATA_FOLDER", str(home / "data"))
    settings.cache_clear()
    return home / "data"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names for which a process would have been started: the boundary of these tests."""
    names: list[str] = []

    def start(command: list[str], **_: Any) -> None:
        names.append(command[-1])

    monkeypatch.setattr(jobs.subprocess, "Popen", start)
    return names


def keep(root: Path, labels: np.ndarray = LABELS) -> Graph:
    nodes = np.arange(12)
    adjacency = symmetric_adjacency(nodes, (nodes + 1) % 12, 12)
    graph = Graph("mine", adjacency, compact_features(np.random.default_rng(0).normal(size=(12, 3))), labels)
    keep_own_graph(graph, root)
    return graph


def graph_page(open_page: OpenPage, **values: Any) -> AppTest:
    """The graph page with its form open and these fields set."""
    at = checked(open_page("pages/graph.py").toggle(key="graph_form_open").set_value(True).run())
    for key, value in values.items():
        box = at.selectbox(key=key) if key == "graph_field_dataset" else at.text_input(key=key)
        checked(box.set_value(value).run())
    return at


def bring(at: AppTest, prefix: str, name: str, files: dict[str, bytes]) -> AppTest:
    """Type a name, give files and press the button, as a person would."""
    at.text_input(key=f"{prefix}_own_name").set_value(name)
    at.file_uploader[0].set_value([(name, content, "application/octet-stream") for name, content in files.items()])
    checked(at.run())
    return checked(button_named(at, "Check and keep").click().run())


class TestFetching:
    def test_a_missing_graph_is_fetched_by_a_process_that_the_page_watches(
        self, open_page: OpenPage, store: Store, data_folder: Path, asked: list[str]
    ) -> None:
        at = open_page("pages/graph.py", graph_preset="Cora")
        assert "Cora is not on this machine yet." in words(at)
        assert button_named(at, "Run sweep").disabled
        checked(button_named(at, "Fetch Cora").click().run())
        assert asked == ["cora"]
        assert "Cora: starting" in words(at)
        with FileLock(data_folder / "fetching" / "cora.lock"):
            tell("cora", data_folder, "fetching", "Cora: downloading, 3 MB so far")
            checked(at.run())
            assert "Cora: downloading, 3 MB so far" in words(at)
            assert not [button for button in at.button if button.label == "Fetch Cora"]
        tell("cora", data_folder, "failed", "Cora could not be downloaded: the server answers 429 (*Too Many*).")
        checked(at.run())
        assert r"the server answers 429 (\*Too Many\*)." in words(at)
        checked(button_named(at, "Try again").click().run())
        assert asked == ["cora", "cora"]
        assert queries.sweeps(store).empty

    def test_images_too(self, open_page: OpenPage, asked: list[str]) -> None:
        at = checked(open_page("pages/rank_collapse.py").toggle(key="collapse_form_open").set_value(True).run())
        checked(at.selectbox(key="collapse_field_dataset").set_value("cifar10").run())
        checked(button_named(at, "Fetch CIFAR-10").click().run())
        assert asked == ["cifar10"]

    def test_a_demo_fetches_nothing(
        self, open_page: OpenPage, store: Store, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WERANK_DEMO", "1")
        settings.cache_clear()
        at = open_page("pages/graph.py", graph_preset="Cora")
        assert button_named(at, "Fetch Cora").disabled
        with pytest.raises(fetching.DataError, match="read-only demo"):
            jobs.start_fetch("cora", settings())
        assert asked == []


class TestBringing:
    def test_a_graph_is_kept_told_and_used(self, open_page: OpenPage, data_folder: Path) -> None:
        at = graph_page(open_page)
        bring(at, "graph", "mine", {"e.csv": edge_text().encode(), "n.csv": node_text("xyz").encode()})
        assert [box.value for box in at.success] == ["mine is kept: 12 nodes, 12 edges, 3 features, 3 classes."]
        assert "- Classes, numbered from 0 in this order: x, y, z." in words(at)
        assert load_own_graph("mine", data_folder).num_nodes == 12
        checked(button_named(at, "Use mine").click().run())
        assert at.selectbox(key="graph_field_dataset").value == "own"
        assert at.text_input(key="graph_field_own_graph").value == "mine"
        assert not at.error

    def test_a_refusal_is_one_sentence_that_shows_names_as_text(self, open_page: OpenPage) -> None:
        at = graph_page(open_page)
        bring(at, "graph", "mine", {"![x](http://elsewhere/y.png).csv": edge_text().encode()})
        (error,) = at.error
        assert "The files have no classes" in error.value
        nodes = node_text().replace("a,", "a,<b>![x](http://elsewhere)", 1)
        at.file_uploader[0].set_value([("e.csv", edge_text().encode(), ""), ("n.csv", nodes.encode(), "")])
        checked(at.run())
        checked(button_named(at, "Check and keep").click().run())
        assert r"\<b\>!\[x\](http" in at.error[0].value

    def test_choices_change_what_is_kept_without_giving_the_files_again(
        self, open_page: OpenPage, data_folder: Path
    ) -> None:
        at = graph_page(open_page)
        nodes = "label\n" + "b\n" + "".join(f"{'ac'[i % 2]}\n" for i in range(11))
        bring(at, "graph", "mine", {"e.csv": edge_text().encode(), "n.csv": nodes.encode()})
        assert "1 class of fewer than 3 nodes" in at.error[0].value
        at.toggle(key="graph_own_drop").set_value(True)
        at.selectbox(key="graph_own_features").set_value("degree")
        checked(at.run())
        checked(button_named(at, "Check and keep").click().run())
        assert load_own_graph("mine", data_folder).num_unlabelled == 1

    def test_what_is_kept_leaves_the_uploader_empty(self, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
        removed: list[str] = []
        manager = "streamlit.runtime.memory_uploaded_file_manager.MemoryUploadedFileManager.remove_file"
        monkeypatch.setattr(manager, lambda self, session_id, file_id: removed.append(file_id))
        at = graph_page(open_page)
        bring(at, "graph", "mine", {"e.csv": edge_text().encode(), "n.csv": node_text().encode()})
        assert len(removed) == 2
        assert at.file_uploader[0].value == []
        bring(at, "graph", "mine", {"e.csv": edge_text().encode()})
        assert len(removed) == 2, "a small file that was refused may be tried with other choices"
        monkeypatch.setattr(data_sets, "_KEPT_AFTER_A_REFUSAL", 10)
        checked(button_named(at, "Check and keep").click().run())
        assert len(removed) == 3

    def test_images_are_kept_and_used(self, open_page: OpenPage, data_folder: Path, tmp_path: Path) -> None:
        with (tmp_path / "images.npz").open("wb") as file:
            np.savez(file, images=np.random.default_rng(0).integers(0, 255, (30, 4, 4)), labels=np.arange(30) % 3)
        at = checked(open_page("pages/rank_collapse.py").toggle(key="collapse_form_open").set_value(True).run())
        bring(at, "collapse", "tiny", {"images.npz": (tmp_path / "images.npz").read_bytes()})
        assert at.success[0].value == "tiny is kept: 30 images, 3 classes."
        assert load_own_images("tiny", data_folder).shape == (1, 4, 4)
        checked(button_named(at, "Use tiny").click().run())
        assert at.selectbox(key="collapse_field_dataset").value == "own_images"
        assert not button_named(at, "Run sweep").disabled

    def test_a_demo_takes_nothing(self, open_page: OpenPage, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WERANK_DEMO", "1")
        settings.cache_clear()
        at = open_page("pages/graph.py")
        assert button_named(at, "Check and keep").disabled
        assert at.file_uploader[0].proto.disabled


class TestIdentity:
    def test_a_sweep_is_submitted_with_the_content_of_its_data(
        self, open_page: OpenPage, store: Store, data_folder: Path, started: list[Settings]
    ) -> None:
        keep(data_folder)
        at = graph_page(open_page, **OWN)
        checked(button_named(at, "Run sweep").click().run())
        (sweep,) = queries.sweeps(store).to_dict("records")
        assert queries.sweep_spec(store, sweep["sweep_id"]).config == identified(
            GraphConfig(dataset="own", own_graph="mine"), data_folder
        )
        assert "digest" not in sweep["name"]
        assert "replaced" not in words(at)

    def test_a_sweep_of_replaced_data_says_so(self, open_page: OpenPage, store: Store, data_folder: Path) -> None:
        keep(data_folder)
        config = identified(GraphConfig(dataset="own", own_graph="mine", epochs=5, warmup_epochs=1), data_folder)
        submit(store, SweepSpec(experiment="graph", config=config, strengths=(0.0,), seeds=1))
        assert "replaced" not in words(open_page("pages/graph.py"))
        keep(data_folder, LABELS[::-1].copy())
        said = words(open_page("pages/graph.py"))
        assert "Your graph 'mine' was replaced after this sweep: older runs belong to the old data." in said

    def test_nodes_without_a_label_are_counted_in_a_note(self, open_page: OpenPage, data_folder: Path) -> None:
        keep(data_folder, np.where(np.arange(12) % 4 == 0, -1, LABELS))
        at = graph_page(open_page, **OWN)
        note = "3 nodes of 12 without a label; they are trained on and left out of probe and class metrics."
        assert note in words(at)

    def test_missing_data_are_one_sentence(self, open_page: OpenPage) -> None:
        at = graph_page(open_page, **OWN)
        assert "There is no graph of your own named 'mine'; there are: none yet." in words(at)
        assert button_named(at, "Run sweep").disabled
