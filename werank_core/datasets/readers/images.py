"""Images of one's own: an npz or npy file, or a table of pixels, as rows of numbers with class numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from werank_core.datasets.errors import DataError, ImageError
from werank_core.datasets.readers.files import Brought, kind_of, plain_text, unpacked
from werank_core.datasets.readers.labels import classes_of
from werank_core.datasets.readers.limits import LARGEST_FEATURE
from werank_core.datasets.readers.node_tables import nodes_part
from werank_core.datasets.readers.npz import array_headers, read_arrays
from werank_core.datasets.readers.tables import read_table

_IMAGES = ("images", "image", "x", "data", "pixels", "arr_0", "rows", "features")
_LABELS = ("labels", "label", "y", "target", "targets", "classes", "arr_1")
_MOST_PIXELS = 100_000
_ROWS_AT_ONCE = 4096


@dataclass
class ReadImages:
    """Rows of pixels (N, c·h·w), uint8 where they are whole numbers in 0..255 and float32 else; class numbers (N,)."""

    images: NDArray[Any]
    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    notes: list[str] = field(default_factory=list)


def read_images(files: Sequence[Brought], folder: Path, *, drop_small_classes: bool = False) -> ReadImages:
    """The images and classes in these files; images without a class are left out, with a note.

    Raises: ImageError: one sentence.
    """
    try:
        images, labels, notes = _images_and_labels([unpacked(file, folder) for file in files], folder)
        return _sound_images(images, labels, notes, drop_small_classes)
    except ImageError:
        raise
    except DataError as error:
        raise ImageError(str(error)) from error


def _images_and_labels(files: Sequence[Brought], folder: Path) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    kinds = {kind_of(file) for file in files}
    if kinds == {"table"} and len(files) == 1:
        part = nodes_part(read_table(plain_text(files[0], folder)))
        if part.labels is None or part.features is None:
            raise ImageError(f"{files[0].name} needs a column label and one column a pixel.")
        return np.asarray(part.features), part.labels, part.notes
    if kinds != {"arrays"}:
        raise ImageError("give one .npz file with the arrays images and labels, or one table with a column label.")
    arrays: dict[str, NDArray[Any]] = {}
    notes: list[str] = []
    for file in files:
        found = _chosen(file, notes)
        if twice := set(found) & set(arrays):
            raise ImageError(f"{sorted(twice)[0]} comes in two files: give it once.")
        arrays |= found
    images, labels = (_joined(arrays, names, notes) for names in (_IMAGES, _LABELS))
    if images is None or labels is None:
        absent = "images" if images is None else "labels"
        raise ImageError(f"the files have no {absent}; they hold {', '.join(arrays) or 'nothing that is used'}.")
    return images, labels, notes


def _chosen(file: Brought, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Arrays whose names say images or labels, by plain name."""
    headers = array_headers(file.path, file.name)
    if "" in headers:
        return {Path(file.name).stem.casefold(): read_arrays(file.path, name=file.name)[""]}
    wanted = {name for name in headers if _without_part(name.casefold())[0] in (*_IMAGES, *_LABELS)}
    if unused := [name for name in headers if name not in wanted]:
        notes.append(f"{file.name}: not used: {', '.join(unused[:6])}.")
    return {name.casefold(): array for name, array in read_arrays(file.path, wanted, name=file.name).items()}


def _without_part(name: str) -> tuple[str, str]:
    """("x", "train") of x_train and train_x."""
    for part in ("train", "test", "val"):
        for cut in (name.removesuffix(f"_{part}"), name.removeprefix(f"{part}_")):
            if cut != name:
                return cut, part
    return name, ""


def _joined(arrays: Mapping[str, NDArray[Any]], names: Sequence[str], notes: list[str]) -> NDArray[Any] | None:
    """The array of one of these names, or its parts train, val and test one after another."""
    for name in names:
        parts = {part: a for key, a in arrays.items() for stem, part in [_without_part(key)] if stem == name}
        if "" in parts:
            return parts[""]
        if parts:
            found = [parts[part] for part in ("train", "val", "test") if part in parts]
            if len({array.shape[1:] for array in found}) > 1:
                raise ImageError(f"parts of {name} have shapes {' and '.join(str(a.shape) for a in found)}.")
            if len(found) > 1 and names is _IMAGES:
                notes.append("Parts of the file (train, test) are put together; every seed splits them anew.")
            return np.concatenate(found)
    return None


def _sound_images(images: NDArray[Any], labels: NDArray[Any], notes: list[str], drop_small: bool) -> ReadImages:
    if images.dtype.kind not in "biuf":
        raise ImageError(f"images are of kind {images.dtype}; they must be numbers.")
    if images.ndim < 2 or not images.size:
        raise ImageError(
            f"images have shape {images.shape}; (N, height, width) or (N, channels, height, width) is needed."
        )
    shape, rows = _as_rows(images)
    if math.prod(shape) > _MOST_PIXELS:
        raise ImageError(
            f"images have {math.prod(shape):,} numbers each; at most {_MOST_PIXELS:,} are read: shrink them."
        )
    classes = classes_of(labels, len(rows), what="image", drop_small=drop_small)
    notes += classes.notes
    known = classes.numbers >= 0
    if not known.all():
        notes.append(f"{int((~known).sum()):,} images without a class are left out: training needs one.")
        rows = rows[known]
    channels, height, width = shape
    read_as = f"{height} x {width} pixels" + (f" in {channels} channels" if channels > 1 else "")
    notes.insert(
        0, f"Read as {len(rows):,} images of {read_as}." if height > 1 else f"Read as rows of {width} numbers."
    )
    return ReadImages(_compact(rows, notes), classes.numbers[known], shape, notes)


def _as_rows(images: NDArray[Any]) -> tuple[tuple[int, int, int], NDArray[Any]]:
    """(channels, height, width) and rows channel by channel."""
    if images.ndim == 2:
        side = math.isqrt(images.shape[1])
        return ((1, side, side) if side * side == images.shape[1] else (1, 1, images.shape[1])), images
    if images.ndim == 3:
        return (1, images.shape[1], images.shape[2]), images.reshape(len(images), -1)
    if images.ndim != 4:
        raise ImageError(f"images have shape {images.shape}; at most (N, channels, height, width) is possible.")
    second, last = images.shape[1], images.shape[3]
    if second not in (1, 3) and (last in (1, 3) or (last == 4 and second != 4)):
        images = images.transpose(0, 3, 1, 2)
    return (images.shape[1], images.shape[2], images.shape[3]), np.ascontiguousarray(images).reshape(len(images), -1)


def _compact(rows: NDArray[Any], notes: list[str]) -> NDArray[Any]:
    """uint8 or float32, whichever holds the pixels."""
    whole, largest = True, 0.0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        if not np.isfinite(part).all():
            raise ImageError("images hold NaN or infinite pixels: fill or drop them.")
        part = part.astype(np.float64)
        whole &= bool(part.min() >= 0 and part.max() <= 255 and (part == np.round(part)).all())
        largest = max(largest, float(np.abs(part).max()))
    if largest > LARGEST_FEATURE:
        raise ImageError(f"pixels reach {largest:.3g}; float32 bears {LARGEST_FEATURE:.0e}: scale them down.")
    if (rows == rows[:1]).all():
        raise ImageError("all images are the same: there is nothing to tell apart.")
    if not whole:
        notes.append("Pixels are kept as float32.")
    return rows.astype(np.uint8 if whole else np.float32)
