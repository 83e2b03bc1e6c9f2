"""`data` on the command line, and sweeps on what it brought: identity by content from end to end."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.readers.brought import arrays, edge_text, node_text
from tests.datasets.test_graphs import tiny_planetoid
from werank_core import cli_sweep, settings
from werank_core.cli import main
from werank_core.config.graph import GraphConfig
from werank_core.datasets.graph_catalogue import CATALOGUE
from werank_core.datasets.own_data import load_own_graph
from werank_core.store import Store, open_store, queries, queue
from werank_core.vocabulary import RunState

SWEEP = ["sweep", "graph", "--dataset", "own", "--own_graph", "mine", "--strengths", "0", "--seeds", "1", "--detach"]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store and data folder that the commands find, and no supervisor."""
    monkeypatch.setenv("WERANK_HOME", str(tmp_path))
    monkeypatch.setenv("WERANK_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.delenv("WERANK_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(cli_sweep, "ensure_supervisor", lambda _: True)
    settings.settings.cache_clear()
    yield open_store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    settings.settings.cache_clear()


def add_graph(folder: Path, name: str = "mine", **changes: object) -> int:
    np.savez(folder / "graph.npz", allow_pickle=False, **arrays(**changes))
    return main(["data", "add", name, str(folder / "graph.npz")])


def test_a_graph_is_added_listed_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "edges.csv").write_text(edge_text())
    (tmp_path / "nodes.csv").write_text(node_text())
    assert main(["data", "add", "mine", str(tmp_path / "edges.csv"), str(tmp_path / "nodes.csv")]) == 0
    said = capsys.readouterr().out
    assert "mine is kept: 12 nodes, 12 edges, 3 features, 3 classes." in said
    assert "python -m werank_core sweep graph --dataset own --own_graph mine" in said
    assert main(["data", "list"]) == 0
    said = capsys.readouterr().out
    assert "12 nodes, 12 edges, 3 features, 3 classes" in said
    assert "not fetched" in said
    assert main(["data", "remove", "mine"]) == 0
    assert main(["data", "remove", "mine"]) == 1
    assert "there are no data called 'mine'" in capsys.readouterr().err


def test_images_are_known_by_their_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.random.default_rng(0).random((12, 3, 3)), y_train=np.arange(12) % 3)
    assert main(["data", "add", "tiny", str(tmp_path / "a.npz")]) == 0
    assert "tiny is kept: 12 images, 3 classes." in capsys.readouterr().out
    sweep = [
        "sweep",
        "rank_collapse",
        "--dataset",
        "own_images",
        "--own_images",
        "tiny",
        "--detach",
        "--strengths",
        "0",
    ]
    assert main(sweep) == 0


def test_a_folder_of_raw_files_is_one_s_own_graph_or_the_public_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_planetoid(tmp_path / "Cora" / "raw", np.eye(520))
    assert main(["data", "add", "mine", str(tmp_path / "Cora")]) == 0
    assert load_own_graph("mine", tmp_path / "data").num_nodes == 520
    assert main(["data", "fetch", "cora", "--raw", str(tmp_path)]) == 1
    assert "these are not its files" in capsys.readouterr().err
    counts = {"num_nodes": 520, "num_edges": 1040, "num_features": 520, "num_classes": 2}
    monkeypatch.setitem(CATALOGUE, "cora", type(CATALOGUE["cora"])(**vars(CATALOGUE["cora"]) | counts))
    assert main(["data", "fetch", "cora", "--raw", str(tmp_path)]) == 0
    assert "Cora is there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["add", "mine", "nowhere.csv"], "nowhere.csv: there is no such file"),
        (["add", "a b", "pyproject.toml"], "'a b' is no name for your graph"),
        (["add", "mine", "pyproject.toml"], "pyproject.toml"),
        (["fetch", "corra"], "'corra' is no data set that can be fetched"),
        (["fetch", "cora", "--raw", "nowhere"], "there is no such folder"),
        (["fetch", "mnist", "--raw", "."], "MNIST comes from OpenML"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys: pytest.CaptureFixture[str], command: list[str], words: str) -> None:
    assert main(["data", *command]) == 1
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_demo_changes_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WERANK_DEMO", "1")
    settings.settings.cache_clear()
    for command in (["fetch", "cora"], ["add", "mine", "x.csv"], ["remove", "mine"]):
        assert main(["data", *command]) == 1
        assert "read-only demo" in capsys.readouterr().err
    assert main(["data", "list"]) == 0


def test_another_graph_under_the_same_name_is_trained_anew(tmp_path: Path, store: Store) -> None:
    """The runs of the old graph stay what they were, and never answer for the new one."""
    add_graph(tmp_path)
    assert main(SWEEP) == 0
    while claimed := queue.claim(store, "test"):
        queue.finish(store, claimed, RunState.FINISHED, seconds=1.0)
    assert main(SWEEP) == 0
    assert len(queries.sweeps(store)) == 1, "the same data train nothing twice"
    add_graph(tmp_path, labels=np.arange(12)[::-1] // 4)
    assert main(SWEEP) == 0
    table = queries.sweeps(store)
    assert len(table) == 2
    assert sorted(queries.runs(store)["state"]) == ["finished", "queued"]
    configs = [queries.sweep_spec(store, sweep_id).config for sweep_id in table["sweep_id"]]
    digests = {config.data_digest for config in configs if isinstance(config, GraphConfig)}
    assert len(digests) == 2
    add_graph(tmp_path)
    assert main(SWEEP) == 0
    assert len(queries.sweeps(store)) == 2, "the old graph put back is the old data"


def test_data_are_looked_up_before_anything_is_queued(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SWEEP) == 1
    assert "no graph of your own named 'mine'" in capsys.readouterr().err
    assert main(["sweep", "graph", "--dataset", "cora", "--detach"]) == 1
    assert "Cora is not downloaded yet: fetch it (python -m werank_core data fetch cora)" in capsys.readouterr().err
    assert queries.sweeps(store).empty


def test_nobody_types_what_identifies_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SWEEP, "--data_digest", "0" * 16])
    assert "data_digest" in capsys.readouterr().err
