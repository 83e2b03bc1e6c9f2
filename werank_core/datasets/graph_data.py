"""One graph as arrays, and the one file format it is kept in: NumPy's npz, never a pickle."""

import os
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.graph_catalogue import GraphError

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
        labels: (N,) int64 in 0..K-1.
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
    def edge_index(self) -> NDArray[np.int64]:
        """(2, E) source and target ids, sorted by source and then target."""
        return np.stack(self.adjacency.nonzero()).astype(np.int64)

    @cached_property
    def homophily(self) -> float:
        """Share of edges that join nodes of the same class, in [0, 1]; NaN without edges."""
        source, target = self.labels[self.edge_index]
        return float((source == target).mean()) if len(source) else float("nan")


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

    `row` divides every row by its sum (PyG's NormalizeFeatures: rows that sum to less than 1 are divided by 1, as
    there); `standard` subtracts each column's mean and divides by its standard deviation (constant columns become 0);
    `none` does nothing.
    """
    if scaling == "row":
        totals = np.maximum(np.asarray(features.sum(axis=1)).reshape(-1, 1), 1.0)
        return (
            features / totals if isinstance(features, np.ndarray) else sparse.csr_array(features.multiply(1 / totals))
        )
    if scaling == "standard":
        dense = features if isinstance(features, np.ndarray) else features.toarray()
        # sums in float64: in float32 a constant column of 0.1 has a deviation that is not 0, and becomes one of -1
        mean, deviation = (of(dense, axis=0, dtype=np.float64) for of in (np.mean, np.std))
        varies = deviation > 1e-10 * np.abs(dense).max(axis=0)
        shift, scale = np.where(varies, mean, dense[0]), np.where(varies, deviation, 1)
        return (dense - shift.astype(dense.dtype)) / scale.astype(dense.dtype)
    return features


def save_graph(graph: Graph, path: Path) -> None:
    """Write a graph to one npz file, which appears whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {
        "indptr": graph.adjacency.indptr,
        "indices": graph.adjacency.indices,
        "labels": graph.labels,
        **_feature_arrays(graph.features),
        **(vars(graph.own_splits) if graph.own_splits else {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _feature_arrays(features: Features) -> dict[str, NDArray[Any]]:
    if isinstance(features, np.ndarray):
        return {"features": features}
    parts = {"features_indptr": features.indptr, "features_indices": features.indices, "features_data": features.data}
    return {**parts, "features_shape": np.array(features.shape)}


def read_arrays(path: Path, max_bytes: int | None = None) -> dict[str, NDArray[Any]]:
    """Every array of an npz file, read without unpickling anything.

    Raises:
        GraphError: not an npz file, an array of Python objects, or more than `max_bytes` once unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if max_bytes is not None and unpacked > max_bytes:
            raise GraphError(
                f"{path.name} unpacks to {unpacked / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are allowed."
            )
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except zipfile.BadZipFile as error:
        raise GraphError(f"{path.name} is not an npz file: save it with numpy.savez.") from error
    except ValueError as error:
        if isinstance(error, GraphError):
            raise
        raise GraphError(
            f"{path.name} holds an array of Python objects; save plain numbers, without pickle."
        ) from error


def load_saved(name: str, path: Path) -> Graph:
    """The graph in a file that `save_graph` wrote."""
    arrays = read_arrays(path)
    n = len(arrays["labels"])
    ones = np.ones(len(arrays["indices"]), dtype=np.float32)
    adjacency = sparse.csr_array((ones, arrays["indices"], arrays["indptr"]), shape=(n, n))
    splits = NodeSplits(arrays["train"], arrays["validation"], arrays["test"]) if "train" in arrays else None
    return Graph(name, adjacency, _stored_features(arrays), arrays["labels"].astype(np.int64), splits)


def _stored_features(arrays: dict[str, NDArray[Any]]) -> Features:
    if "features" in arrays:
        return arrays["features"].astype(np.float32)
    parts = tuple(arrays[f"features_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_array(parts, shape=tuple(arrays["features_shape"])).astype(np.float32)
