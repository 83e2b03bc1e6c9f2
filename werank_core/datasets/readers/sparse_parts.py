"""Matrices that are saved in sparse parts, and the whole numbers in them: checked before SciPy sees them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.limits import MOST_FEATURES, MOST_NODES

Arrays = Mapping[str, NDArray[Any]]


def sparse_matrix(parts: Arrays, called: str) -> sparse.csr_array[Any]:
    """A matrix from its CSR, CSC or COO parts, checked before SciPy sees it.

    Raises: GraphError: parts that do not fit together.
    """
    shape = _shape(parts, called)
    kind = _text(parts["format"]) if "format" in parts else "csr"
    if "data" in parts:
        parts = {**parts, "data": numbers_of(parts["data"], f"data of {called}")}
    if "row" in parts and "col" in parts:
        row, col = whole_numbers(parts["row"], f"row of {called}"), whole_numbers(parts["col"], f"col of {called}")
        check_places(row, shape[0], f"row of {called}")
        check_places(col, shape[1], f"col of {called}")
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
    check_places(indices, width, f"indices of {called}")
    data = parts.get("data", np.ones(len(indices), np.float32))
    if data.shape != indices.shape:
        raise GraphError(f"data and indices of {called} have shapes {data.shape} and {indices.shape}.")
    made = (sparse.csr_array if kind == "csr" else sparse.csc_array)((data, indices, indptr), shape=shape)
    return sparse.csr_array(made)


def _text(array: NDArray[Any]) -> str:
    """The text in an array of one, as SciPy keeps a matrix's format."""
    return str(array.astype("U").reshape(-1)[0]) if array.size == 1 else str(array.shape)


def numbers_of(values: NDArray[Any], called: str) -> NDArray[Any]:
    """Numbers of a kind that SciPy takes.

    Raises: GraphError: something else than numbers.
    """
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


def check_places(places: NDArray[np.int64], size: int, called: str) -> None:
    """Whether all are numbers of rows.

    Raises: GraphError: one is below 0, or not below `size`.
    """
    if places.size and (places.min() < 0 or places.max() >= size):
        worst = places.min() if places.min() < 0 else places.max()
        raise GraphError(f"{called} holds {worst}; numbers from 0 to {size - 1} are needed.")
