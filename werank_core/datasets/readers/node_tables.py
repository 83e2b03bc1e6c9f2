"""Node tables: which column is the id, the class, a split or a feature, said back in notes."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.limits import MOST_FEATURES
from werank_core.datasets.readers.parts import Part, as_dense_labels, text_ids
from werank_core.datasets.readers.tables import IDS, LABELS, WEAK_IDS, Table, bare

_PARTS = {"train": "train", "training": "train", "val": "validation", "valid": "validation",
          "validation": "validation", "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip
_NUMBER_LIST = re.compile(r"^\[?\s*[-+.\deE]+(?:\s*[, ]\s*[-+.\deE]+)*\s*\]?$")


def nodes_part(table: Table, *, least_labels: Sequence[str] = (), skip_words: bool = False) -> Part:
    """The rows of a node table; a column that says nothing else is a feature.

    Args: least_labels, names that are taken as classes where no usual one is there; skip_words, leave a column out that
        holds words, with a note, instead of refusing it.
    Raises: GraphError: a feature that is no number, an id twice.
    """
    part = Part(num_nodes=len(table.frame), notes=table.notes, file=table.name)
    left = list(range(len(table.columns)))
    _take_ids(table, part, left)
    _take_masks(table, part, left)
    _take_labels(table, part, left, least_labels)
    part.features = _features(table, part, left, skip_words)
    return part


def _take_ids(table: Table, part: Part, left: list[int]) -> None:
    frame, place = table.frame, table.find(*IDS)
    unnamed = 0 if table.named and bare(table.columns[0]) in ("", "unnamed0") else None
    if place is None and unnamed is None:
        if not table.named and len(left) > 1 and frame[0].notna().all() and frame[0].is_unique:
            ids = text_ids(frame[0])
            if pd.to_numeric(ids, errors="coerce").notna().all():
                part.likely_ids = ids
            else:
                part.node_ids = ids
                left.remove(0)
        return
    if place is not None and unnamed is not None:
        left.remove(unnamed)
        part.notes.append(f"{table.name}: the first column has no name and is taken as row numbers; it is not used.")
    elif place is None:
        place = unnamed
        part.notes.append(f"{table.name}: the first column has no name and is taken as node ids.")
    elif bare(table.columns[place]) != "node":
        part.notes.append(f"{table.name}: column {table.called(place)} is taken as node ids.")
    assert place is not None
    left.remove(place)
    ids = text_ids(frame[place])
    part.weak_ids = bare(table.columns[place]) in WEAK_IDS
    if part.weak_ids and (ids.isna().any() or ids.duplicated().any()):
        part.notes.pop()
        part.notes.append(f"{table.name}: column {table.called(place)} is not used.")
        return
    if ids.isna().any():
        raise GraphError(f"{table.name}: row {int(np.flatnonzero(ids.isna())[0]) + 1} has no node id.")
    if ids.duplicated().any():
        raise GraphError(f"node {str(ids[ids.duplicated()].iloc[0])[:60]!r} stands in {table.name} twice.")
    part.node_ids = ids


def _take_masks(table: Table, part: Part, left: list[int]) -> None:
    for place in list(left):
        name, values = bare(table.columns[place]), table.frame[place]
        mask = _PARTS.get(name.removesuffix("mask")) if name.endswith("mask") else None
        if mask:
            words = values.astype("str").str.casefold().fillna("false")
            if set(words) <= {"true", "false", "1", "0", "1.0", "0.0"}:
                part.masks[mask] = words.isin(("true", "1", "1.0")).to_numpy(bool)
                left.remove(place)
        elif name in ("split", "set", "part", "fold"):
            words = values.astype("str").str.casefold().map(_PARTS)
            if words.notna().any() and words[values.notna()].notna().mean() > 0.5:
                part.masks |= {one: (words == one).to_numpy(bool) for one in ("train", "validation", "test")}
                left.remove(place)


def _take_labels(table: Table, part: Part, left: list[int], least_names: Sequence[str]) -> None:
    names = {bare(table.columns[place]): place for place in reversed(left)} if table.named else {}
    candidates = [names[name] for name in (*LABELS, *least_names) if name in names]
    named_after = PurePath(table.name).stem.casefold()
    if not table.named and re.search("feat|attr", named_after) and "label" not in named_after:
        return  # a file of features alone
    fewest = 1 if re.search("label|class", named_after) else 1 + (part.likely_ids is not None)
    if not table.named and len(left) > fewest:
        candidates = [left[-1]]
    elif not table.named and len(left) == 1:
        candidates = left[:]
    if not candidates:
        return
    chosen = candidates[0]
    if len(candidates) > 1 and len(table.frame) > 3 and table.frame[chosen].is_unique:
        part.notes.append(
            f"{table.name}: column {table.called(chosen)} names every node and is not used; classes are those of "
            f"{table.called(candidates[1])}."
        )
        left.remove(chosen)
        chosen = candidates[1]
    left.remove(chosen)
    part.labels = as_dense_labels(table.frame[chosen])
    for place in [place for place in candidates if place in left]:
        if _says_the_same(table.frame[place], table.frame[chosen]):
            left.remove(place)
            part.notes.append(
                f"{table.name}: column {table.called(place)} says the same as the classes and is not used."
            )


def _says_the_same(one: pd.Series, other: pd.Series) -> bool:
    """Whether two columns are the same classes by other names: as a feature it would give the classes away."""
    pairs = pd.DataFrame({"one": one.astype("str"), "other": other.astype("str")}).dropna().drop_duplicates()
    return bool(len(pairs) and pairs["one"].is_unique and pairs["other"].is_unique)


def _features(
    table: Table, part: Part, left: list[int], skip_words: bool
) -> NDArray[np.float64] | sparse.csr_array | None:
    columns, widths = [], []
    for place in left:
        values = table.frame[place]
        if values.isna().all():
            part.notes.append(f"{table.name}: column {table.called(place)} is empty and not used.")
            continue
        if len(left) == 1 and _is_list(values):
            return _lists(values, table, part, place)
        found = _numbers(values, table, part, place)
        if found is None and skip_words:
            part.notes.append(f"{table.name}: column {table.called(place)} holds words and is not used.")
            continue
        if found is None:
            raise GraphError(_no_number(values, table, place))
        columns.append(found)
        widths.append(place)
    if not columns:
        return None
    matrix = np.stack(columns, axis=1)
    gaps = np.isnan(matrix)
    if gaps.any():
        row, column = (int(found[0]) for found in gaps.nonzero())
        raise GraphError(
            f"{table.name}: {int(gaps.sum()):,} cells of feature columns are empty (first: row {row + 1}, column "
            f"{table.called(widths[column])}): fill or drop them."
        )
    return matrix


def _numbers(values: pd.Series, table: Table, part: Part, place: int) -> NDArray[Any] | None:
    """A column as numbers, NaN where empty; None where a cell is none."""
    if pd.api.types.is_bool_dtype(values.dtype):
        return values.to_numpy(np.float64)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.to_numpy(np.float64, na_value=np.nan)
    words = values.astype("str")
    lower = words.str.casefold()
    if set(lower.dropna().unique()) <= {"true", "false", "yes", "no"}:
        return lower.map({"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}).to_numpy(np.float64, na_value=np.nan)
    comma = words.str.fullmatch(r"[+-]?\d*,?\d+(?:[eE][+-]?\d+)?").fillna(True)
    if comma.all() and words.str.contains(",").any():
        note = f"{table.name}: decimal commas are read as points."
        if note not in part.notes:
            part.notes.append(note)
        words = words.str.replace(",", ".")
    numbers = pd.to_numeric(words, errors="coerce")
    if (numbers.isna() & words.notna()).any():
        return None
    return np.asarray(numbers.to_numpy(np.float64, na_value=np.nan))


def _no_number(values: pd.Series, table: Table, place: int) -> str:
    numbers = pd.to_numeric(values, errors="coerce")
    row = int(np.flatnonzero((numbers.isna() & values.notna()).to_numpy())[0])
    return (
        f"feature column {table.called(place)} of {table.name} is not numeric (row {row + 1}: "
        f"{str(values.iloc[row])[:40]!r}): leave it out or encode it."
    )


def _is_list(values: pd.Series) -> bool:
    """Whether cells hold several numbers: "0,1,0"; a single comma in every cell is a decimal comma."""
    if not (isinstance(values.dtype, pd.StringDtype) or values.dtype == object):
        return False
    cells = values.dropna().astype("str")
    separators = cells.str.count(r"[,\s]+")
    several = separators.max() > 1 or separators.nunique() > 1
    return bool(several and cells.head(100).map(lambda cell: bool(_NUMBER_LIST.match(cell))).all())


def _lists(values: pd.Series, table: Table, part: Part, place: int) -> NDArray[np.float64] | sparse.csr_array:
    """A column of number lists, "0,1,0": values where all are equally long, else numbers of the features a node has."""
    cells = [re.split(r"[,\s]+", cell.strip("[] ")) if isinstance(cell, str) else [] for cell in values]
    lengths = {len(cell) for cell in cells}
    try:
        if len(lengths) == 1:
            part.notes.append(f"{table.name}: column {table.called(place)} is read as {lengths.pop():,} features.")
            return np.array(cells, dtype=np.float64)
        places = np.array([int(number) for cell in cells for number in cell])
    except ValueError as error:
        raise GraphError(f"{table.name}: column {table.called(place)} holds a list with {error}.") from error
    if places.min() < 0 or places.max() >= MOST_FEATURES:
        raise GraphError(
            f"{table.name}: lists of column {table.called(place)} differ in length and are read as numbers of "
            f"features, but reach from {places.min()} to {places.max()}."
        )
    part.notes.append(
        f"{table.name}: lists of column {table.called(place)} differ in length; they are read as the numbers of the "
        "features that a node has."
    )
    rows = np.repeat(np.arange(len(cells)), [len(cell) for cell in cells])
    return sparse.csr_array((np.ones(len(places)), (rows, places)), shape=(len(cells), int(places.max()) + 1))
