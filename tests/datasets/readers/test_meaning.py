"""What tables and arrays mean: ids, classes, missing labels, features, splits; and that nothing vanishes silently."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from tests.datasets.readers.brought import (
    FEATURES,
    LABELS,
    NODES,
    SOURCE,
    TARGET,
    Files,
    adjacency,
    arrays,
    csr_parts,
    dense_features,
    edge_text,
    is_the_ring,
    node_text,
    read,
)
from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.features import FeatureChoice

SHUFFLED = np.random.default_rng(1).permutation(NODES)


def table(ids: list[str], header: str = "node", order: np.ndarray = SHUFFLED) -> str:
    """Nodes in another order, with a column of ids."""
    rows = [f"{ids[i]},{'abc'[LABELS[i]]},{','.join(map(str, FEATURES[i]))}" for i in order]
    return "\n".join([f"{header},label,f1,f2,f3", *rows]) + "\n"


def notes_of(folder: Path, files: Files, features: FeatureChoice = "given") -> str:
    return " ".join(read(folder, files, features).notes)


class TestIds:
    @pytest.mark.parametrize("header", ["node", "Id", "id", "node_id", "Node ID", "vertex", "", "Unnamed: 0"])
    def test_edges_are_joined_by_ids_whatever_their_column_is_called(self, tmp_path: Path, header: str) -> None:
        """The index column that pandas writes has no name. Joined by rows the homophily would be another."""
        graph = read(tmp_path, {"e.csv": edge_text(), "n.csv": table([str(i) for i in range(NODES)], header)}).graph
        assert graph.homophily == pytest.approx(9 / 12)
        assert graph.num_features == 3
        back = np.argsort(SHUFFLED)
        assert np.array_equal(graph.adjacency.toarray()[np.ix_(back, back)], adjacency())

    def test_an_index_column_beside_ids_is_dropped_with_a_note(self, tmp_path: Path) -> None:
        lines = table([str(i) for i in range(NODES)]).splitlines()
        indexed = "\n".join([f",{lines[0]}", *(f"{i},{line}" for i, line in enumerate(lines[1:]))])
        found = read(tmp_path, {"e.csv": edge_text(), "n.csv": indexed})
        assert found.graph.num_features == 3
        assert found.graph.homophily == pytest.approx(9 / 12)
        assert any("has no name and is taken as row numbers" in note for note in found.notes)

    def test_an_index_column_of_the_edges_is_no_end(self, tmp_path: Path) -> None:
        lines = edge_text().splitlines()
        indexed = "\n".join([f",{lines[0]}", *(f"{i},{line}" for i, line in enumerate(lines[1:]))])
        assert is_the_ring(read(tmp_path, {"e.csv": indexed, "n.csv": node_text()}).graph)

    def test_ids_are_text_on_both_sides(self, tmp_path: Path) -> None:
        """Some are digits, some words; edges write 10 as 10.0, and 010 is another node."""
        ids = ["10", "paper1", "010", "x 3", *(str(i) for i in range(4, NODES))]
        written = ["10.0", "paper1", "010", " x 3", *(str(i) for i in range(4, NODES))]
        edges = "source,target\n" + "".join(f"{written[a]},{written[b]}\n" for a, b in zip(SOURCE, TARGET, strict=True))
        ids[10] = written[10] = "ten"
        edges = "source,target\n" + "".join(f"{written[a]},{written[b]}\n" for a, b in zip(SOURCE, TARGET, strict=True))
        assert is_the_ring(read(tmp_path, {"e.csv": edges, "n.csv": table(ids, order=np.arange(NODES))}).graph)

    def test_numbers_in_an_npz_match_ids_of_a_table(self, tmp_path: Path) -> None:
        ids = [str(100 + i) for i in range(NODES)]
        edges = {"edge_index": np.stack([SOURCE, TARGET]) + 100}
        files: Files = {"e.npz": edges, "n.csv": table(ids, order=np.arange(NODES))}
        assert is_the_ring(read(tmp_path, files).graph)

    def test_a_first_line_of_words_is_an_edge_if_both_are_nodes(self, tmp_path: Path) -> None:
        """Nothing in the file says whether "n0,n1" are names of columns; the node table does."""
        ids = [f"n{i}" for i in range(NODES)]
        edges = "".join(f"{ids[a]},{ids[b]}\n" for a, b in zip(SOURCE[:-1], TARGET[:-1], strict=True))
        nodes = table(ids, order=np.arange(NODES))
        found = read(tmp_path, {"e.csv": edges, "n.csv": nodes})
        assert found.graph.num_edges == 2 * (NODES - 1)
        assert not any("first line" in note for note in found.notes)
        found = read(tmp_path, {"e.csv": "one,another\n" + edges, "n.csv": nodes})
        assert found.graph.num_edges == 2 * (NODES - 1)
        assert "e.csv: the first line is taken as names of columns (one, another)." in found.notes

    def test_names_that_the_edges_do_not_use_are_no_ids(self, tmp_path: Path) -> None:
        people = table([f"person {i}" for i in range(NODES)], "name", np.arange(NODES))
        found = read(tmp_path, {"e.csv": edge_text(), "n.csv": people})
        assert is_the_ring(found.graph)
        assert "The names of the nodes are not what the edges use: those count rows." in found.notes
        by_name = edge_text(header="").replace(",", ",person ")
        by_name = "".join(f"person {line}\n" for line in by_name.splitlines())
        assert is_the_ring(read(tmp_path, {"e.csv": by_name, "n.csv": people}).graph)

    @pytest.mark.parametrize(
        ("edges", "nodes", "sentence"),
        [
            (
                edge_text() + "0,zz\n",
                table([str(i) for i in range(NODES)]),
                "edge target 'zz' is not in the node table; 1",
            ),
            (edge_text() + "0,99\n", node_text(), r"point beyond the last node \(first 99, last node 11\)"),
            (edge_text() + "0,-3\n", node_text(), r"1 edge ends are negative \(first -3\)"),
            (edge_text() + "0,zz\n", node_text(), "'zz' is no row number, and the nodes have no column of ids"),
            (edge_text() + "0,\n", node_text(), "e.csv: row 13 has no id in column 'target'"),
            (edge_text(), table(["0"] * NODES), "node '0' stands in n.csv twice"),
            (edge_text(), table(["", *map(str, range(1, NODES))], order=np.arange(NODES)), "row 1 has no node id"),
        ],
    )
    def test_ends_that_lead_nowhere(self, tmp_path: Path, edges: str, nodes: str, sentence: str) -> None:
        with pytest.raises(GraphError, match=sentence):
            read(tmp_path, {"e.csv": edges, "n.csv": nodes})


class TestClasses:
    @pytest.mark.parametrize("name", ["None", "NA", "null", "nan", "N/A", "-"])
    def test_only_empty_cells_are_missing(self, tmp_path: Path, name: str) -> None:
        text = node_text().replace("b,", f"{name},")
        graph = read(tmp_path, {"e.csv": edge_text(), "n.csv": text}).graph
        assert (graph.num_classes, graph.num_unlabelled) == (3, 0)

    @pytest.mark.parametrize(
        "labels",
        [
            np.where(np.arange(NODES) % 4 == 0, -1, LABELS),
            np.where(np.arange(NODES) % 4 == 0, np.nan, LABELS),
            np.where((np.arange(NODES) % 4 == 0)[:, None], 0, np.eye(3)[LABELS]),
            np.where(np.arange(NODES) % 4 == 0, "", np.array(list("abc"))[LABELS]),
        ],
        ids=["-1", "NaN", "no 1 in a row", "empty text"],
    )
    def test_nodes_without_a_label_are_kept_and_counted(self, tmp_path: Path, labels: np.ndarray) -> None:
        found = read(tmp_path, {"g.npz": arrays(labels=labels)})
        assert np.flatnonzero(found.graph.labels < 0).tolist() == [0, 4, 8]
        assert found.graph.num_nodes == NODES
        assert "3 nodes have no label." in found.notes

    def test_blank_cells_and_blank_lines_are_nodes_without_a_label(self, tmp_path: Path) -> None:
        blank = node_text().replace("b,", ",", 1)
        assert read(tmp_path, {"e.csv": edge_text(), "n.csv": blank}).graph.num_unlabelled == 1
        column = "label\n" + "\n".join("" if i == 5 else "abc"[label] for i, label in enumerate(LABELS)) + "\n"
        graph = read(tmp_path, {"e.csv": edge_text(), "n.csv": column}, features="degree").graph
        assert np.flatnonzero(graph.labels < 0).tolist() == [5]

    def test_the_classes_by_another_name_are_no_feature(self, tmp_path: Path) -> None:
        lines = node_text().splitlines()
        coded = [f"{line},{7 + label}" for line, label in zip(lines[1:], LABELS, strict=True)]
        twice = "\n".join([f"{lines[0]},class", *coded])
        found = read(tmp_path, {"e.csv": edge_text(), "n.csv": twice})
        assert is_the_ring(found.graph)
        assert "n.csv: column 'class' says the same as the classes and is not used." in found.notes

    def test_minus_one_and_one_are_two_classes(self, tmp_path: Path) -> None:
        graph = read(tmp_path, {"g.npz": arrays(labels=np.where(LABELS > 0, 1, -1))}).graph
        assert (graph.num_classes, graph.num_unlabelled) == (2, 0)

    @pytest.mark.parametrize(
        ("labels", "sentence"),
        [
            (
                [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2],
                r"1 class of fewer than 3 nodes: 0 \(1\). A class needs one to train",
            ),
            ([0] * NODES, "at least two classes; the labels have 1"),
            ([-1] * NODES, "at least two classes; the labels have 0"),
            (np.arange(6).repeat(2), "6 classes of fewer than 3 nodes"),
            (np.eye(3)[LABELS] + np.eye(3)[0], "several classes: one class a node is needed"),
            (np.arange(5), r"labels have shape|do not agree on the number of nodes"),
            (np.zeros(NODES, dtype=complex), "labels are of kind complex128"),
            (np.datetime64("2020-01-01") + np.arange(NODES), "labels are of kind datetime64"),
        ],
    )
    def test_classes_that_cannot_be_used_are_named(self, tmp_path: Path, labels: object, sentence: str) -> None:
        with pytest.raises(GraphError, match=sentence):
            read(tmp_path, {"g.npz": arrays(labels=labels)})

    def test_small_classes_are_dropped_when_asked(self, tmp_path: Path) -> None:
        labels = [7, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
        found = read(tmp_path, {"g.npz": arrays(labels=labels)}, drop_small_classes=True)
        assert found.graph.labels.tolist() == [-1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
        assert found.graph.num_edges == 2 * NODES, "its nodes are trained on"
        assert any("1 class of fewer than 3 nodes dropped (7): 1 node" in note for note in found.notes)

    def test_measurements_are_no_classes(self, tmp_path: Path) -> None:
        n = 601
        ring = {
            "edge_index": np.stack([np.arange(n), (np.arange(n) + 1) % n]),
            "x": np.ones((n, 1)) * np.arange(n)[:, None],
        }
        with pytest.raises(GraphError, match="601 different values for 601 nodes: they look like measurements"):
            read(tmp_path, {"g.npz": {**ring, "y": np.linspace(0, 1, n)}})


class TestFeatures:
    def test_true_and_false_are_one_and_zero(self, tmp_path: Path) -> None:
        text = "label,old,member\n" + "".join(f"{label},{i % 2 == 0},{i > 5}\n" for i, label in enumerate(LABELS))
        graph = read(tmp_path, {"e.csv": edge_text(), "n.csv": text}).graph
        assert graph.features.tolist() == [[float(i % 2 == 0), float(i > 5)] for i in range(NODES)]

    @pytest.mark.parametrize(
        ("features", "sentence"),
        [
            (np.full((NODES, 2), np.nan), "24 feature values are NaN or infinite"),
            (FEATURES * 1e300, r"feature values reach .*e\+300; training in float32 bears 1e\+15"),
            (FEATURES * 1e30, "training in float32 bears"),
            (FEATURES + 1j, "features are complex"),
            (np.array([["x"]] * NODES), "they must be numbers"),
            (FEATURES[:-1], "do not agree on the number of nodes: .*12 labels, 11 rows of features"),
            (FEATURES[:, 0], r"features have shape \(12,\)"),
            (FEATURES[:, :0], "choose identity, degree or constant"),
        ],
    )
    def test_what_training_could_not_use_is_named(self, tmp_path: Path, features: object, sentence: str) -> None:
        with pytest.raises(GraphError, match=sentence):
            read(tmp_path, {"g.npz": arrays(features=features)})

    def test_a_sparse_shape_of_any_size_is_checked_before_it_is_believed(self, tmp_path: Path) -> None:
        parts = {"features_data": np.ones(1), "features_indices": [5], "features_indptr": [0, *[1] * NODES]}
        with pytest.raises(GraphError, match="says it has 12 rows and 1,000,000,000,000 columns"):
            read(tmp_path, {"g.npz": arrays(features=None, **parts, features_shape=[NODES, 10**12])})

    @pytest.mark.parametrize(
        ("cell", "sentence"),
        [
            ("tall", r"feature column 'f2' of n.csv is not numeric \(row 1: 'tall'\)"),
            ("", r"1 cells of feature columns"),
        ],
    )
    def test_a_cell_that_is_no_number_is_named(self, tmp_path: Path, cell: str, sentence: str) -> None:
        first = str(FEATURES[0, 1])
        with pytest.raises(GraphError, match=sentence):
            read(tmp_path, {"e.csv": edge_text(), "n.csv": node_text().replace(first, cell, 1)})

    def test_an_empty_column_is_left_out_with_a_note(self, tmp_path: Path) -> None:
        text = node_text().replace("f3\n", "f3,later\n").replace("\n", ",\n").replace("later,", "later")
        found = read(tmp_path, {"e.csv": edge_text(), "n.csv": text})
        assert is_the_ring(found.graph)
        assert "n.csv: column 'later' is empty and not used." in found.notes

    def test_graphs_without_features_get_what_is_asked_for(self, tmp_path: Path) -> None:
        labels = "label\n" + "".join(f"{label}\n" for label in LABELS)
        path = "source,target\n" + "".join(f"{i},{i + 1}\n" for i in range(NODES - 1))
        files = {"e.csv": path, "n.csv": labels}
        with pytest.raises(GraphError, match="choose identity, degree or constant"):
            read(tmp_path, files)
        made = {
            choice: read(tmp_path, files, features=choice).graph.features
            for choice in ("identity", "degree", "constant")
        }
        assert isinstance(made["identity"], sparse.csr_array)
        assert np.array_equal(made["identity"].toarray(), np.eye(NODES))
        assert made["degree"].tolist() == [[1, 0], *[[0, 1]] * (NODES - 2), [1, 0]]
        assert made["constant"].tolist() == [[1]] * NODES

    def test_given_features_that_are_replaced_are_said(self, tmp_path: Path) -> None:
        assert "The 3 feature columns of the files are not used." in notes_of(
            tmp_path, {"g.npz": arrays()}, features="degree"
        )

    def test_lists_of_words_a_node_has(self, tmp_path: Path) -> None:
        """Geom-GCN's film data: lists of different lengths are numbers of features."""
        lists = [[i % 3, 4] if i % 2 else [i % 3] for i in range(NODES)]
        text = "node_id\tfeature\tlabel\n" + "".join(
            f"{i}\t{','.join(map(str, lists[i]))}\t{LABELS[i]}\n" for i in range(NODES)
        )
        graph = read(tmp_path, {"e.csv": edge_text(), "n.txt": text}).graph
        assert [np.flatnonzero(row).tolist() for row in dense_features(graph)] == lists


