"""From what the files say to a sound graph: ids become rows, everything that training needs is checked and counted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import DataError, GraphError
from werank_core.datasets.graph_data import (
    Graph,
    NodeSplits,
    symmetric_adjacency,
)
from werank_core.datasets.readers.features import FeatureChoice, graph_features
from werank_core.datasets.readers.labels import classes_of
from werank_core.datasets.readers.limits import MOST_NODES
from werank_core.datasets.readers.parts import Edges, Part, text_ids, without_first_column
from werank_core.datasets.readers.sparse_parts import whole_numbers
from werank_core.datasets.readers.tables import guessed_note


@dataclass
class ReadGraph:
    """A sound graph, and in sentences everything about the files that it does not show."""

    graph: Graph
    notes: list[str] = field(default_factory=list)


def sound_graph(
    name: str, part: Part, *, features: FeatureChoice = "given", drop_small_classes: bool = False
) -> ReadGraph:
    """The graph that the files describe: undirected, links merged, self-loops left out, classes numbered.

    Isolated nodes and nodes without a label are kept. Nothing is left out or changed without a note.
    Args: features, what stands in for features: those of the files, one column a node, one column a degree, or ones.
    Raises: GraphError: one sentence.
    """
    try:
        return _sound_graph(name, part, features, drop_small_classes)
    except GraphError:
        raise
    except DataError as error:
        raise GraphError(str(error)) from error


def _sound_graph(name: str, part: Part, choice: FeatureChoice, drop_small: bool) -> ReadGraph:
    if part.edges is None or part.labels is None:
        raise GraphError(_what_is_missing(part))
    notes = list(part.notes)
    num_nodes = _num_nodes(part)
    source, target = _rows(part, num_nodes, notes)
    adjacency = _adjacency(source, target, part.edges, num_nodes, notes)
    classes = classes_of(np.asarray(part.labels), num_nodes, drop_small=drop_small)
    notes += classes.notes
    matrix = graph_features(part.features, adjacency, choice, notes)
    splits = _splits(part.masks, classes.numbers, notes)
    return ReadGraph(Graph(name, adjacency, matrix, classes.numbers, splits), notes)


def _what_is_missing(part: Part) -> str:
    """What to add to the files, and which of their arrays meant nothing."""
    unused = "".join(f" {note}" for note in part.notes if "not used" in note)
    if part.edges is None:
        return f"the files have no edges: add a list with columns source and target, or an adjacency matrix.{unused}"
    return f"the files have no classes: add a table of nodes with a column label, or an array labels.{unused}"


# -- nodes and links --------------------------------------------------------------------------------------------------


def _num_nodes(part: Part) -> int:
    """N, on which everything that knows it must agree."""
    told: dict[str, int] = {}
    if part.num_nodes is not None:
        told["nodes"] = part.num_nodes
    labels = part.labels
    if labels is not None and labels.ndim and not (labels.ndim == 2 and labels.shape[0] == 1):
        told["labels"] = len(labels)
    if part.features is not None:
        if part.features.ndim != 2:
            raise GraphError(f"features have shape {part.features.shape}; they must be (nodes, dimensions).")
        told["rows of features"] = int(part.features.shape[0])
    if len(set(told.values())) > 1:
        counts = ", ".join(f"{count:,} {what}" for what, count in told.items())
        raise GraphError(f"the files do not agree on the number of nodes: {counts}.")
    num_nodes = next(iter(told.values()), 0)
    if not 0 < num_nodes <= MOST_NODES:
        raise GraphError(f"the graph has {num_nodes:,} nodes; between 1 and {MOST_NODES:,} are possible.")
    return num_nodes


def _rows(part: Part, num_nodes: int, notes: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of both ends of every link."""
    assert part.edges is not None
    ends = part.edges.source, part.edges.target
    if len(ends[0]) != len(ends[1]):
        raise GraphError(f"edge ends have lengths {len(ends[0]):,} and {len(ends[1]):,}; every edge has two.")
    if part.node_ids is not None:
        found = _places(part.node_ids, part.edges)
        if not (found[0] < 0).any() and not (found[1] < 0).any():
            return _with_first_line(part, found, notes)
        if not part.weak_ids or not ((found[0] < 0).all() and (found[1] < 0).all()):
            raise GraphError(_unknown_ends(part.edges, found))
        notes.append("The names of the nodes are not what the edges use: those count rows.")
    if part.likely_ids is not None:
        found = _places(part.likely_ids, part.edges)
        if not (found[0] < 0).any() and not (found[1] < 0).any():
            notes.append("The first column of the nodes is taken as their ids.")
            part.features = without_first_column(part.features)
            return found
    source, target = (_numbers(end, which) for end, which in zip(ends, ("source", "target"), strict=True))
    return _counted_from(source, target, num_nodes, notes)


