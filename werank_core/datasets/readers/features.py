"""Features of a graph's nodes: those of the files, checked for what training bears, or others in their place."""

from typing import Any, Literal

import numpy as np
from scipy import sparse

from werank_core.datasets.errors import GraphError
from werank_core.datasets.graph_data import Features, compact_features
from werank_core.datasets.readers.limits import LARGEST_FEATURE, MOST_BYTES, MOST_FEATURES, megabytes

FeatureChoice = Literal["given", "identity", "degree", "constant"]
_ROWS_AT_ONCE = 4096


def graph_features(given: Any, adjacency: sparse.csr_array[Any], choice: FeatureChoice, notes: list[str]) -> Features:
    """The features that a graph is trained with: those of its files, or what was chosen in their place.

    Args: given (N, D) or None; notes, to which it adds what happened.
    Raises: GraphError: there are none, or they cannot be trained on.
    """
    if choice == "given":
        if given is None or not given.shape[1]:
            raise GraphError("the nodes have no features: choose identity, degree or constant in their place.")
        return checked_features(given, notes)
    if given is not None and given.shape[1]:
        notes.append(f"The {given.shape[1]:,} feature columns of the files are not used.")
    made = _made_features(adjacency, choice)
    words = {"identity": "one column a node", "degree": "one column for every degree that occurs", "constant": "ones"}
    notes.append(f"Features: {words[choice]}, {made.shape[1]:,} in all.")
    return made


def _made_features(adjacency: sparse.csr_array[Any], choice: FeatureChoice) -> Features:
    num_nodes = int(adjacency.shape[0])
    if choice == "constant":
        return np.ones((num_nodes, 1), dtype=np.float32)
    kinds = np.arange(num_nodes) if choice == "identity" else np.diff(adjacency.indptr)
    column = np.unique(kinds, return_inverse=True)[1]
    ones = np.ones(num_nodes, dtype=np.float32)
    return compact_features(
        sparse.csr_array((ones, (np.arange(num_nodes), column)), shape=(num_nodes, int(column.max()) + 1))
    )


def checked_features(features: Any, notes: list[str]) -> Features:
    """Features as float32, dense or sparse as it pays.

    Raises: GraphError: no numbers, missing or infinite ones, complex ones, or larger than training in float32 bears.
    """
    if features.shape[1] > MOST_FEATURES:
        raise GraphError(f"features have {features.shape[1]:,} columns; at most {MOST_FEATURES:,} are possible.")
    numbers = features.data if sparse.issparse(features) else features
    if numbers.dtype.kind == "c":
        raise GraphError("features are complex; give real and imaginary parts as columns of their own.")
    if numbers.dtype.kind not in "biuf":
        raise GraphError(f"features are of kind {numbers.dtype}; they must be numbers.")
    bad = largest = lost = 0.0
    for start in range(0, len(numbers), _ROWS_AT_ONCE):
        rows = numbers[start : start + _ROWS_AT_ONCE]
        finite = np.isfinite(rows)
        bad += rows.size - np.count_nonzero(finite)
        if rows.size and finite.any():
            largest = max(largest, float(np.abs(rows[finite].astype(np.float64)).max()))
            lost += np.count_nonzero((rows != 0) & (rows.astype(np.float32) == 0)) if largest <= LARGEST_FEATURE else 0
    if bad:
        raise GraphError(f"{int(bad):,} feature values are NaN or infinite: fill or drop them.")
    if largest > LARGEST_FEATURE:
        raise GraphError(
            f"feature values reach {largest:.3g}; training in float32 bears {LARGEST_FEATURE:.0e}: scale them down."
        )
    if lost:
        notes.append(f"{int(lost):,} feature values are too small for float32 and become 0.")
    if sparse.issparse(features) and features.nnz * 8 > MOST_BYTES:
        raise GraphError(f"features have {features.nnz:,} stored values; at most {megabytes(MOST_BYTES)} are read.")
    if sparse.issparse(features):
        features.sum_duplicates()
        features.eliminate_zeros()
    return compact_features(features)
