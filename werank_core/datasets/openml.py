"""MNIST, Fashion-MNIST and CIFAR-10 from OpenML through scikit-learn: fetched once, checked, kept as plain arrays.

Loads neither torch nor a pickle; whether a data set is there can be asked without reading it.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from werank_core.datasets.downloads import Say, drafts, patience, silent, what_happened
from werank_core.datasets.errors import DataError, ImageError
from werank_core.datasets.image_files import LabelledImages, load_image_file, save_image_file

Pixels = NDArray[np.uint8]


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


def load_images(name: str, root: Path, *, entry: ImageEntry | None = None) -> LabelledImages:
    """A downloaded data set.

    Args:
        name: a key of `CATALOGUE`.
        root: the data folder.
        entry: counts to hold it against instead of the catalogue's (smaller replies).
    Returns:
        Pixels (N, c·h·w) in 0..255, channel by channel and row by row, and labels (N,) in 0..K−1.
    Raises:
        ImageError: not downloaded, or a file that is not this data set.
    """
    entry = entry or CATALOGUE[name]
    path = image_path(entry, root)
    if not path.exists():
        raise ImageError(
            f"{entry.title} is not downloaded yet: fetch it (python -m werank_core data fetch {name}), or choose "
            "digits."
        )
    found = load_image_file(path, entry.shape)
    check_images(entry, found.images, found.labels)
    return found


def download_images(entry: ImageEntry, root: Path, on_progress: Say = silent) -> Path:
    """Fetch a data set, check it and keep it as arrays.

    Returns: the file it lies in, renamed into place when whole; nothing else of the download stays.
    Raises: ImageError: no network, or a reply that is not this data set.
    """
    path = image_path(entry, root)
    try:
        with drafts(path.parent, entry.name) as folder:
            on_progress(f"{entry.title}: downloading from OpenML")
            images, labels = _fetched(entry, folder)
            check_images(entry, images, labels)
            on_progress(f"{entry.title}: {len(labels):,} images in {entry.num_classes} classes, as published")
            save_image_file(LabelledImages(images, labels, entry.shape), path)
    except DataError as error:
        raise ImageError(str(error)) from error
    except OSError as error:
        raise ImageError(f"{entry.title} cannot be kept in {path.parent}: {error.strerror or error}.") from error
    return path


def _fetched(entry: ImageEntry, folder: Path) -> tuple[Pixels, NDArray[np.int64]]:
    """Pixels and class numbers (sorted class names become 0..K−1) as scikit-learn reads them from OpenML."""
    from sklearn.datasets import fetch_openml

    try:
        with warnings.catch_warnings(), patience():
            warnings.simplefilter("ignore")
            reply: Any = fetch_openml(
                data_id=entry.data_id,
                data_home=str(folder),
                as_frame=False,
                parser="pandas",
                n_retries=1,
                delay=0.5,
                # column types as pandas infers them: scikit-learn 1.9 asks for categories, which pandas 3 makes of
                # numbers, and then fails on them as if they were text
                read_csv_kwargs={"dtype": {}},
            )
        pixels, labels = np.asarray(reply.data), np.unique(np.asarray(reply.target), return_inverse=True)[1]
        # NaN fails both comparisons
        sound = np.issubdtype(pixels.dtype, np.number) and pixels.min() >= 0 and pixels.max() <= 255
    except Exception as error:
        # whatever a broken network or reply makes scikit-learn and pandas raise
        raise ImageError(
            f"{entry.title} could not be downloaded from OpenML: {what_happened(error, folder)}; digits and mixture "
            "need no download."
        ) from error
    if not sound:
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
