"""Graphs: published counts, raw files, uploads explained when wrong, the block model against its probabilities."""

import dataclasses
import gzip
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from torch_geometric.data import Data
from torch_geometric.transforms import NormalizeFeatures

from tests.datasets.readers.brought import dense_features
from werank_core.datasets.block_model import edge_probabilities, make_block_model
from werank_core.datasets.errors import GraphError
from werank_core.datasets.graph_catalogue import CATALOGUE, graph_path, is_downloaded
from werank_core.datasets.graph_data import (
    Features,
    Graph,
    compact_features,
    load_saved,
    save_graph,
    scaled_features,
    symmetric_adjacency,
)
from werank_core.datasets.graphs import assert_counts, download_graph, load_graph
from werank_core.datasets.identity import is_fetched
from werank_core.datasets.own_data import keep_own_graph, load_own_graph, own_names

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "planetoid"
needs_planetoid = pytest.mark.skipif(
    not (SHARED / "CiteSeer" / "raw").exists(), reason="the raw files of Planetoid are not in ../shared/data"
)


def ring(features: np.ndarray | None = None, n: int = 8) -> Graph:
    """A ring with two classes."""
    nodes, given = np.arange(n), np.eye(n)[:, :3] + 1 if features is None else features
    return Graph("mine", symmetric_adjacency(nodes, (nodes + 1) % n, n), compact_features(given), nodes % 2)


def tiny_planetoid(folder: Path, words: np.ndarray) -> None:
    """Write a ring of 520 nodes with alternating classes as Planetoid's raw files."""
    n, order = len(words), np.random.default_rng(0).permutation(np.arange(len(words) - 10, len(words)))
    classes = np.eye(2)[np.arange(n) % 2]
    features = sparse.csr_matrix(words)
    folder.mkdir(parents=True)
    parts = {
        "x": features[:10],
        "allx": features[:-10],
        "tx": features[order],
        "y": classes[:10],
        "ally": classes[:-10],
        "ty": classes[order],
    }
    links = {i: [(i + 1) % n, (i - 1) % n, i] for i in range(n)}
    for name, part in {**parts, "graph": links}.items():
        (folder / f"ind.cora.{name}").write_bytes(pickle.dumps(part))
    (folder / "ind.cora.test.index").write_text("\n".join(map(str, order)) + "\n")


def tiny_arxiv(archive: Path) -> Path:
    """Five papers and four citations in the format of the Open Graph Benchmark."""
    tables = {
        "raw/edge": "0,1\n2,1\n3,4\n4,0\n",
        "raw/node-feat": "".join(f"{i / 2},{-i}\n" for i in range(5)),
        "raw/node-label": "0\n1\n2\n1\n0\n",
        "split/time/train": "0\n4\n2\n",
        "split/time/valid": "1\n",
        "split/time/test": "3\n",
    }
    with zipfile.ZipFile(archive, "w") as file:
        for name, rows in tables.items():
            file.writestr(f"arxiv/{name}.csv.gz", gzip.compress(rows.encode()))
    return archive


def equal(a: Graph, b: Graph) -> bool:
    same_edges = np.array_equal(a.edge_index, b.edge_index)
    return same_edges and np.array_equal(dense_features(a), dense_features(b)) and np.array_equal(a.labels, b.labels)