def _with_first_line(
    part: Part, found: tuple[NDArray[np.int64], NDArray[np.int64]], notes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The links, and the first line of their file as well, where what looked like names of columns are two nodes."""
    assert part.edges is not None
    if part.edges.first_line is None or part.node_ids is None:
        return found
    first = pd.Index(part.node_ids).get_indexer(pd.Index(text_ids(list(part.edges.first_line))))
    if (first < 0).any():
        return found
    taken = guessed_note(part.edges.file, [])
    notes[:] = [note for note in notes if not note.startswith(taken)]
    return np.append(found[0], first[0]), np.append(found[1], first[1])


def _places(ids: pd.Series, edges: Edges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    index = pd.Index(ids)
    source, target = (index.get_indexer(pd.Index(text_ids(end))) for end in (edges.source, edges.target))
    return source, target


def _unknown_ends(edges: Edges, found: tuple[NDArray[np.int64], NDArray[np.int64]]) -> str:
    which = "source" if (found[0] < 0).any() else "target"
    end, places = (edges.source, found[0]) if which == "source" else (edges.target, found[1])
    first = str(text_ids(end)[int(np.flatnonzero(places < 0)[0])])[:60]
    count = int((found[0] < 0).sum() + (found[1] < 0).sum())
    return f"edge {which} {first!r} is not in the node table; {count:,} such ends."


def _numbers(end: Any, which: str) -> NDArray[np.int64]:
    """Ids as row numbers, where there is no table of ids."""
    if isinstance(end, np.ndarray):
        return whole_numbers(end, f"edge {which}")
    numbers = pd.to_numeric(end, errors="coerce")
    if numbers.isna().any():
        odd = str(end[numbers.isna()].iloc[0])[:60]
        raise GraphError(
            f"edge {which} {odd!r} is no row number, and the nodes have no column of ids: add one called node."
        )
    return whole_numbers(numbers.to_numpy(), f"edge {which}")


def _counted_from(
    source: NDArray[np.int64], target: NDArray[np.int64], num_nodes: int, notes: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if not len(source):
        raise GraphError("there are no edges.")
    ends = np.concatenate([source, target])
    first, last = int(ends.min()), int(ends.max())
    if first == 1 and last == num_nodes:
        notes.append(f"Edges number the nodes from 1 to {num_nodes:,}; they count from 0 here.")
        return source - 1, target - 1
    if first < 0:
        raise GraphError(f"{int((ends < 0).sum()):,} edge ends are negative (first {ends[ends < 0][0]}).")
    if last >= num_nodes:
        beyond = ends >= num_nodes
        raise GraphError(
            f"{int(beyond.sum()):,} edge ends point beyond the last node (first {ends[beyond][0]}, last node "
            f"{num_nodes - 1}): nodes are numbered by their rows from 0, unless they have a column of ids."
        )
    return source, target


def _adjacency(
    source: NDArray[np.int64], target: NDArray[np.int64], edges: Edges, num_nodes: int, notes: list[str]
) -> sparse.csr_array[Any]:
    weights = edges.weights
    if weights is not None and not (weights.dtype.kind in "biuf" and np.isfinite(weights).all()):
        raise GraphError(f"edge weights of {edges.file} are not all finite numbers: fill or drop them.")
    if weights is not None and len(weights) == len(source):
        linked = weights != 0
        if not linked.all():
            notes.append(f"{int((~linked).sum()):,} edges of weight 0 left out.")
        if len(np.unique(weights[linked])) > 1:
            notes.append("Edge weights are dropped: every edge counts the same.")
        source, target = source[linked], target[linked]
    loops = source == target
    if loops.any():
        notes.append(f"{int(loops.sum()):,} self-loop{'s' * (int(loops.sum()) > 1)} removed.")
    adjacency = symmetric_adjacency(source, target, num_nodes)
    if not adjacency.nnz:
        raise GraphError("no edge joins two different nodes: there is no graph.")
    notes += _direction_notes(source[~loops], target[~loops], adjacency)
    if isolated := int((np.diff(adjacency.indptr) == 0).sum()):
        notes.append(f"{isolated:,} node{'s have' if isolated > 1 else ' has'} no edge.")
    return adjacency


def _direction_notes(source: Any, target: Any, adjacency: sparse.csr_array[Any]) -> Iterator[str]:
    directed = sparse.csr_array((np.ones(len(source), np.int8), (source, target)), shape=adjacency.shape)
    directed.sum_duplicates()
    given = directed.nnz
    if repeated := len(source) - given:
        yield f"{repeated:,} repeated edge{'s' * (repeated > 1)} merged."
    one_way = adjacency.nnz - given
    if one_way:
        of = "all" if one_way == adjacency.nnz // 2 else f"{one_way:,} of"
        yield f"Edges count in both directions; {of} {adjacency.nnz // 2:,} were given in one only."


# -- splits -----------------------------------------------------------------------------------------------------------


def _splits(masks: dict[str, NDArray[Any]], labels: NDArray[np.int64], notes: list[str]) -> NodeSplits | None:
    """The splits of the files as masks (S, N), of nodes with a label only; None where a part is missing."""
    if not masks:
        return None
    absent = [name for name in ("train", "validation", "test") if name not in masks or not masks[name].any()]
    if absent:
        notes.append(f"The splits of the files are not used: nobody is in {' and '.join(absent)}.")
        return None
    rows = {name: _mask_rows(mask, name, len(labels)) for name, mask in masks.items()}
    count = max(len(mask) for mask in rows.values())
    if odd := [f"{len(mask)} of {name}" for name, mask in rows.items() if len(mask) not in (1, count)]:
        raise GraphError(
            f"the masks of the files do not fit: {count} splits, but {odd[0]}; give as many, or one for all."
        )
    train, validation, test = (np.broadcast_to(rows[n], (count, len(labels))) for n in ("train", "validation", "test"))
    if shared := int(((train & validation) | (train & test) | (validation & test)).any(axis=0).sum()):
        raise GraphError(f"the splits of the files overlap: {shared:,} nodes are in two parts of one split.")
    known = labels >= 0
    if dropped := int(((train | validation | test).any(axis=0) & ~known).sum()):
        notes.append(f"{dropped:,} nodes without a label are left out of the splits.")
    parts = [part & known for part in (train, validation, test)]
    if not all(part.any(axis=1).all() for part in parts):
        notes.append("The splits of the files are not used: a part of them has no node with a label.")
        return None
    counts = ", ".join(f"{int(part[0].sum()):,}" for part in parts)
    notes.append(f"{count} split{'s' * (count > 1)} of the files kept: {counts} nodes to train, choose and test.")
    return NodeSplits(*parts)


def _mask_rows(mask: NDArray[Any], name: str, num_nodes: int) -> NDArray[np.bool_]:
    if mask.ndim == 1:
        mask = mask[None]
    if mask.ndim == 2 and mask.shape[1] != num_nodes and mask.shape[0] == num_nodes:
        mask = np.ascontiguousarray(mask.T)
    if mask.ndim != 2 or mask.shape[1] != num_nodes:
        raise GraphError(f"the {name} mask has shape {mask.shape}; one entry a node is needed, {num_nodes:,} in all.")
    return mask.astype(bool)
