"""What files say about a graph, before anything is believed: edges by the ids of the files, rows of nodes, masks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import GraphError

Ids = NDArray[Any] | pd.Series
"""Whole numbers, or text as `text_ids` writes it."""


@dataclass
class Edges:
    """Both ends of every link, `(E,)` ids, and weights `(E,)` where there are any."""

    source: Ids
    target: Ids
    weights: NDArray[Any] | None = None
    first_line: tuple[str, str] | None = None
    """Two words that were taken as names of columns: an edge, if both turn out to be nodes."""
    file: str = ""


@dataclass
class Part:
    """What one file, or all files together, say; what they do not say is None."""

    edges: Edges | None = None
    num_nodes: int | None = None
    node_ids: pd.Series | None = None
    likely_ids: pd.Series | None = None
    """A first column of numbers without a name: ids if the edges agree, else the first feature."""
    weak_ids: bool = False
    """Whether `node_ids` are names that the edges need not use."""
    features: NDArray[Any] | sparse.csr_array[Any] | None = None
    labels: NDArray[Any] | None = None
    masks: dict[str, NDArray[Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    file: str = ""

    @property
    def num_rows(self) -> int | None:
        """Nodes that it says something of, row by row; None where it does not."""
        for values in (self.features, self.labels, *self.masks.values()):
            if values is not None and values.ndim:
                # labels may also come as one row
                return int(values.shape[1] if values.ndim == 2 and values.shape[0] == 1 else values.shape[0])
        return None


def text_ids(ids: Any) -> pd.Series:
    """Ids as text: 10, 10.0, "10" and " 10 " are the same; an empty one is missing."""
    series = pd.Series(ids).astype("str").str.strip()
    return series.str.replace(r"^([+-]?\d+)\.0*$", r"\1", regex=True)


def without_first_column(features: Any) -> Any:
    """Features whose first column turned out to hold ids."""
    return None if features is None or features.shape[1] < 2 else features[:, 1:]


def merged(parts: Sequence[Part]) -> Part:
    """All parts as one; rows of nodes in two files are brought together by their ids.

    Raises: GraphError: two files say the same thing, or it cannot be told which of their rows belong together.
    """
    _settle_likely_ids(parts)
    _name_rows(parts)
    whole = Part()
    brought_by: dict[str, str] = {}
    for part in parts:
        _align(whole, part)
        for name in ("edges", "features", "labels"):
            if getattr(part, name) is None:
                continue
            if name in brought_by:
                raise GraphError(f"{brought_by[name]} and {part.file} both bring {name}: give one of them.")
            brought_by[name] = part.file
        for name in ("edges", "features", "labels", "num_nodes", "node_ids", "likely_ids"):
            if getattr(whole, name) is None:
                setattr(whole, name, getattr(part, name))
        whole.file = whole.file or part.file
        whole.weak_ids = whole.weak_ids or part.weak_ids
        whole.masks |= part.masks
        whole.notes += part.notes
    return whole


def _settle_likely_ids(parts: Sequence[Part]) -> None:
    """Take a first column of numbers as ids where another file of nodes has the same, or brings the features."""
    told = [part.node_ids if part.node_ids is not None else part.likely_ids for part in parts]
    for number, part in enumerate(parts):
        if part.likely_ids is None:
            continue
        others = [ids for place, ids in enumerate(told) if place != number and ids is not None]
        agree = any(_same_ids(part.likely_ids, ids) for ids in others)
        featured = any(other.features is not None for place, other in enumerate(parts) if place != number)
        alone = part.features is not None and part.features.shape[1] == 1
        if agree or (alone and featured and part.likely_ids.str.fullmatch(r"\d+").all()):
            part.node_ids, part.likely_ids = part.likely_ids, None
            part.features = without_first_column(part.features)
            part.notes.append(f"{part.file}: the first column is taken as node ids.")


def _same_ids(one: pd.Series, other: pd.Series) -> bool:
    return len(one) == len(other) and bool((pd.Index(one).get_indexer(pd.Index(other)) >= 0).all())


def _name_rows(parts: Sequence[Part]) -> None:
    """Find out which nodes the rows of a file without ids are, where another file has ids.

    Ids 0..N-1 or 1..N in another order number the rows of arrays that come with their own edges. Without such edges
    nobody can tell; and rows beside ids that are no numbers follow their order, with a note.
    """
    named = next((part for part in parts if part.node_ids is not None), None)
    if named is None or named.node_ids is None:
        return
    ids, size = named.node_ids, len(named.node_ids)
    numberings = [text_ids(range(first, first + size)) for first in (0, 1)]
    numbering = next((numbers for numbers in numberings if _same_ids(numbers, ids)), None)
    for part in parts:
        if part.node_ids is not None or part.likely_ids is not None or part.num_rows != size:
            continue
        if numbering is None:
            part.notes.append(f"{part.file} has no ids: its rows are taken in the order of {named.file}.")
        elif part.edges is not None:
            part.node_ids = numbering
        elif not ids.reset_index(drop=True).equals(numbering):
            raise GraphError(
                f"{part.file} has no ids, and those of {named.file} are not in order ({', '.join(ids[:3])}, ...), so "
                "that its rows could be either: give it ids too, or sort the other file by them."
            )


def _align(whole: Part, part: Part) -> None:
    """Put the rows of nodes of `part` into the order of those of `whole`."""
    if whole.node_ids is None or part.node_ids is None or part.node_ids.equals(whole.node_ids):
        return
    places = pd.Index(part.node_ids).get_indexer(pd.Index(whole.node_ids))
    if len(part.node_ids) != len(whole.node_ids) or (places < 0).any() or part.node_ids.duplicated().any():
        raise GraphError(f"{whole.file} and {part.file} do not list the same nodes.")
    for name in ("features", "labels"):
        values = getattr(part, name)
        setattr(part, name, None if values is None else values[places])
    part.masks = {name: mask[places] for name, mask in part.masks.items()}


def as_dense_labels(labels: Any) -> NDArray[Any]:
    """Labels of a table as an array: text, with None where a cell is empty."""
    return np.asarray(pd.Series(labels).astype(object).where(lambda s: s.notna(), None), dtype=object)
