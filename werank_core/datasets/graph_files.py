"""A person's own graph: read from npz or CSV without unpickling, checked, explained when wrong, kept under a name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.graph_catalogue import GraphError
from werank_core.datasets.graph_data import (
    Graph,
    compact_features,
    load_saved,
    read_arrays,
    save_graph,
    symmetric_adjacency,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
MAX_BYTES = 2_000_000_000
MIN_CLASS_SIZE = 2


def own_graph_path(name: str, root: Path) -> Path:
    """Where an own graph of that name lies.

    Raises:
        GraphError: a name that is not 1 to 40 letters, digits, `_` or `-`.
    """
    if not _NAME.fullmatch(name):
        raise GraphError(
            f"{name!r} is no name for a graph: use 1 to 40 letters, digits, '_' or '-', the first a letter or digit."
        )
    return root / "graphs" / "own" / f"{name}.npz"


def own_graph_names(root: Path) -> list[str]:
    """The names of the own graphs in the data folder, sorted."""
    return sorted(path.stem for path in (root / "graphs" / "own").glob("*.npz") if _NAME.fullmatch(path.stem))


def load_own_graph(name: str, root: Path) -> Graph:
    """The own graph of that name.

    Raises:
        GraphError: no such graph, with the names that exist.
    """
    path = own_graph_path(name, root)
    if not path.exists():
        known = ", ".join(own_graph_names(root)) or "none yet"
        raise GraphError(f"there is no graph of your own named {name!r}; there are: {known}. Upload it first.")
    return load_saved(name, path)


def keep_own_graph(graph: Graph, root: Path) -> Path:
    """Put a checked graph into the data folder under its name, replacing one of the same name."""
    path = own_graph_path(graph.name, root)
    save_graph(graph, path)
    return path


def graph_from_npz(name: str, path: Path, *, clean: bool = False, max_bytes: int = MAX_BYTES) -> Graph:
    """A checked graph from one npz file.

    Arrays: `indptr`, `indices` (CSR adjacency), `features` (N, D) or the CSR parts `features_indptr`,
    `features_indices`, `features_data`, `features_shape`; `labels` (N,). `clean` removes self-loops, isolated nodes.
    Raises:
        GraphError: one sentence for everything that is wrong.
    """
    arrays = read_arrays(path, max_bytes)
    missing = [key for key in ("indptr", "indices", "labels") if key not in arrays]
    if not {"features", "features_data"} & set(arrays):
        missing.append("features")
    if missing:
        raise GraphError(f"{path.name} has no {' and no '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}.")
    indptr = arrays["indptr"]
    if (
        indptr.ndim != 1
        or len(indptr) < 2
        or indptr[0] != 0
        or indptr[-1] != len(arrays["indices"])
        or (np.diff(indptr) < 0).any()
    ):
        raise GraphError(
            "indptr is not that of a CSR matrix: it starts at 0, never falls and ends at the length of indices."
        )
    source = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return checked_graph(
        name, source, arrays["indices"], _raw_features(arrays), arrays["labels"], clean=clean, num_nodes=len(indptr) - 1
    )


def _raw_features(arrays: dict[str, NDArray[Any]]) -> NDArray[Any] | sparse.csr_array[Any]:
    if "features" in arrays:
        return arrays["features"]
    try:
        parts = tuple(arrays[f"features_{part}"] for part in ("data", "indices", "indptr"))
        found = sparse.csr_array(parts, shape=tuple(arrays["features_shape"]))
        found.check_format(full_check=True)
        return found
    except (KeyError, ValueError, TypeError) as error:
        raise GraphError(f"the CSR parts of the features do not fit together: {error}.") from error


def graph_from_csv(name: str, edges: Path, nodes: Path, *, clean: bool = False, max_bytes: int = MAX_BYTES) -> Graph:
    """A checked graph from an edge list and a node table.

    `edges` has the columns `source, target`; `nodes` has `label` and numeric feature columns, and optionally `node`
    with the ids that the edge list uses (otherwise rows count from 0).
    Raises:
        GraphError: one sentence for everything that is wrong.
    """
    edge_table, node_table = _table(edges, ("source", "target"), max_bytes), _table(nodes, ("label",), max_bytes)
    source, target = _row_numbers(edge_table, node_table)
    features = node_table.drop(columns=["label", "node"], errors="ignore")
    words = [column for column in features if not pd.api.types.is_numeric_dtype(features[column])]
    if words:
        raise GraphError(f"feature column {words[0]!r} of {nodes.name} is not numeric: leave it out or encode it.")
    return checked_graph(
        name,
        source,
        target,
        features.to_numpy(),
        node_table["label"].to_numpy(),
        clean=clean,
        num_nodes=len(node_table),
    )


def _table(path: Path, columns: tuple[str, ...], max_bytes: int) -> pd.DataFrame:
    if path.stat().st_size > max_bytes:
        raise GraphError(
            f"{path.name} has {path.stat().st_size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB are allowed."
        )
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise GraphError(f"{path.name} is not a comma-separated table: {error}.") from error
    absent = [column for column in columns if column not in table]
    if absent:
        raise GraphError(
            f"{path.name} has no column {absent[0]!r}; its columns are {', '.join(map(str, table.columns[:8]))}."
        )
    return table


def _row_numbers(edges: pd.DataFrame, nodes: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Row numbers of both ends of every edge; an id that the node table lacks becomes −1."""
    if "node" not in nodes:
        return edges["source"].to_numpy(), edges["target"].to_numpy()
    if nodes["node"].duplicated().any():
        raise GraphError(f"node {nodes['node'][nodes['node'].duplicated()].iloc[0]!r} stands in the node table twice.")
    index = pd.Index(nodes["node"])
    places = [index.get_indexer(edges[end]) for end in ("source", "target")]
    for end, place in zip(("source", "target"), places, strict=True):
        if (place < 0).any():
            raise GraphError(
                f"edge {end} {edges[end][place < 0].iloc[0]!r} is not in the node table; "
                f"{int((place < 0).sum())} such ends."
            )
    return places[0], places[1]


