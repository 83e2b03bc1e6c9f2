"""Images of one's own: shapes and names that people have, all as rows of pixels channel by channel."""

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.readers.brought import Arrays
from werank_core.datasets.errors import ImageError
from werank_core.datasets.readers.files import Brought
from werank_core.datasets.readers.images import ReadImages, read_images

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 5)).astype(np.uint8)
LABELS = np.arange(12) % 3


def read(folder: Path, content: Arrays | str, *, drop_small_classes: bool = False) -> ReadImages:
    path = folder / "given"
    if isinstance(content, str):
        path.write_text(content)
    else:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **content)
    name = "pixels.csv" if isinstance(content, str) else "pixels.npz"
    return read_images([Brought(name, path)], folder, drop_small_classes=drop_small_classes)


@pytest.mark.parametrize(
    ("images", "shape", "rows"),
    [
        (PIXELS, (3, 4, 5), PIXELS.reshape(12, -1)),
        (PIXELS.transpose(0, 2, 3, 1), (3, 4, 5), PIXELS.reshape(12, -1)),
        (PIXELS[:, 0], (1, 4, 5), PIXELS[:, 0].reshape(12, -1)),
        (PIXELS[:, 0, :, :4].reshape(12, 16), (1, 4, 4), PIXELS[:, 0, :, :4].reshape(12, 16)),
        (PIXELS[:, 0, 0], (1, 1, 5), PIXELS[:, 0, 0]),
        (PIXELS[:, :1].astype(float), (1, 4, 5), PIXELS[:, 0].reshape(12, -1)),
    ],
    ids=["channels first", "channels last", "grey", "flat square", "rows of numbers", "floats that are whole"],
)
def test_shapes(tmp_path: Path, images: np.ndarray, shape: tuple[int, ...], rows: np.ndarray) -> None:
    found = read(tmp_path, {"images": images, "labels": LABELS})
    assert found.shape == shape
    assert np.array_equal(found.images, rows)
    assert found.images.dtype == np.uint8
    assert found.labels.tolist() == LABELS.tolist()


def test_names_of_keras_and_parts_put_together(tmp_path: Path) -> None:
    parts: Arrays = {"x_train": PIXELS[:8], "y_train": LABELS[:8], "x_test": PIXELS[8:], "y_test": LABELS[8:]}
    found = read(tmp_path, parts)
    assert np.array_equal(found.images, PIXELS.reshape(12, -1))
    assert found.labels.tolist() == LABELS.tolist()
    assert any("put together" in note for note in found.notes)


def test_a_table_of_pixels(tmp_path: Path) -> None:
    """As MNIST is handed around: a column of classes, then one column a pixel."""
    rows = PIXELS[:, 0, :, :4].reshape(12, 16)
    text = "label," + ",".join(f"pixel{i}" for i in range(16)) + "\n"
    text += "".join(f"{label},{','.join(map(str, row))}\n" for label, row in zip(LABELS, rows, strict=True))
    found = read(tmp_path, text)
    assert found.shape == (1, 4, 4)
    assert np.array_equal(found.images, rows)


def test_fractions_are_kept_and_images_without_a_class_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, {"x": PIXELS / 255, "y": np.where(np.arange(12) == 4, -1, LABELS)})
    assert found.images.dtype == np.float32
    assert len(found.images) == len(found.labels) == 11
    assert any("1 images without a class are left out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"images": PIXELS}, "the files have no labels; they hold images"),
        ({"labels": LABELS}, "the files have no images"),
        ({"images": PIXELS[0, 0, 0], "labels": LABELS}, r"images have shape \(5,\)"),
        ({"images": PIXELS, "labels": LABELS[:5]}, r"labels have shape \(5,\)"),
        ({"images": PIXELS * np.nan, "labels": LABELS}, "NaN or infinite pixels"),
        ({"images": PIXELS * 1e300, "labels": LABELS}, "float32 bears"),
        ({"images": PIXELS * 1j, "labels": LABELS}, "they must be numbers"),
        ({"images": PIXELS * 0, "labels": LABELS}, "all images are the same"),
        ({"images": np.zeros((12, 400, 400)), "labels": LABELS}, "160,000 numbers each; at most 100,000"),
        ({"images": PIXELS, "labels": np.zeros(12)}, "at least two classes"),
        ({"images": PIXELS, "labels": np.arange(12) // 2}, "6 classes of fewer than 3 images"),
        ("label\n1\n2\n", "needs a column label and one column a pixel"),
    ],
)
def test_what_is_no_data_set_of_images(tmp_path: Path, content: Arrays | str, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        read(tmp_path, content)