class TestStructure:
    def test_isolated_nodes_are_kept_and_counted(self, tmp_path: Path) -> None:
        found = read(
            tmp_path, {"e.csv": edge_text().replace("\n0,1\n", "\n").replace("\n11,0\n", "\n"), "n.csv": node_text()}
        )
        assert (found.graph.num_nodes, found.graph.num_isolated) == (NODES, 1)
        assert "1 node has no edge." in found.notes

    def test_loops_repetitions_weights_and_direction_are_said(self, tmp_path: Path) -> None:
        rows = [*zip(SOURCE, TARGET, SOURCE + 0.5, strict=True), (3, 3, 1.0), (0, 1, 2.0), (1, 0, 2.0), (0, 5, 0.0)]
        text = "source,target,weight,since\n" + "".join(f"{a},{b},{w},2020\n" for a, b, w in rows)
        found = read(tmp_path, {"e.csv": text, "n.csv": node_text()})
        assert is_the_ring(found.graph)
        assert found.notes == [
            "e.csv: column 'since' not used.",
            "1 edges of weight 0 left out.",
            "Edge weights are dropped: every edge counts the same.",
            "1 self-loop removed.",
            "1 repeated edge merged.",
            "Edges count in both directions; 11 of 12 were given in one only.",
            "Classes, numbered from 0 in this order: a, b, c.",
        ]

    def test_a_third_column_without_a_name_is_not_taken_for_weights(self, tmp_path: Path) -> None:
        """It may be a time, or a sign: a 0 there is no reason to leave the edge out."""
        timed = "".join(f"{a} {b} {a % 3}\n" for a, b in zip(SOURCE, TARGET, strict=True))
        found = read(tmp_path, {"edges.txt": timed, "n.csv": node_text()})
        assert is_the_ring(found.graph)
        assert "edges.txt: column number 3 not used." in found.notes

    def test_weights_and_unknown_arrays_of_an_npz_are_said(self, tmp_path: Path) -> None:
        parts = {f"adj_{name}": part for name, part in csr_parts().items()}
        weights = {"adj_shape": np.array([NODES, NODES]), "adj_data": np.arange(1.0, 25)}
        weighted = {**parts, **weights, "x": FEATURES, "y": LABELS, "extra": np.ones(2)}
        said = notes_of(tmp_path, {"g.npz": weighted})
        assert "Edge weights are dropped" in said
        assert "g.npz: not used: extra (2,)." in said

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"indptr": [0, np.nan, *range(4, 25, 2)]}, "indptr of .* holds nan; whole numbers are needed"),
            ({"indptr": np.arange(0, 25, 2) + 0.5}, "whole numbers are needed"),
            ({"indptr": 5}, "indptr of .* has shape"),
            ({"indptr": [0, 5, 3, *range(6, 25, 2)]}, "not that of a CSR matrix"),
            ({"indices": 3}, r"indices of .* has shape \(\)"),
            ({"indices": csr_parts()["indices"] - 1}, "holds -1; numbers from 0 to 11"),
            ({"indices": csr_parts()["indices"] + 1}, "holds 12; numbers from 0 to 11"),
            ({"indices": csr_parts()["indices"].astype("U")}, "is of kind <U"),
            ({"indices": [], "indptr": [0] * 13}, "no edge joins two different nodes|there are no edges"),
            ({"indptr": None}, "the files have no edges"),
            ({"indptr": None, "indices": None, "edge_index": np.zeros((3, 9), int)}, r"shape \(3, 9\); \(2, links\)"),
            ({"indptr": None, "indices": None, "edge_index": np.zeros(4, int)}, r"edgeindex in g.npz has shape \(4,\)"),
            ({"indptr": None, "indices": None, "edge_index": np.zeros((2, 0), int)}, "there are no edges"),
            ({"indptr": None, "indices": None, "adj": np.full((12, 12), np.nan)}, "something else than numbers"),
        ],
    )
    def test_arrays_that_are_no_graph(self, tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
        with pytest.raises(GraphError, match=sentence):
            read(tmp_path, {"g.npz": arrays(**changes)})


class TestSplits:
    TRAIN, VALIDATION, TEST = (np.arange(NODES) % 4 == 0), (np.arange(NODES) % 4 == 1), (np.arange(NODES) % 4 > 1)

    @pytest.mark.parametrize(
        "masks",
        [
            {"train_mask": TRAIN, "val_mask": VALIDATION, "test_mask": TEST},
            {"train": TRAIN[None], "validation": VALIDATION[None], "test": TEST[None]},
            {"train_mask": TRAIN[:, None].astype(int), "val_mask": VALIDATION[:, None].astype(int), "test_mask": TEST},
            {f"idx_{n}": np.flatnonzero(m) for n, m in (("train", TRAIN), ("val", VALIDATION), ("test", TEST))},
        ],
        ids=["pyg", "ours", "columns of 0 and 1", "row numbers"],
    )
    def test_masks_become_own_splits(self, tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
        splits = read(tmp_path, {"g.npz": arrays(**masks)}).graph.own_splits
        assert splits is not None
        for kept, mask in zip(
            (splits.train, splits.validation, splits.test), (self.TRAIN, self.VALIDATION, self.TEST), strict=True
        ):
            assert np.array_equal(kept, mask[None])

    def test_several_splits_with_one_test_mask(self, tmp_path: Path) -> None:
        masks = {
            "train_mask": np.stack([self.TRAIN, self.VALIDATION], 1),
            "val_mask": np.stack([self.VALIDATION, self.TRAIN], 1),
        }
        splits = read(tmp_path, {"g.npz": arrays(**masks, test_mask=self.TEST)}).graph.own_splits
        assert splits is not None
        assert splits.test.tolist() == [self.TEST.tolist()] * 2
        assert splits.train.tolist() == [self.TRAIN.tolist(), self.VALIDATION.tolist()]

    def test_columns_of_a_table_are_splits_and_no_features(self, tmp_path: Path) -> None:
        words = np.select([self.TRAIN, self.VALIDATION], ["train", "val"], "test")
        lines = node_text().splitlines()
        one = "\n".join([f"{lines[0]},split", *(f"{line},{word}" for line, word in zip(lines[1:], words, strict=True))])
        three = "\n".join(
            [f"{lines[0]},train_mask,val_mask,test_mask"]
            + [
                f"{line},{a},{b},{c}"
                for line, a, b, c in zip(lines[1:], self.TRAIN, self.VALIDATION, self.TEST, strict=True)
            ]
        )
        for text in (one, three):
            graph = read(tmp_path, {"e.csv": edge_text(), "n.csv": text}).graph
            assert is_the_ring(graph)
            assert graph.own_splits is not None
            assert graph.own_splits.train.tolist() == [self.TRAIN.tolist()]

    def test_what_is_wrong_with_splits_is_said(self, tmp_path: Path) -> None:
        masks = {"train_mask": self.TRAIN, "val_mask": self.VALIDATION, "test_mask": self.TEST}
        with pytest.raises(GraphError, match="overlap: 3 nodes"):
            read(tmp_path, {"g.npz": arrays(**masks | {"test_mask": self.TEST | self.TRAIN})})
        with pytest.raises(GraphError, match=r"train mask has shape \(1, 11\)"):
            read(tmp_path, {"g.npz": arrays(**masks | {"train_mask": self.TRAIN[1:]})})
        del masks["val_mask"]
        found = read(tmp_path, {"g.npz": arrays(**masks)})
        assert found.graph.own_splits is None
        assert "The splits of the files are not used: nobody is in validation." in found.notes

    def test_nodes_without_a_label_are_in_no_split(self, tmp_path: Path) -> None:
        masks = {"train_mask": self.TRAIN, "val_mask": self.VALIDATION, "test_mask": self.TEST}
        found = read(tmp_path, {"g.npz": arrays(labels=np.where(SOURCE < 1, -1, LABELS), **masks)})
        assert found.graph.own_splits is not None
        assert not found.graph.own_splits.train[:, 0].any()
        assert "1 nodes without a label are left out of the splits." in found.notes