def checked_graph(
    name: str,
    source: NDArray[Any],
    target: NDArray[Any],
    features: NDArray[Any] | sparse.csr_array[Any],
    labels: NDArray[Any],
    *,
    num_nodes: int,
    clean: bool = False,
) -> Graph:
    """A sound graph from raw arrays: undirected, duplicates merged, labels renumbered 0..K-1 in sorted order.

    Args: source, target (E,) node ids; features (N, D); labels (N,) of any sortable kind.
    Raises:
        GraphError: every finding, one sentence each.
    """
    own_graph_path(name, Path())
    findings = list(_shape_findings(source, target, features, labels, num_nodes))
    findings = findings or list(_value_findings(source, target, features, labels, num_nodes))
    if not findings and clean:
        source, target, features, labels = _without_lonely(source, target, features, labels)
        num_nodes = len(labels)
    findings = findings or list(_structure_findings(source, target, labels, num_nodes))
    if findings:
        raise GraphError(" ".join(findings))
    classes = np.unique(labels, return_inverse=True)[1]
    adjacency = symmetric_adjacency(source.astype(np.int64), target.astype(np.int64), num_nodes)
    return Graph(name, adjacency, compact_features(features), classes.astype(np.int64))


def _shape_findings(source: Any, target: Any, features: Any, labels: Any, num_nodes: int) -> Iterator[str]:
    if features.ndim != 2 or features.shape[1] == 0:
        yield f"features have shape {features.shape}; they must be (nodes, dimensions)."
    elif features.shape[0] != num_nodes:
        yield f"features have {features.shape[0]:,} rows for {num_nodes:,} nodes."
    if labels.shape != (num_nodes,):
        yield f"labels have shape {labels.shape}; one label for each of the {num_nodes:,} nodes is needed."
    if source.ndim != 1 or source.shape != target.shape:
        yield f"edge ends have shapes {source.shape} and {target.shape}; they must be equally long lists."
    if not (np.issubdtype(source.dtype, np.integer) and np.issubdtype(target.dtype, np.integer)):
        yield "node ids of edges must be whole numbers."
    numbers = features.data if sparse.issparse(features) else features
    if not np.issubdtype(numbers.dtype, np.number) and numbers.dtype != bool:
        yield f"features are of kind {numbers.dtype}; they must be numbers."


def _value_findings(source: Any, target: Any, features: Any, labels: Any, num_nodes: int) -> Iterator[str]:
    ends = np.concatenate([source, target])
    if (negative := int((ends < 0).sum())) > 0:
        yield f"{negative:,} edge ends are negative (first {ends[ends < 0][0]})."
    if (dangling := int((ends >= num_nodes).sum())) > 0:
        first = ends[ends >= num_nodes][0]
        yield f"{dangling:,} edge ends point beyond the last node (first {first}, last node {num_nodes - 1})."
    numbers = features.data if sparse.issparse(features) else features
    if (bad := int((~np.isfinite(numbers.astype(np.float64))).sum())) > 0:
        yield f"{bad:,} feature values are NaN or infinite: fill or drop them."
    absent = pd.isna(labels)
    if np.issubdtype(labels.dtype, np.number) and labels.dtype != bool:
        absent = absent | (labels < 0)
    if absent.any():
        yield f"{int(absent.sum()):,} nodes have no label (first: node {int(np.flatnonzero(absent)[0])})."


def _structure_findings(source: Any, target: Any, labels: Any, num_nodes: int) -> Iterator[str]:
    loops = source == target
    if loops.any():
        yield f"{int(loops.sum()):,} self-loops (first: node {source[loops][0]}): switch on cleaning to remove them."
    alone = np.setdiff1d(np.arange(num_nodes), np.concatenate([source[~loops], target[~loops]]))
    if len(alone):
        yield f"{len(alone):,} isolated nodes (first: node {alone[0]}): switch on cleaning to remove them."
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        yield "there must be at least two classes."
    for label, count in zip(classes, counts, strict=True):
        if count < MIN_CLASS_SIZE:
            yield f"class {label} has {count} node; it cannot be both trained and tested on: merge or drop it."


def _without_lonely(source: Any, target: Any, features: Any, labels: Any) -> tuple[Any, Any, Any, Any]:
    """The graph without self-loops and without nodes that have no edge, renumbered."""
    proper = source != target
    source, target = source[proper], target[proper]
    kept = np.unique(np.concatenate([source, target]))
    return np.searchsorted(kept, source), np.searchsorted(kept, target), features[kept], labels[kept]
