"""MNIST, Fashion-MNIST and CIFAR-10 from OpenML through scikit-learn: fetched once, checked, kept as plain arrays.

Loads neither torch nor a pickle; whether a data set is there can be asked without reading it. What an interrupted
download had finished stays in scikit-learn's cache beside the arrays: asking again goes on from there.
"""

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


class ImageError(ValueError):
    """One sentence that names what is wrong with an image data set and what to do."""


@dataclass(frozen=True)
class ImageEntry:
    """An image data set on OpenML and the counts it must have."""

    name: str
    title: str
    data_id: int
    num_images: int
    shape: tuple[int, int, int]
    num_classes: int = 10
    balanced: bool = True
    """Whether every class has equally many images."""

    @property
    def num_pixels(self) -> int:
        """Numbers an image: channels times height times width."""
        return int(np.prod(self.shape))


CATALOGUE: dict[str, ImageEntry] = {
    entry.name: entry
    for entry in (
        ImageEntry("mnist", "MNIST", 554, 70_000, (1, 28, 28), balanced=False),
        ImageEntry("fashion_mnist", "Fashion-MNIST", 40_996, 70_000, (1, 28, 28)),
        ImageEntry("cifar10", "CIFAR-10", 40_927, 60_000, (3, 32, 32)),
    )
}


def image_path(entry: ImageEntry, root: Path) -> Path:
    """Where the checked arrays of a data set lie."""
    return root / "images" / f"{entry.name}.npz"


def is_downloaded(name: str, root: Path) -> bool:
    """Whether the data set can be loaded without the network: renamed into place when whole, it is never half there."""
    return image_path(CATALOGUE[name], root).exists()


def load_images(name: str, root: Path, *, entry: ImageEntry | None = None) -> tuple[Pixels, NDArray[np.int64]]:
    """A data set, downloaded first where it is not there yet.

    Args:
        name: a key of `CATALOGUE`.
        root: the data folder.
        entry: counts to hold it against instead of the catalogue's (smaller replies).
    Returns:
        Pixels (N, c·h·w) in 0..255, channel by channel and row by row, and labels (N,) in 0..K−1.
    Raises:
        ImageError: no network, or a reply or file that is not this data set.
    """
    entry = entry or CATALOGUE[name]
    path = image_path(entry, root)
    if not path.exists():
        download_images(entry, root)
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["images"], file["labels"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ImageError(f"{path.name} is not readable: delete {path} and ask for {entry.title} again.") from error
    check_images(entry, images, labels)
    return images, labels


def download_images(entry: ImageEntry, root: Path, on_progress: Callable[[str], None] = lambda sentence: None) -> Path:
    """Fetch a data set, check it and keep it as arrays.

    Returns: the file it lies in, renamed into place when whole.
    Raises: ImageError as `load_images`.
    """
    on_progress(f"{entry.title}: downloading from OpenML")
    images, labels = _fetched(entry, root)
    check_images(entry, images, labels)
    on_progress(f"{entry.title}: {len(labels):,} images in {entry.num_classes} classes, as published")
    path = image_path(entry, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{entry.name}-") as folder:
        partial = Path(folder) / path.name
        np.savez_compressed(partial, images=images, labels=labels)
        os.replace(partial, path)
    return path


def _fetched(entry: ImageEntry, root: Path) -> tuple[Pixels, NDArray[np.int64]]:
    """Pixels and class numbers (sorted class names become 0..K−1) as scikit-learn reads them from OpenML."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reply: Any = fetch_openml(
                data_id=entry.data_id,
                data_home=str(root),
                as_frame=False,
                parser="pandas",
                n_retries=1,
                delay=0.5,
                # column types as pandas infers them: scikit-learn 1.9 asks for categories, which pandas 3 makes of
                # numbers, and then fails on them as if they were text
                read_csv_kwargs={"dtype": {}},
            )
    except OSError as error:
        raise ImageError(
            f"{entry.title} could not be downloaded from OpenML ({type(error).__name__}): check the network and ask "
            "again, or choose mixture or digits, which need no download."
        ) from error
    except (ValueError, KeyError, StopIteration) as error:
        raise ImageError(
            f"OpenML's reply for {entry.title} is not the data set ({error}): ask again later, or choose digits."
        ) from error
    pixels, labels = np.asarray(reply.data), np.unique(np.asarray(reply.target), return_inverse=True)[1]
    # NaN fails both comparisons
    if not np.issubdtype(pixels.dtype, np.number) or not (pixels.min() >= 0 and pixels.max() <= 255):
        raise ImageError(f"{entry.title} has pixels that are no numbers in 0..255: this is not the data set.")
    return pixels.round().astype(np.uint8), labels.astype(np.int64)


def check_images(entry: ImageEntry, images: NDArray[Any], labels: NDArray[Any]) -> None:
    """Hold shapes and class counts against what is published.

    Raises:
        ImageError: they differ, with both.
    """
    expected = (entry.num_images, entry.num_pixels)
    if images.shape != expected or labels.shape != expected[:1]:
        raise ImageError(
            f"{entry.title} has shape {images.shape} where {expected} is published: this is not the data set."
        )
    sizes = np.bincount(labels, minlength=entry.num_classes)
    if len(sizes) != entry.num_classes or sizes.min() == 0 or (entry.balanced and len(set(sizes.tolist())) > 1):
        raise ImageError(f"{entry.title} has classes of {sizes.tolist()} images: this is not the data set.")
