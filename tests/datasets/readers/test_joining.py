"""Files that speak of the same nodes: whose rows belong together, and what is said where nobody can tell."""

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.readers.brought import (
    FEATURES,
    LABELS,
    NODES,
    SOURCE,
    TARGET,
    Arrays,
    Files,
    adjacency,
    edge_text,
    node_text,
    read,
)
from werank_core.datasets.errors import GraphError
from werank_core.datasets.graph_data import Graph

SHUFFLED = np.random.default_rng(2).permutation(NODES)
ORDERED = np.arange(NODES)
EDGES = np.stack([SOURCE, TARGET])


def label_text(order: np.ndarray = SHUFFLED, header: str = "id,label\n", first: int = 0) -> str:
    return header + "".join(f"{i + first},{LABELS[i]}\n" for i in order)


def feature_text(order: np.ndarray = ORDERED, header: str = "", first: int = 0) -> str:
    return header + "".join(f"{i + first},{','.join(map(str, FEATURES[i]))}\n" for i in order)


def is_the_ring_in_some_order(graph: Graph) -> bool:
    """Whether labels, features and edges belong to the same nodes; features tell which node a row is."""
    dense = graph.features if isinstance(graph.features, np.ndarray) else graph.features.toarray()
    if dense.shape != FEATURES.shape:
        return False
    node = np.abs(dense[:, None] - FEATURES[None]).sum(-1).argmin(-1)
    edges = graph.adjacency.toarray()[np.ix_(np.argsort(node), np.argsort(node))]
    return np.array_equal(graph.labels, LABELS[node]) and np.array_equal(edges, adjacency())


@pytest.mark.parametrize(
    "files",
    [
        {"edges.csv": edge_text(), "features.csv": feature_text(), "labels.csv": label_text()},
        {"edges.csv": edge_text(), "features.csv": feature_text(SHUFFLED[::-1]), "labels.csv": label_text(header="")},
        {"edges.csv": edge_text(), "features.csv": feature_text(), "labels.csv": label_text(header="")},
        {
            "edges.csv": edge_text(),
            "features.csv": feature_text(header="id,a,b,c\n"),
            "labels.csv": label_text(header=""),
        },
        {"graph.npz": {"edge_index": EDGES, "x": FEATURES}, "labels.csv": label_text()},
        {"graph.npz": {"edge_index": EDGES + 1, "x": FEATURES}, "labels.csv": label_text(first=1)},
    ],
    ids=["features without header", "no header", "no header, in order", "labels without header", "arrays", "from 1"],
)
def test_rows_are_joined_by_ids_and_not_by_their_order(tmp_path: Path, files: Files) -> None:
    """Joined by order the features of one node had the class of another, and ids without a header were a feature."""
    assert is_the_ring_in_some_order(read(tmp_path, files).graph)


def test_masks_of_arrays_stay_with_their_nodes(tmp_path: Path) -> None:
    masks = {f"{part}_mask": k == ORDERED % 3 for k, part in enumerate(("train", "val", "test"))}
    arrays: Arrays = {"edge_index": EDGES, "x": FEATURES, **masks}
    files: Files = {"graph.npz": arrays, "labels.csv": label_text()}
    graph = read(tmp_path, files).graph
    assert is_the_ring_in_some_order(graph)
    assert graph.own_splits is not None
    assert np.array_equal(graph.own_splits.train[0], ORDERED % 3 == 0)


def test_rows_without_ids_beside_ids_in_another_order_are_refused(tmp_path: Path) -> None:
    """Row 0 of the features could be node 0 or the first of the other file."""
    columns = "a,b,c\n" + "".join(f"{','.join(map(str, row))}\n" for row in FEATURES)
    for features in (columns, {"features": FEATURES}):
        name = "features.csv" if isinstance(features, str) else "features.npz"
        with pytest.raises(GraphError, match=f"{name} has no ids, and those of labels.csv are not in order"):
            read(tmp_path, {"edges.csv": edge_text(), name: features, "labels.csv": label_text()})


