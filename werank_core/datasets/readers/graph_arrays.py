"""Graphs in NumPy's files, whatever the arrays are called: CSR parts, edge lists, dense matrices, SciPy's own files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.files import Brought
from werank_core.datasets.readers.limits import MOST_FEATURES, MOST_NODES
from werank_core.datasets.readers.npz import Header, array_headers, read_arrays
from werank_core.datasets.readers.parts import Edges, Part

_LINKS = ("edges", "edgeindex", "edgeindices", "edgelist", "links")
_ADJACENCY = ("adj", "adjacency", "adjmatrix", "adjacencymatrix", "a", "graph", "network", *_LINKS)
_FEATURES = ("features", "x", "feat", "feats", "attr", "attrmatrix", "attributes", "nodefeatures", "nodefeat",
             "feature")  # fmt: skip
_LABELS = ("labels", "label", "y", "classes", "nodelabels", "class", "targets")
_SOURCE, _TARGET = ("source", "src", "row", "senders"), ("target", "dst", "col", "receivers")
_MASKS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
_PART = re.compile(r"^(.*?)[._]?(data|indices|indptr|shape|format|row|col)$")
_WEIGHTS = ("edgeweight", "edgeweights", "edgeattr", "weights", "weight", "edgefeatures")

Arrays = Mapping[str, NDArray[Any]]


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


def sparse_matrix(parts: Arrays, called: str) -> sparse.csr_array[Any]:
    """A matrix from its CSR, CSC or COO parts, checked before SciPy sees it.

    Raises: GraphError: parts that do not fit together.
    """
    shape = _shape(parts, called)
    kind = _text(parts["format"]) if "format" in parts else "csr"
    if "data" in parts:
        parts = {**parts, "data": _numbers(parts["data"], f"data of {called}")}
    if "row" in parts and "col" in parts:
        row, col = whole_numbers(parts["row"], f"row of {called}"), whole_numbers(parts["col"], f"col of {called}")
        _check_places(row, shape[0], f"row of {called}")
        _check_places(col, shape[1], f"col of {called}")
        data = parts.get("data", np.ones(len(row), np.float32))
        if not len(row) == len(col) == len(data):
            raise GraphError(f"row, col and data of {called} differ in length.")
        return sparse.csr_array(sparse.coo_array((data, (row, col)), shape=shape))
    if kind not in ("csr", "csc"):
        raise GraphError(f"{called} is saved as {kind!r}: convert it with tocsr() first.")
    indptr, indices = (whole_numbers(parts[name], f"{name} of {called}") for name in ("indptr", "indices"))
    lines, width = shape if kind == "csr" else shape[::-1]
    if len(indptr) != lines + 1 or indptr[0] != 0 or indptr[-1] != len(indices) or (np.diff(indptr) < 0).any():
        raise GraphError(
            f"indptr of {called} is not that of a {kind.upper()} matrix: it starts at 0, never falls, ends at the "
            "length of indices and has one entry more than there are rows."
        )
    _check_places(indices, width, f"indices of {called}")
    data = parts.get("data", np.ones(len(indices), np.float32))
    if data.shape != indices.shape:
        raise GraphError(f"data and indices of {called} have shapes {data.shape} and {indices.shape}.")
    made = (sparse.csr_array if kind == "csr" else sparse.csc_array)((data, indices, indptr), shape=shape)
    return sparse.csr_array(made)


def _text(array: NDArray[Any]) -> str:
    """The text in an array of one, as SciPy keeps a matrix's format."""
    return str(array.astype("U").reshape(-1)[0]) if array.size == 1 else str(array.shape)


def _numbers(values: NDArray[Any], called: str) -> NDArray[Any]:
    """Numbers of a kind that SciPy takes."""
    if values.dtype.kind not in "biufc":
        raise GraphError(f"{called} is of kind {values.dtype}; numbers are needed.")
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _shape(parts: Arrays, called: str) -> tuple[int, int]:
    if "shape" in parts:
        sizes = whole_numbers(parts["shape"], f"shape of {called}")
        if len(sizes) != 2 or sizes.min() < 0:
            raise GraphError(f"shape of {called} is {parts['shape'].tolist()}; two sizes are needed.")
        shape = int(sizes[0]), int(sizes[1])
    else:
        indptr = parts["indptr"]
        if indptr.ndim != 1 or indptr.size < 2:
            raise GraphError(f"indptr of {called} has shape {indptr.shape}; a row of numbers is needed.")
        # without a shape it is an adjacency matrix, and square
        shape = len(indptr) - 1, len(indptr) - 1
    if shape[0] > MOST_NODES or shape[1] > max(MOST_FEATURES, MOST_NODES):
        raise GraphError(
            f"{called} says it has {shape[0]:,} rows and {shape[1]:,} columns; at most {MOST_NODES:,} nodes and "
            f"{MOST_FEATURES:,} features are possible."
        )
    return shape


def whole_numbers(values: NDArray[Any], called: str) -> NDArray[np.int64]:
    """A row of whole numbers as int64; floats are taken where they are whole.

    Raises: GraphError: another shape, or something that is no whole number.
    """
    if values.ndim != 1:
        raise GraphError(f"{called} has shape {values.shape}; a row of whole numbers is needed.")
    if values.dtype.kind in "iu":
        if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise GraphError(f"{called} holds {int(values.max())}, which is no node number.")
        return values.astype(np.int64)
    if values.dtype.kind == "b" or values.dtype.kind not in "f":
        raise GraphError(f"{called} is of kind {values.dtype}; whole numbers are needed.")
    if not (np.isfinite(values).all() and (values == np.round(values)).all() and (np.abs(values) < 2**53).all()):
        odd = values[~(np.isfinite(values) & (values == np.round(values)))]
        raise GraphError(f"{called} holds {odd[0] if odd.size else values.max()}; whole numbers are needed.")
    return values.astype(np.int64)


def _check_places(places: NDArray[np.int64], size: int, called: str) -> None:
    if places.size and (places.min() < 0 or places.max() >= size):
        worst = places.min() if places.min() < 0 else places.max()
        raise GraphError(f"{called} holds {worst}; numbers from 0 to {size - 1} are needed.")


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
    _take_adjacency(sparse.csr_array(_numbers(array, name)), part)


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
            _check_places(rows, size, f"{member} in {contents.file}")
            mask = np.zeros(size, bool)
            mask[rows] = True
        elif values.dtype.kind == "b" or (values.dtype.kind in "iuf" and set(np.unique(values)) <= {0, 1}):
            mask = values.astype(bool)
        else:
            raise GraphError(f"{member} in {contents.file} is no mask: it holds more than True and False.")
        part.masks[told[0]] = mask
