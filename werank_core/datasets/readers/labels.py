"""Labels as people write them, to class numbers: which samples have none, which classes are too small."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from werank_core.datasets.errors import DataError
from werank_core.datasets.readers.limits import LEAST_CLASS, MOST_CLASSES

_SHOWN = 12


@dataclass
class Classes:
    """Class numbers `(N,)` in 0..K−1, −1 for a sample without a label, and the names they stand for."""

    numbers: NDArray[np.int64]
    names: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def num_unlabelled(self) -> int:
        """Samples without a label."""
        return int((self.numbers < 0).sum())


def classes_of(labels: NDArray[Any], num_samples: int, *, what: str = "node", drop_small: bool = False) -> Classes:
    """Class numbers of raw labels: classes are numbered in sorted order.

    No label have: −1 among numbers that are otherwise not negative (−1 and 1 alone are two classes), NaN, an empty
    text, a row of zeros where labels are one-hot. Every other text is a class, None and NA included.
    Args: labels (N,), or one-hot (N, K); what, a sample in words; drop_small, leave classes of fewer than
        `LEAST_CLASS` samples without label instead of refusing them.
    Raises: DataError: another shape or kind, fewer than two classes or too many, a class that is too small.
    """
    flat, notes = _flat(labels, num_samples, what)
    values, present = _values(flat, notes)
    names, numbers = np.unique(values[present], return_inverse=True)
    found = np.full(num_samples, -1, dtype=np.int64)
    found[present] = numbers
    if len(names) > MOST_CLASSES and len(names) > num_samples / LEAST_CLASS:
        raise DataError(
            f"labels have {len(names):,} different values for {num_samples:,} {what}s: they look like measurements or "
            f"names; classes are needed, at most {MOST_CLASSES}."
        )
    classes = Classes(found, [_short(name) for name in names], notes)
    _check_sizes(classes, what, drop_small)
    shown = ", ".join(classes.names[:_SHOWN]) + (", ..." if len(classes.names) > _SHOWN else "")
    if classes.names != [str(number) for number in range(len(classes.names))]:
        notes.append(f"Classes, numbered from 0 in this order: {shown}.")
    if count := classes.num_unlabelled:
        notes.append(f"{count:,} {what}{'s have' if count > 1 else ' has'} no label.")
    return classes


def _short(name: Any) -> str:
    """A class's name in one line, cut where it is long."""
    line = "".join(c if c.isprintable() else " " for c in str(name))
    return line if len(line) <= 40 else f"{line[:37]}..."


def _flat(labels: NDArray[Any], num_samples: int, what: str) -> tuple[NDArray[Any], list[str]]:
    if labels.ndim == 2 and 1 in labels.shape and num_samples in labels.shape:
        labels = labels.reshape(-1)
    if labels.ndim == 2 and labels.shape[0] == num_samples and labels.dtype.kind in "biuf":
        hot = labels != 0
        if (hot.sum(axis=1) > 1).any():
            raise DataError(
                f"labels have shape {labels.shape}, and {int((hot.sum(axis=1) > 1).sum()):,} {what}s have several "
                f"classes: one class a {what} is needed."
            )
        numbers = np.where(hot.any(axis=1), hot.argmax(axis=1), -1)
        return numbers, [f"Labels {labels.shape} are read as one column a class."]
    if labels.shape != (num_samples,):
        raise DataError(f"labels have shape {labels.shape}; one for each of the {num_samples:,} {what}s is needed.")
    return labels, []


def _values(labels: NDArray[Any], notes: list[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Labels of one sortable kind, and which of them are there."""
    if labels.dtype.kind in "OUST":
        text = pd.Series([label.decode("utf-8", "replace") if isinstance(label, bytes) else label for label in labels])
        words = text.astype("str").str.strip().replace("", None)
        numbers = pd.to_numeric(words, errors="coerce")
        if (numbers.notna() | words.isna()).all():
            # "1" and "1.0" are one class, "01" and "1" two, and so are numbers that agree in their first 16 digits
            there = numbers.dropna()
            whole = (there == there.round()).all() and (there.abs() < 2**53).all()
            if whole and not words.dropna().str.fullmatch(r"[+-]?0\d+").any():
                return _numbers(numbers.to_numpy(np.float64, na_value=np.nan), notes)
        present = words.notna().to_numpy()
        return words.fillna("").to_numpy().astype("U"), present
    if labels.dtype.kind == "b":
        return labels.astype(np.int64), np.ones(len(labels), bool)
    if labels.dtype.kind not in "iuf":
        raise DataError(f"labels are of kind {labels.dtype}; whole numbers or text are needed.")
    return _numbers(labels, notes)


def _numbers(labels: NDArray[Any], notes: list[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    if labels.dtype.kind == "f" and np.isinf(labels).any():
        raise DataError("labels hold infinite numbers; classes are needed.")
    present = ~np.isnan(labels) if labels.dtype.kind == "f" else np.ones(len(labels), bool)
    there = labels[present]
    if labels.dtype.kind == "f" and (there == np.round(there)).all() and (np.abs(there) < 2**53).all():
        labels = np.where(present, labels, -1).astype(np.int64)
    negative = set(np.unique(labels[present & (labels < 0)]).tolist())
    if negative == {-1} and set(np.unique(labels[present]).tolist()) != {-1, 1}:
        present &= labels != -1
    elif negative:
        notes.append("Negative labels are taken as classes; only a -1 among 0, 1, 2, ... stands for no label.")
    return labels, present


def _check_sizes(classes: Classes, what: str, drop_small: bool) -> None:
    sizes = np.bincount(classes.numbers[classes.numbers >= 0], minlength=len(classes.names))
    small = np.flatnonzero(sizes < LEAST_CLASS)
    if len(small) and drop_small:
        _drop(classes, small, what)
    elif len(small):
        listed = ", ".join(f"{classes.names[k]} ({sizes[k]})" for k in small[:5]) + ", ..." * (len(small) > 5)
        raise DataError(
            f"{_counted(len(small), 'class', 'es')} of fewer than {LEAST_CLASS} {what}s: {listed}. A class needs one "
            "to train, one to choose and one to test on: merge classes, or let small ones be dropped."
        )
    if len(classes.names) < 2:
        raise DataError(f"there must be at least two classes; the labels have {len(classes.names)}.")
    if len(classes.names) > MOST_CLASSES:
        raise DataError(f"labels have {len(classes.names):,} classes; at most {MOST_CLASSES} are possible.")


def _counted(count: int, word: str, plural: str) -> str:
    return f"{count:,} {word}{plural if count > 1 else ''}"


def _drop(classes: Classes, small: Sequence[int] | NDArray[np.int64], what: str) -> None:
    gone = [classes.names[k] for k in small]
    count = int(np.isin(classes.numbers, small).sum())
    kept = np.setdiff1d(np.arange(len(classes.names)), small)
    renumbered = np.full(len(classes.names) + 1, -1)
    renumbered[kept] = np.arange(len(kept))
    classes.numbers = renumbered[classes.numbers]
    classes.names = [classes.names[k] for k in kept]
    listed = ", ".join(gone[:5]) + ", ..." * (len(gone) > 5)
    classes.notes.append(
        f"{_counted(len(gone), 'class', 'es')} of fewer than {LEAST_CLASS} {what}s dropped ({listed}): "
        f"{_counted(count, what, 's')} without a label."
    )
