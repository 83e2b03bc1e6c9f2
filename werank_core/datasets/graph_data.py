"""One graph as arrays, and the one file format it is kept in: NumPy's npz, never a pickle."""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.digests import content_digest
from werank_core.datasets.errors import DataError, GraphError
from werank_core.datasets.readers.npz import read_arrays, save_arrays

Features: TypeAlias = "NDArray[np.float32] | sparse.csr_array[Any]"

# Above this share of non-zeros a dense product beats the sparse one on a CPU.
SPARSE_DENSITY = 0.12


@dataclass(frozen=True)
class NodeSplits:
    """The data set's own splits: boolean masks `(S, N)`."""

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph with node features and labels.

    Args:
        adjacency: (N, N) CSR pattern, symmetric, without self-loops or duplicates, column ids sorted; values are 1.
        features: (N, D) float32, dense, or CSR where few entries are non-zero.
        labels: (N,) int64 in 0..K-1, or -1 for a node without a label: trained on, left out of probe and class metrics.
        own_splits: the splits the data set came with, if any.
    """

    name: str
    adjacency: sparse.csr_array[Any]
    features: Features
    labels: NDArray[np.int64]
    own_splits: NodeSplits | None = None

    @property
    def num_nodes(self) -> int:
        """N."""
        return int(self.adjacency.shape[0])

    @property
    def num_edges(self) -> int:
        """Directed edges: every undirected one counts twice."""
        return int(self.adjacency.nnz)

    @property
    def num_features(self) -> int:
        """D."""
        return int(self.features.shape[1])

    @cached_property
    def num_classes(self) -> int:
        """K."""
        return int(self.labels.max()) + 1

    @cached_property
    def num_unlabelled(self) -> int:
        """Nodes without a label."""
        return int((self.labels < 0).sum())

    @cached_property
    def num_isolated(self) -> int:
        """Nodes without an edge."""
        return int((np.diff(self.adjacency.indptr) == 0).sum())

    @cached_property
    def edge_index(self) -> NDArray[np.int64]:
        """(2, E) source and target ids, sorted by source and then target."""
        return np.stack(self.adjacency.nonzero()).astype(np.int64)

    @cached_property
    def homophily(self) -> float:
        """Share of edges that join nodes of the same class, among those with two labels; in [0, 1], NaN without any."""
        source, target = self.labels[self.edge_index]
        known = (source >= 0) & (target >= 0)
        return float((source == target)[known].mean()) if known.any() else float("nan")


def symmetric_adjacency(source: NDArray[Any], target: NDArray[Any], num_nodes: int) -> sparse.csr_array[Any]:
    """The undirected pattern of an edge list: both directions, duplicates merged, self-loops left out, values 1.

    Args: source, target (E,) ids in 0..N-1; num_nodes N.
    Returns: (N, N) float32 CSR with sorted column ids.
    """
    proper = source != target
    source, target = source[proper], target[proper]
    ones = np.ones(2 * len(source), dtype=np.float32)
    both = (np.concatenate([source, target]), np.concatenate([target, source]))
    pattern = sparse.csr_array(sparse.coo_array((ones, both), shape=(num_nodes, num_nodes)))
    pattern.sum_duplicates()
    pattern.sort_indices()
    pattern.data[:] = 1
    return pattern


def compact_features(features: NDArray[Any] | sparse.csr_array[Any]) -> Features:
    """Features as float32, CSR when at most 12% of the entries are non-zero and dense otherwise."""
    if isinstance(features, np.ndarray):
        dense = features.astype(np.float32)
        few = np.count_nonzero(dense) <= SPARSE_DENSITY * dense.size
        return sparse.csr_array(dense) if few else dense
    kept = sparse.csr_array(features).astype(np.float32)
    kept.sort_indices()
    return kept if kept.nnz <= SPARSE_DENSITY * np.prod(kept.shape) else kept.toarray()


def scaled_features(features: Features, scaling: str) -> Features:
    """Features as the encoder sees them.

    `row` subtracts the smallest entry of all and divides every row by its sum, where that is at least 1 (as PyG's
    NormalizeFeatures does; bags of words have smallest entry 0); `standard` subtracts each column's mean and divides
    by its standard deviation (constant columns become 0); `none` does nothing.
    """
    if scaling == "row":
        return _row_scaled(features)
    if scaling == "standard":
        dense = features if isinstance(features, np.ndarray) else features.toarray()
        # sums in float64: in float32 a constant column of 0.1 has a deviation that is not 0, and becomes one of -1
        mean, deviation = (of(dense, axis=0, dtype=np.float64) for of in (np.mean, np.std))
        varies = deviation > 1e-10 * np.abs(dense).max(axis=0)
        shift, scale = np.where(varies, mean, dense[0]), np.where(varies, deviation, 1)
        return (dense - shift.astype(dense.dtype)) / scale.astype(dense.dtype)
    return features


def _row_scaled(features: Features) -> Features:
    smallest = features.min() if features.shape[0] else 0
    if smallest != 0:
        features = (features if isinstance(features, np.ndarray) else features.toarray()) - smallest
    totals = np.maximum(np.asarray(features.sum(axis=1)).reshape(-1, 1), 1.0)
    return features / totals if isinstance(features, np.ndarray) else sparse.csr_array(features.multiply(1 / totals))


def saved_arrays(graph: Graph) -> dict[str, NDArray[Any]]:
    """Everything that makes a graph, by the names under which it is kept."""
    features = graph.features
    arrays: dict[str, NDArray[Any]] = {
        "indptr": graph.adjacency.indptr,
        "indices": graph.adjacency.indices,
        "labels": graph.labels,
        **(vars(graph.own_splits) if graph.own_splits else {}),
    }
    if isinstance(features, np.ndarray):
        return {**arrays, "features": features}
    parts = {"features_indptr": features.indptr, "features_indices": features.indices, "features_data": features.data}
    return {**arrays, **parts, "features_shape": np.array(features.shape)}


def graph_digest(graph: Graph) -> str:
    """The content of a graph as 16 hex digits: edges, features, labels and splits, never its name."""
    return content_digest(saved_arrays(graph))


def save_graph(graph: Graph, path: Path) -> None:
    """Write a graph to one npz file, which appears whole or not at all."""
    save_arrays(saved_arrays(graph), path)


def load_saved(name: str, path: Path) -> Graph:
    """The graph in a file that `save_graph` wrote.

    Raises:
        GraphError: the file is damaged.
    """
    try:
        arrays = read_arrays(path, most_bytes=sys.maxsize)
        n = len(arrays["labels"])
        ones = np.ones(len(arrays["indices"]), dtype=np.float32)
        adjacency = sparse.csr_array((ones, arrays["indices"], arrays["indptr"]), shape=(n, n))
        splits = NodeSplits(arrays["train"], arrays["validation"], arrays["test"]) if "train" in arrays else None
        return Graph(name, adjacency, _stored_features(arrays), arrays["labels"].astype(np.int64), splits)
    except (DataError, OSError, ValueError, KeyError, TypeError) as error:
        raise GraphError(f"{path.name} in the data folder is damaged ({error}): add or fetch it again.") from error


def _stored_features(arrays: dict[str, NDArray[Any]]) -> Features:
    if "features" in arrays:
        return arrays["features"].astype(np.float32)
    parts = tuple(arrays[f"features_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array(parts, shape=tuple(arrays["features_shape"])).astype(np.float32)
