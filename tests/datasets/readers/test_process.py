"""Reading in a process of its own: it keeps and reports, and ends at its limits with one sentence."""

import os
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.datasets.readers.brought import NODES, Arrays, arrays, edge_text, node_text
from werank_core.datasets.errors import DataError
from werank_core.datasets.graph_data import graph_digest
from werank_core.datasets.own_data import load_own_graph, load_own_images, own_names
from werank_core.datasets.readers.features import FeatureChoice
from werank_core.datasets.readers.process import Report, Request, Wanted, add_own_data


def request(
    root: Path, content: Arrays, name: str = "mine", kind: Wanted = "graph", features: FeatureChoice = "given"
) -> Request:
    """A request for a graph, or for images, in an npz file of these arrays."""
    path = root / "given.npz"
    np.savez(path, allow_pickle=False, **content)
    return Request(kind, name, (("graph of mine.npz", str(path)),), str(root / "data"), features)


def test_what_was_understood_is_kept_and_reported(tmp_path: Path) -> None:
    report = add_own_data(request(tmp_path, arrays(labels=[-1, *np.arange(NODES)[1:] // 4])))
    graph = load_own_graph("mine", tmp_path / "data")
    assert report == Report(
        "graph",
        "mine",
        "12 nodes, 12 edges, 3 features, 3 classes",
        ("1 node has no label.",),
        graph_digest(graph),
        False,
    )
    again = add_own_data(request(tmp_path, arrays(features=None), features="identity"))
    assert again.replaced
    assert again.digest != report.digest
    assert load_own_graph("mine", tmp_path / "data").num_features == NODES


def test_tables_by_the_names_their_owner_gives_them(tmp_path: Path) -> None:
    for number, text in enumerate((edge_text(), node_text().replace("a,", "a,much", 1))):
        (tmp_path / f"upload-{number}").write_text(text)
    files = (("../../links.csv", str(tmp_path / "upload-0")), ("people.csv", str(tmp_path / "upload-1")))
    with pytest.raises(DataError, match=r"feature column 'f1' of people\.csv is not numeric"):
        add_own_data(Request("graph", "mine", files, str(tmp_path / "data")))
    assert own_names("graph", tmp_path / "data") == []


def test_memory_is_limited(tmp_path: Path) -> None:
    large = arrays(features=np.zeros((NODES, 4_000_000), dtype=np.float32))
    before = psutil.Process().memory_info().rss
    with pytest.raises(DataError, match="needs more than 100 MB of memory"):
        add_own_data(request(tmp_path, large), memory_bytes=100_000_000)
    assert psutil.Process().memory_info().rss - before < 300_000_000
    assert own_names("graph", tmp_path / "data") == []


def test_time_is_limited_and_no_process_stays(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"takes longer than 0 s: give a smaller file"):
        add_own_data(request(tmp_path, arrays()), deadline_seconds=0.05)
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "werank_core.datasets.readers.process" in " ".join(child.cmdline())]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../x", "no name for your graph"),
        ("cora", "cora is the name of a data set that comes with the program"),
        ("", "no name for your graph"),
    ],
)
def test_names_that_mean_something_else(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        add_own_data(request(tmp_path, arrays(), name))


def test_one_name_is_one_thing(tmp_path: Path) -> None:
    images = {"images": np.random.default_rng(0).integers(0, 255, (9, 2, 2)), "labels": np.arange(9) % 3}
    assert add_own_data(request(tmp_path, images, kind="images")).summary == "9 images, 3 classes"
    assert load_own_images("mine", tmp_path / "data").shape == (1, 2, 2)
    with pytest.raises(DataError, match="mine is already the name of your own images"):
        add_own_data(request(tmp_path, arrays()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    with pytest.raises(DataError, match="cannot be written"):
        add_own_data(request(tmp_path, arrays()))