class TestPublicGraphs:
    def test_karate_club_needs_no_network(self, tmp_path: Path) -> None:
        graph = load_graph("karate_club", tmp_path)
        assert (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes) == CATALOGUE[
            "karate_club"
        ].counts
        assert not any(tmp_path.iterdir())

    @needs_planetoid
    def test_cora_from_its_raw_files(self, tmp_path: Path) -> None:
        download_graph("cora", tmp_path, raw=SHARED)
        graph = load_graph("cora", tmp_path)
        assert (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes) == (2708, 10556, 1433, 7)
        assert graph.num_unlabelled == 0
        assert isinstance(graph.features, sparse.csr_array)
        assert graph.features.nnz == CATALOGUE["cora"].nonzero_features
        assert graph.homophily == pytest.approx(0.81, abs=0.005)  # Zhu et al. 2020, table 3
        assert graph.own_splits is not None
        assert [
            mask.sum() for mask in (graph.own_splits.train, graph.own_splits.validation, graph.own_splits.test)
        ] == [140, 500, 1000]
        assert [path.name for path in (tmp_path / "graphs").iterdir()] == ["cora.npz"]

    @needs_planetoid
    def test_citeseer_has_fifteen_nodes_without_features_and_label(self, tmp_path: Path) -> None:
        """They are the numbers that the list of test nodes leaves out; PyTorch Geometric gives them class 0."""
        download_graph("citeseer", tmp_path, raw=SHARED)
        graph = load_graph("citeseer", tmp_path)
        unlabelled = np.flatnonzero(graph.labels < 0)
        assert unlabelled[[0, -1]].tolist() == [2407, 3309]
        assert len(unlabelled) == 15
        assert np.asarray(graph.features.sum(axis=1))[unlabelled].sum() == 0
        assert graph.num_isolated == 48
        assert graph.num_classes == 6
        assert graph.own_splits is not None
        assert not graph.own_splits.test[:, unlabelled].any()

    @needs_planetoid
    def test_citeseer_as_an_earlier_version_kept_it_is_fetched_again(self, tmp_path: Path) -> None:
        path = download_graph("citeseer", tmp_path, raw=SHARED)
        graph = load_saved("citeseer", path)
        save_graph(dataclasses.replace(graph, labels=np.maximum(graph.labels, 0)), path)
        with pytest.raises(GraphError, match="earlier version or is not CiteSeer: fetch it again"):
            load_graph("citeseer", tmp_path)
        assert not is_fetched("citeseer", tmp_path)

    def test_tiny_planetoid_files_become_a_graph(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """520 nodes on a ring with one word each, in the raw format; the last 10 are the test nodes, shuffled."""
        n, words = 520, np.eye(520)[:, ::-1]
        tiny_planetoid(tmp_path / "raw" / "Cora" / "raw", words)
        monkeypatch.setitem(
            CATALOGUE,
            "cora",
            dataclasses.replace(CATALOGUE["cora"], num_nodes=n, num_edges=2 * n, num_features=n, num_classes=2),
        )
        download_graph("cora", tmp_path, raw=tmp_path / "raw")
        graph = load_graph("cora", tmp_path)
        assert np.array_equal(dense_features(graph), words)
        assert graph.labels.tolist() == [0, 1] * (n // 2)
        assert set(map(tuple, graph.edge_index.T)) == {(i, (i + d) % n) for i in range(n) for d in (1, -1)}

    def test_files_that_are_not_cora_are_refused(self, tmp_path: Path) -> None:
        tiny_planetoid(tmp_path / "raw" / "Cora" / "raw", np.eye(520))
        with pytest.raises(GraphError, match=r"\(520, 1040, 520, 2\).*\(2708, 10556, 1433, 7\)"):
            download_graph("cora", tmp_path, raw=tmp_path / "raw")
        assert not is_downloaded("cora", tmp_path)
        assert not list((tmp_path / "graphs").iterdir())

    def test_broken_raw_files_are_named(self, tmp_path: Path) -> None:
        raw = tmp_path / "raw" / "Cora" / "raw"
        tiny_planetoid(raw, np.eye(520))
        (raw / "ind.cora.allx").write_bytes(b"half a file")
        with pytest.raises(GraphError, match=r"ind\.cora\.allx is damaged"):
            download_graph("cora", tmp_path, raw=tmp_path / "raw")
        (raw / "ind.cora.allx").unlink()
        with pytest.raises(GraphError, match=r"lack ind\.cora\.allx"):
            download_graph("cora", tmp_path, raw=tmp_path / "raw")
        with pytest.raises(GraphError, match="holds no raw files of CiteSeer"):
            download_graph("citeseer", tmp_path, raw=tmp_path / "raw")

    def test_raw_files_are_never_unpickled_freely(self, tmp_path: Path) -> None:
        raw = tmp_path / "raw" / "Cora" / "raw"
        tiny_planetoid(raw, np.eye(520))
        (raw / "ind.cora.graph").write_bytes(pickle.dumps(Trap()))
        with pytest.raises(GraphError, match=r"ind\.cora\.graph is not read: it asks for .*spring"):
            download_graph("cora", tmp_path, raw=tmp_path / "raw")
        assert not Trap.sprung

    def test_nothing_is_downloaded_unasked(self, tmp_path: Path) -> None:
        with pytest.raises(GraphError, match="PubMed is not downloaded yet"):
            load_graph("pubmed", tmp_path)

    def test_unknown_name_lists_the_known(self, tmp_path: Path) -> None:
        with pytest.raises(GraphError, match=r"unknown graph 'corra'.*cora"):
            load_graph("corra", tmp_path)

    def test_tiny_arxiv_archive_becomes_a_graph_with_its_splits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive = tiny_arxiv(tmp_path / "arxiv.zip")
        monkeypatch.setattr("werank_core.datasets.arxiv.URL", f"file://{archive}")
        tiny = dataclasses.replace(CATALOGUE["ogbn_arxiv"], num_nodes=5, num_edges=4, num_features=2, num_classes=3)
        monkeypatch.setitem(CATALOGUE, "ogbn_arxiv", tiny)
        download_graph("ogbn_arxiv", tmp_path)
        graph = load_graph("ogbn_arxiv", tmp_path)
        assert set(map(tuple, graph.edge_index.T)) == {(0, 1), (1, 0), (2, 1), (1, 2), (3, 4), (4, 3), (4, 0), (0, 4)}
        assert graph.labels.tolist() == [0, 1, 2, 1, 0]
        assert graph.features[3].tolist() == [1.5, -3]
        assert graph.own_splits is not None
        parts = (graph.own_splits.train, graph.own_splits.validation, graph.own_splits.test)
        assert [np.flatnonzero(mask[0]).tolist() for mask in parts] == [[0, 2, 4], [1], [3]]

    def test_half_an_arxiv_archive_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        archive = tiny_arxiv(tmp_path / "arxiv.zip")
        archive.write_bytes(archive.read_bytes()[:200])
        monkeypatch.setattr("werank_core.datasets.arxiv.URL", f"file://{archive}")
        with pytest.raises(GraphError, match="ogbn-arxiv could not be downloaded: what came is damaged"):
            download_graph("ogbn_arxiv", tmp_path)
        assert not list((tmp_path / "graphs").iterdir())

    def test_wrong_counts_are_refused(self) -> None:
        with pytest.raises(GraphError, match="Cora has"):
            assert_counts("cora", (2708, 10556, 1433, 6))

    def test_the_web_process_needs_no_torch(self) -> None:
        modules = "werank_core.datasets.identity, werank_core.datasets.readers.keeping, werank_core.datasets.fetching"
        code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestKeeping:
    @pytest.mark.parametrize("density", [0.05, 1.0])
    def test_saved_and_loaded_is_the_same(self, tmp_path: Path, density: float) -> None:
        features = sparse.random_array((8, 40), density=density, rng=np.random.default_rng(0)).toarray()
        graph = ring(features)
        assert isinstance(graph.features, np.ndarray) == (density == 1.0)
        save_graph(graph, tmp_path / "g.npz")
        assert equal(graph, load_saved("mine", tmp_path / "g.npz"))

    def test_own_graph_by_name(self, tmp_path: Path) -> None:
        keep_own_graph(ring(), tmp_path)
        assert own_names("graph", tmp_path) == ["mine"]
        assert equal(load_own_graph("mine", tmp_path), ring())
        with pytest.raises(GraphError, match=r"named 'yours'; there are: mine"):
            load_graph("own", tmp_path, own_name="yours")

    def test_a_damaged_file_is_named(self, tmp_path: Path) -> None:
        path = keep_own_graph(ring(), tmp_path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(GraphError, match=r"mine\.npz in the data folder is damaged"):
            load_own_graph("mine", tmp_path)

    @pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 41])
    def test_names_cannot_leave_the_folder(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(GraphError, match="no name for your graph"):
            load_own_graph(name, tmp_path)


class TestScaling:
    BAGS = np.array([[2.0, 0, 2], [0, 0, 0], [1, 3, 0]], dtype=np.float32)
    SIGNED = np.array([[2.0, -1, 0], [0, 0.5, 0], [0, 0, 0]], dtype=np.float32)

    @pytest.mark.parametrize("features", [BAGS, SIGNED, BAGS + 0.5], ids=["bags", "signed", "positive"])
    @pytest.mark.parametrize("stored", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
    def test_row_scaling_is_pyg_s(self, features: np.ndarray, stored: Callable[[np.ndarray], Features]) -> None:
        theirs = NormalizeFeatures()(Data(x=torch.tensor(features))).x.numpy()
        ours = scaled_features(stored(features), "row")
        assert np.allclose(ours if isinstance(ours, np.ndarray) else ours.toarray(), theirs, atol=1e-7)
        assert ours.dtype == np.float32

    def test_bags_of_words_stay_sparse(self) -> None:
        assert sparse.issparse(scaled_features(sparse.csr_array(self.BAGS), "row"))

    def test_standard_scaling(self) -> None:
        assert np.allclose(scaled_features(self.BAGS, "standard"), stats.zscore(self.BAGS, axis=0))
        for scale in (1e-2, 1.0, 1e2):
            constant = np.full((1000, 2), 0.1 * scale, np.float32)  # the float32 deviation of 0.1 is 1e-8, not 0
            assert not scaled_features(constant, "standard").any()
            assert np.allclose(
                scaled_features(scale * self.BAGS, "standard"), stats.zscore(self.BAGS, axis=0), atol=1e-4
            )


def test_homophily_is_of_edges_with_two_labels() -> None:
    graph = dataclasses.replace(ring(), labels=np.array([0, 0, 1, 1, -1, -1, 0, 0]))
    # edges 0-1, 2-3, 6-7 and 7-0 agree, 1-2 does not, the other three lack a label
    assert graph.homophily == pytest.approx(4 / 5)
    assert (graph.num_classes, graph.num_unlabelled) == (2, 2)


class TestBlockModel:
    def test_edges_follow_their_probabilities(self) -> None:
        """Blocks of 20 graphs against the binomial law of the generator's own probabilities."""
        sizes, draws = np.array([67, 67, 66]), 20
        p = edge_probabilities(sizes, 0.7, 8.0)
        found = np.zeros((3, 3))
        for seed in range(draws):
            graph = make_block_model(200, 3, 0.7, 8.0, 4, 1.0, seed)
            source, target = graph.labels[graph.edge_index]
            np.add.at(found, (source, target), 1)
        for a in range(3):
            for b in range(a, 3):
                pairs = sizes[a] * (sizes[a] - 1) // 2 if a == b else sizes[a] * sizes[b]
                edges = found[a, b] / 2 if a == b else found[a, b]
                assert stats.binomtest(int(edges), int(draws * pairs), p[a, b]).pvalue > 1e-4

    def test_degree_and_homophily_are_those_asked_for(self) -> None:
        graph = make_block_model(4000, 5, 0.8, 6.0, 8, 1.0, seed=1)
        assert graph.num_edges / graph.num_nodes == pytest.approx(6.0, rel=0.03)
        assert graph.homophily == pytest.approx(0.8, abs=0.02)

    def test_features_have_class_means_as_long_as_the_noise(self) -> None:
        graph = make_block_model(6000, 3, 0.8, 4.0, 16, 2.0, seed=2)
        means = np.stack([graph.features[graph.labels == k].mean(axis=0) for k in range(3)])
        assert np.linalg.norm(means, axis=1) == pytest.approx(2.0, abs=0.1)
        within = graph.features - means[graph.labels]
        assert (within**2).sum(axis=1).mean() == pytest.approx(1.0, rel=0.02)

    def test_every_pair_can_be_drawn_and_none_twice(self) -> None:
        """Probability 1 inside and between classes gives the complete graph: the pair numbering is a bijection."""
        sizes = np.array([7, 7])
        inside = float((sizes * (sizes - 1)).sum()) / (14 * 13)
        graph = make_block_model(14, 2, inside, 13.0, 2, 1.0, seed=0)
        assert np.array_equal(graph.adjacency.toarray(), 1 - np.eye(14))

    def test_same_seed_same_graph(self) -> None:
        assert equal(make_block_model(100, seed=3), make_block_model(100, seed=3))
        assert not equal(make_block_model(100, seed=3), make_block_model(100, seed=4))

    def test_impossible_degree_is_explained(self) -> None:
        with pytest.raises(GraphError, match="lower average_degree"):
            make_block_model(20, 2, 0.9, 15.0)


def test_features_become_sparse_only_when_it_pays() -> None:
    assert sparse.issparse(compact_features(np.eye(20)))
    assert isinstance(compact_features(sparse.csr_array(np.ones((4, 4)))), np.ndarray)


def test_symmetric_adjacency_merges_duplicates_and_drops_loops() -> None:
    pattern = symmetric_adjacency(np.array([0, 1, 0, 2]), np.array([1, 0, 1, 2]), 3)
    assert pattern.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_paths_stay_in_the_data_folder(tmp_path: Path) -> None:
    assert graph_path("cora", tmp_path) == tmp_path / "graphs" / "cora.npz"


class Trap:
    """Springs when unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return spring, ()


def spring() -> None:
    Trap.sprung = True