def test_rows_without_ids_beside_names_follow_their_order_with_a_note(tmp_path: Path) -> None:
    edges = "source,target\n" + "".join(f"n{a},n{b}\n" for a, b in zip(SOURCE, TARGET, strict=True))
    labels = "id,label\n" + "".join(f"n{i},{LABELS[i]}\n" for i in SHUFFLED)
    found = read(tmp_path, {"e.csv": edges, "f.npz": {"x": FEATURES[SHUFFLED]}, "l.csv": labels})
    assert is_the_ring_in_some_order(found.graph)
    assert "f.npz has no ids: its rows are taken in the order of l.csv." in found.notes


@pytest.mark.parametrize(
    ("arrays", "unused"),
    [
        ({"edge_index": EDGES, "x": np.ones((NODES, 2)), "features": FEATURES, "y": LABELS}, "x"),
        ({"edge_index": EDGES, "x": FEATURES, "labels": LABELS, "classes": np.array(["a", "b", "c"])}, "classes"),
        ({"adj": adjacency(), "edge_index": EDGES[:, :3], "x": FEATURES, "y": LABELS}, "edge_index"),
        ({"edge_index": EDGES[:, :3], "adj": adjacency(), "x": FEATURES, "y": LABELS}, "edge_index"),
    ],
)
def test_two_arrays_that_say_the_same_are_one_and_a_note(
    tmp_path: Path, arrays: dict[str, np.ndarray], unused: str
) -> None:
    """The later one won without a word, whichever it was."""
    found = read(tmp_path, {"g.npz": arrays})
    assert is_the_ring_in_some_order(found.graph)
    assert f"g.npz: not used, another array says the same: {unused}." in found.notes


@pytest.mark.parametrize("labels", [LABELS[None], LABELS])
@pytest.mark.parametrize("boolean", [False, True])
def test_lists_of_nodes_need_no_table_of_labels_to_be_masks(tmp_path: Path, labels: np.ndarray, boolean: bool) -> None:
    parts = {"train_idx": ORDERED % 3 == 0, "val_idx": ORDERED % 3 == 1, "test_idx": ORDERED % 3 == 2}
    lists = {name: mask if boolean else np.flatnonzero(mask) for name, mask in parts.items()}
    graph = read(tmp_path, {"g.npz": {"edge_index": EDGES, "x": FEATURES, "y": labels, **lists}}).graph
    assert graph.own_splits is not None
    assert np.array_equal(graph.own_splits.test[0], parts["test_idx"])


def test_files_that_bring_the_same_are_the_ones_that_are_named(tmp_path: Path) -> None:
    """The first of all files was, which brought the edges."""
    files = {"edges.csv": edge_text(), "a.csv": node_text(), "b.csv": node_text()}
    with pytest.raises(GraphError, match=r"^a\.csv and b\.csv both bring features"):
        read(tmp_path, files)


def test_masks_of_different_numbers_of_splits_are_refused(tmp_path: Path) -> None:
    one, two, three = (np.stack([part == ORDERED % 3] * count) for part, count in enumerate((2, 3, 1)))
    arrays = {"edge_index": EDGES, "x": FEATURES, "y": LABELS, "train_mask": one, "val_mask": two, "test_mask": three}
    with pytest.raises(GraphError, match="3 splits, but 2 of train; give as many, or one for all"):
        read(tmp_path, {"g.npz": arrays})


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """A weight of NaN counted as an edge."""
    for bad in (np.nan, np.inf):
        weighted = np.column_stack([EDGES.T, np.where(SOURCE == 3, bad, 1.0)])
        with pytest.raises(GraphError, match=r"edge weights of g\.npz are not all finite"):
            read(tmp_path, {"g.npz": {"edge_index": weighted, "x": FEATURES, "y": LABELS}})


def test_classes_of_many_digits_stay_apart(tmp_path: Path) -> None:
    """As float64 they were one class."""
    names = [f"1234567890123456789{k}" for k in range(3)]
    nodes = "id,f,label\n" + "".join(f"{i},{i},{names[LABELS[i]]}\n" for i in ORDERED)
    assert np.array_equal(read(tmp_path, {"e.csv": edge_text(), "n.csv": nodes}).graph.labels, LABELS)
