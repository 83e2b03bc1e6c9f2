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


def text_ids(ids: Any) -> pd.Series:
    """Ids as text: 10, 10.0, "10" and " 10 " are the same; an empty one is missing."""
    series = pd.Series(ids).astype("str").str.strip()
    return series.str.replace(r"^([+-]?\d+)\.0*$", r"\1", regex=True)


def merged(parts: Sequence[Part]) -> Part:
    """All parts as one; rows of nodes in two files are brought together by their ids.

    Raises: GraphError: two files say the same thing.
    """
    whole = Part()
    for part in parts:
        _align(whole, part)
        for name in ("edges", "features", "labels"):
            if getattr(whole, name) is not None and getattr(part, name) is not None:
                raise GraphError(f"{whole.file} and {part.file} both bring {name}: give one of them.")
        for name in ("edges", "features", "labels", "num_nodes", "node_ids", "likely_ids"):
            if getattr(whole, name) is None:
                setattr(whole, name, getattr(part, name))
        whole.file = whole.file or part.file
        whole.weak_ids = whole.weak_ids or part.weak_ids
        whole.masks |= part.masks
        whole.notes += part.notes
    return whole


def _align(whole: Part, part: Part) -> None:
    """Put the rows of nodes of `part` into the order of those of `whole`."""
    if whole.node_ids is None or part.node_ids is None:
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
