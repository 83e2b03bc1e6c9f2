"""Images as the data folder keeps them: rows of pixels, class numbers and the shape of an image in one npz file."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from werank_core.datasets.errors import DataError, ImageError
from werank_core.datasets.readers.npz import read_arrays, save_arrays

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Pixels (N, c·h·w), channel by channel and row by row, labels (N,) int64 in 0..K−1, and (c, h, w)."""

    images: Pixels
    labels: NDArray[np.int64]
    shape: tuple[int, int, int]


def image_arrays(found: LabelledImages) -> dict[str, NDArray[Any]]:
    """Everything that makes a data set of images, by the names under which it is kept."""
    return {"images": found.images, "labels": found.labels, "shape": np.array(found.shape, dtype=np.int64)}


def save_image_file(found: LabelledImages, path: Path) -> None:
    """Write images to one npz file, which appears whole or not at all."""
    save_arrays(image_arrays(found), path)


def load_image_file(path: Path, shape: tuple[int, int, int] | None = None) -> LabelledImages:
    """The images in a file that `save_image_file` wrote; `shape` for one that does not say it.

    Raises:
        ImageError: the file is damaged.
    """
    try:
        arrays: Mapping[str, NDArray[Any]] = read_arrays(path, most_bytes=sys.maxsize)
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
        channels, height, width = arrays["shape"].tolist() if "shape" in arrays else shape or (1, 1, images.shape[1])
        if images.shape != (len(labels), channels * height * width):
            raise ImageError(f"it holds {images.shape} pixels for {len(labels)} labels")
        return LabelledImages(images, labels, (channels, height, width))
    except (DataError, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ImageError(f"{path.name} is not readable ({error}): delete {path} and add or fetch it again.") from error
