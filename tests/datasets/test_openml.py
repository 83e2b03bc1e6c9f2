"""Images from OpenML, against a small reply that the test lays into scikit-learn's cache: no network is used."""

import gzip
import hashlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from werank_core.config import RankCollapseConfig
from werank_core.datasets import openml
from werank_core.datasets.openml import CATALOGUE, ImageEntry, ImageError, image_path, is_downloaded, load_images
from werank_core.training.collapse_data import make_split

NUMBERS = np.random.default_rng(0)
SMALL = ImageEntry("mnist", "MNIST", 554, 40, (1, 2, 3), num_classes=4)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", refuse)
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda _: None)


def write_reply(root: Path, pixels: np.ndarray, labels: np.ndarray, data_id: int = 554) -> Path:
    """What OpenML answers for a data set, where scikit-learn would have cached it; returns the data file."""
    columns = [f"pixel{i}" for i in range(pixels.shape[1])]
    header = ["@RELATION images", *(f"@ATTRIBUTE {name} real" for name in columns)]
    header += [f"@ATTRIBUTE class {{{','.join(map(str, sorted(set(labels.tolist()))))}}}", "@DATA"]
    rows = [",".join(map(str, [*row, label])) for row, label in zip(pixels.tolist(), labels.tolist(), strict=True)]
    arff = "\n".join([*header, *rows, ""]).encode()
    features = [feature(i, name, "numeric", "false") for i, name in enumerate(columns)]
    features.append(feature(len(columns), "class", "nominal", "true"))
    description = {
        "id": str(data_id), "name": "images", "version": "1", "status": "active", "format": "ARFF", "description": "",
        "url": f"https://www.openml.org/data/v1/download/{data_id}/images.arff",
        "file_id": str(data_id), "md5_checksum": hashlib.md5(arff).hexdigest(),
    }  # fmt: skip
    replies = {
        f"api/v1/json/data/{data_id}": {"data_set_description": description},
        f"api/v1/json/data/features/{data_id}": {"data_features": {"feature": features}},
        f"api/v1/json/data/qualities/{data_id}": {
            "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(rows))}]}
        },
    }
    for path, reply in replies.items():
        write_cached(root, path, json.dumps(reply).encode())
    return write_cached(root, f"data/v1/download/{data_id}/images.arff", arff)


def feature(index: int, name: str, kind: str, target: str) -> dict[str, Any]:
    return {
        "index": str(index), "name": name, "data_type": kind, "is_target": target, "is_ignore": "false",
        "is_row_identifier": "false", "number_of_missing_values": "0",
    }  # fmt: skip


def write_cached(root: Path, path: str, content: bytes) -> Path:
    file = root / "openml" / "openml.org" / f"{path}.gz"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content))
    return file


def small_images() -> tuple[np.ndarray, np.ndarray]:
    return NUMBERS.integers(0, 256, (40, 6)), np.arange(40) % 4


def test_a_reply_becomes_checked_arrays_that_need_no_network_again(tmp_path: Path) -> None:
    pixels, labels = small_images()
    reply = write_reply(tmp_path, pixels, labels)
    assert not is_downloaded("mnist", tmp_path)
    images, classes = load_images("mnist", tmp_path, entry=SMALL)
    np.testing.assert_array_equal(images, pixels)
    np.testing.assert_array_equal(classes, labels)
    assert images.dtype == np.uint8
    assert is_downloaded("mnist", tmp_path)
    reply.unlink()
    np.testing.assert_array_equal(load_images("mnist", tmp_path, entry=SMALL)[0], pixels)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["mnist.npz"], "nothing half-written stays"


def test_without_network_one_sentence_says_what_to_do_and_asking_again_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"MNIST could not be downloaded .* ask again, or choose mixture or digits"):
        load_images("mnist", tmp_path)
    assert not is_downloaded("mnist", tmp_path)
    write_reply(tmp_path, *small_images())
    assert len(load_images("mnist", tmp_path, entry=SMALL)[0]) == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:39], y[:39]), r"shape \(39, 6\) where \(40, 6\)"),
        (lambda x, y: (x[:, :5], y), r"shape \(40, 5\) where \(40, 6\)"),
        (lambda x, y: (x, np.minimum(y, 2)), r"classes of \[10, 10, 20, 0\]"),
        (lambda x, y: (x, np.where(np.arange(40) == 0, 1, y)), r"classes of \[9, 11, 10, 10\]"),
        (lambda x, y: (np.where(x == x[0, 0], "?", x), y), r"no numbers in 0\.\.255"),
        (lambda x, y: (x + 1000, y), r"no numbers in 0\.\.255"),
    ],
)
def test_another_data_set_under_the_same_number_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    write_reply(tmp_path, *change(*small_images()))
    with pytest.raises(ImageError, match=message):
        load_images("mnist", tmp_path, entry=SMALL)
    assert not is_downloaded("mnist", tmp_path)


def test_a_damaged_file_is_never_read_as_data(tmp_path: Path) -> None:
    reply = write_reply(tmp_path, *small_images())
    reply.write_bytes(gzip.compress(b"@RELATION other"))
    with pytest.raises(ImageError, match="MNIST"):
        load_images("mnist", tmp_path, entry=SMALL)
    image_path(SMALL, tmp_path).parent.mkdir(exist_ok=True)
    image_path(SMALL, tmp_path).write_bytes(b"not an archive")
    with pytest.raises(ImageError, match="delete"):
        load_images("mnist", tmp_path, entry=SMALL)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    image_path(SMALL, tmp_path).parent.mkdir(parents=True)
    np.savez(image_path(SMALL, tmp_path), images=np.array([{}], dtype=object), labels=np.zeros(1))
    with pytest.raises(ImageError, match="not readable"):
        load_images("mnist", tmp_path, entry=SMALL)


def test_published_counts() -> None:
    """LeCun et al. 1998; Xiao et al. 2017; Krizhevsky 2009 (OpenML holds 60,000 images of 3 x 32 x 32)."""
    assert [(e.num_images, e.num_pixels, e.num_classes) for e in CATALOGUE.values()] == [
        (70_000, 784, 10), (70_000, 784, 10), (60_000, 3_072, 10),
    ]  # fmt: skip


def test_a_run_draws_its_rows_by_class_and_standardises_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, labels = NUMBERS.integers(0, 256, (1000, 784)), np.arange(1000) % 10
    entry = ImageEntry("mnist", "MNIST", 554, 1000, (1, 28, 28))
    monkeypatch.setitem(openml.CATALOGUE, "mnist", entry)
    write_reply(tmp_path, pixels, labels)
    split = make_split(RankCollapseConfig(dataset="mnist", image_samples=300), 0, tmp_path)
    assert split.train_rows.shape == (300, 784)
    assert split.test_rows.shape == (700, 784)
    assert split.train_labels.bincount().tolist() == [30] * 10
    assert split.train_rows.mean(0).abs().max() < 1e-5
    with pytest.raises(ImageError, match="image_samples = 995"):
        make_split(RankCollapseConfig(dataset="mnist", image_samples=995), 0, tmp_path)


def test_asking_for_a_data_set_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from werank_core.datasets.openml import is_downloaded; "
        f"print(is_downloaded('cifar10', Path({str(tmp_path)!r})), 'torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]
