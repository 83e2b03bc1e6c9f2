"""Graphs in NumPy's files, whatever the arrays are called: CSR parts, edge lists, dense matrices, SciPy's own files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.files import Brought
from werank_core.datasets.readers.npz import Header, array_headers, read_arrays
from werank_core.datasets.readers.parts import Edges, Part
from werank_core.datasets.readers.sparse_parts import (
    Arrays,
    check_places,
    numbers_of,
    sparse_matrix,
    whole_numbers,
)  # fmt: skip

_LINKS = ("edges", "edgeindex", "edgeindices", "edgelist", "links")
_ADJACENCY = ("adj", "adjacency", "adjmatrix", "adjacencymatrix", "a", "graph", "network", *_LINKS)
_FEATURES = ("features", "x", "feat", "feats", "attr", "attrmatrix", "attributes", "nodefeatures", "nodefeat",
             "feature")  # fmt: skip
_LABELS = ("labels", "label", "y", "classes", "nodelabels", "class", "targets")
_SOURCE, _TARGET = ("source", "src", "row", "senders"), ("target", "dst", "col", "receivers")
_MASKS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_PART = re.compile(r"^(.*?)[._]?(data|indices|indptr|shape|format|row|col)$")
_WEIGHTS = ("edgeweight", "edgeweights", "edgeattr", "weights", "weight", "edgefeatures")


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]+", "", name.casefold())


@dataclass
class _Contents:
    """The arrays of one file, sorted out."""

    file: str
    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    """Stem -> part -> member, for matrices in sparse parts."""
    singles: dict[str, str] = field(default_factory=dict)
    """Plain name -> member, for whole arrays."""


def arrays_part(file: Brought) -> Part:
    """What an npz or npy file says of a graph.

    Raises: DataError: damaged, or arrays that do not fit together, one sentence.
    """
    headers = array_headers(file.path, file.name)
    if "" in headers:
        headers = {PurePath(file.name).stem: headers[""]}
        arrays: Arrays = {name: read_arrays(file.path, name=file.name)[""] for name in headers}
        return _part(_sorted_out(file.name, headers), arrays)
    contents = _sorted_out(file.name, headers)
    wanted = {*_wanted(contents)}
    part = _part(contents, read_arrays(file.path, wanted, name=file.name))
    # SciPy notes in its files which of its two classes wrote them
    if unused := [name for name in headers if name not in wanted and name != "_is_array"]:
        shown = ", ".join(f"{name} {headers[name].shape}" for name in unused[:6])
        part.notes.append(f"{file.name}: not used: {shown}.")
    return part


def _sorted_out(file: str, headers: dict[str, Header]) -> _Contents:
    contents = _Contents(file)
    for member in headers:
        found = _PART.match(member)
        if found:
            contents.groups.setdefault(_plain(found[1]), {})[found[2]] = member
        contents.singles.setdefault(_plain(member), member)
    complete = ({"indices", "indptr"}, {"row", "col", "shape"})
    contents.groups = {stem: g for stem, g in contents.groups.items() if any(needed <= set(g) for needed in complete)}
    taken = {member for group in contents.groups.values() for member in group.values()}
    contents.singles = {name: member for name, member in contents.singles.items() if member not in taken}
    return contents


def _wanted(contents: _Contents) -> Iterator[str]:
    """Members that mean something here."""
    for stem, group in contents.groups.items():
        if stem == "" or stem in (*_ADJACENCY, *_FEATURES):
            yield from group.values()
    known = {*_ADJACENCY, *_FEATURES, *_LABELS, *_SOURCE, *_TARGET, *_WEIGHTS, "numnodes"}
    for name, member in contents.singles.items():
        if name in known or _mask_of(name):
            yield member


def _mask_of(name: str) -> tuple[str, str] | None:
    """("train", "mask") of train_mask, ("validation", "rows") of idx_val, of a plain name."""
    stripped = re.sub(r"mask|idx|index|indices|nodes", "", name)
    rows = any(word in name for word in ("idx", "index", "indices", "nodes"))
    return (_MASKS[stripped], "rows" if rows else "mask") if stripped in _MASKS else None


def _part(contents: _Contents, arrays: Arrays) -> Part:
    part = Part(file=contents.file)
    _take_sparse(contents, arrays, part)
    _take_singles(contents, arrays, part)
    _take_masks(contents, arrays, part)
    return part


def _take_sparse(contents: _Contents, arrays: Arrays, part: Part) -> None:
    for stem, group in contents.groups.items():
        if stem and stem not in (*_ADJACENCY, *_FEATURES):
            continue
        called = f"{stem or 'the matrix'} in {contents.file}"
        matrix = sparse_matrix({name: arrays[member] for name, member in group.items()}, called)
        # SciPy's own files name nothing: there the file's name and the shape tell
        unnamed = stem == "" and "shape" in group
        if stem in _FEATURES or (unnamed and (matrix.shape[0] != matrix.shape[1] or _names_features(contents.file))):
            part.features = matrix
        else:
            _take_adjacency(matrix, part)


def _names_features(file: str) -> bool:
    return bool(re.search(r"feat|attr", PurePath(file).stem.casefold()))


def _take_adjacency(matrix: sparse.csr_array[Any], part: Part) -> None:
    if matrix.shape[0] != matrix.shape[1]:
        raise GraphError(f"the adjacency matrix has shape {matrix.shape}; it must be square.")
    source = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    part.edges = Edges(source, matrix.indices.astype(np.int64), matrix.data, file=part.file)
    part.num_nodes = int(matrix.shape[0])


def _take_singles(contents: _Contents, arrays: Arrays, part: Part) -> None:
    found = {name: arrays[member] for name, member in contents.singles.items() if member in arrays}

    def chosen(names: Sequence[str], taken: bool) -> str | None:
        """The first of these names that is there; what says the same by another name is left out with a note."""
        there = [name for name in names if name in found]
        unused = [contents.singles[name] for name in (there if taken else there[1:])]
        if unused:
            part.notes.append(f"{contents.file}: not used, another array says the same: {', '.join(unused)}.")
        return None if taken or not there else there[0]

    if links := chosen(_ADJACENCY, part.edges is not None):
        _take_links(found[links], links, part)
    if features := chosen(_FEATURES, part.features is not None):
        part.features = found[features]
    if labels := chosen(_LABELS, False):
        part.labels = found[labels]
    if "numnodes" in found and found["numnodes"].size == 1 and found["numnodes"].dtype.kind in "iu":
        part.num_nodes = int(found["numnodes"].reshape(-1)[0])
    part.notes += [
        f"{contents.file}: {contents.singles[name]} is dropped: every edge counts the same."
        for name in found
        if name in _WEIGHTS
    ]
    ends = [next((name for name in names if name in found), None) for names in (_SOURCE, _TARGET)]
    if part.edges is None and all(ends):
        source, target = (whole_numbers(found[str(end)], f"{end} in {contents.file}") for end in ends)
        part.edges = Edges(source, target, file=part.file)
    if len(arrays) == 1 and part.edges is None and part.features is None and part.labels is None:
        _take_by_shape(next(iter(arrays.values())), part)


def _take_links(array: NDArray[Any], name: str, part: Part) -> None:
    """A dense adjacency matrix, or a list of links (2, E) or (E, 2)."""
    if array.ndim != 2:
        raise GraphError(f"{name} in {part.file} has shape {array.shape}; (2, links) or (nodes, nodes) is needed.")
    listed = name in _LINKS or (2 in array.shape and array.shape != (2, 2))
    if listed and array.shape[0] != 2 and array.shape[1] not in (2, 3):
        raise GraphError(f"{name} in {part.file} has shape {array.shape}; (2, links) or (links, 2) is needed.")
    if listed:
        rows = array if array.shape[0] == 2 else array.T
        source, target = (whole_numbers(np.ascontiguousarray(row), f"{name} in {part.file}") for row in rows[:2])
        part.edges = Edges(source, target, rows[2] if len(rows) > 2 else None, file=part.file)
        return
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise GraphError(f"{name} in {part.file} holds something else than numbers: 0 for no link, 1 for one.")
    _take_adjacency(sparse.csr_array(numbers_of(array, name)), part)


def _take_by_shape(array: NDArray[Any], part: Part) -> None:
    """One array whose name says nothing."""
    if array.ndim == 1:
        part.labels = array
    elif array.ndim == 2 and (array.shape[0] == array.shape[1] or (2 in array.shape and array.dtype.kind in "iu")):
        _take_links(array, "edges" if 2 in array.shape else "adj", part)
    else:
        part.features = array


def _take_masks(contents: _Contents, arrays: Arrays, part: Part) -> None:
    size = part.num_nodes or part.num_rows or 0
    for name, member in contents.singles.items():
        told = _mask_of(name)
        if told is None or member not in arrays:
            continue
        values = arrays[member]
        if told[1] == "rows" and values.dtype.kind != "b":
            if not size:
                raise GraphError(f"{member} in {contents.file} lists nodes, but nothing in the file says how many.")
            rows = whole_numbers(values.reshape(-1), f"{member} in {contents.file}")
            check_places(rows, size, f"{member} in {contents.file}")
            mask = np.zeros(size, bool)
            mask[rows] = True
        elif values.dtype.kind == "b" or (values.dtype.kind in "iuf" and set(np.unique(values)) <= {0, 1}):
            mask = values.astype(bool)
        else:
            raise GraphError(f"{member} in {contents.file} is no mask: it holds more than True and False.")
        part.masks[told[0]] = mask
