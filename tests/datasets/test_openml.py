"""Images from OpenML, against small replies of the test's own: no network is used."""

import email.message
import hashlib
import http.client
import io
import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import urllib.response
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from werank_core.config import RankCollapseConfig
from werank_core.datasets import openml
from werank_core.datasets.errors import ImageError
from werank_core.datasets.identity import identified
from werank_core.datasets.openml import (
    CATALOGUE,
    ImageEntry,
    download_images,
    image_path,
    is_downloaded,
    load_images,
)
from werank_core.training.collapse_data import kept_images, make_split

NUMBERS = np.random.default_rng(0)
SMALL = ImageEntry("mnist", "MNIST", 554, 40, (1, 2, 3), num_classes=4)


Answers = dict[str, bytes]
Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What OpenML answers, by path: scikit-learn's requests end here."""
    known: Answers = {}

    def answer(request: urllib.request.Request, *_: object, **__: object) -> urllib.response.addinfourl:
        path = urllib.parse.urlparse(request.full_url).path.strip("/")
        if path not in known:
            raise urllib.error.URLError("no network in tests")
        return urllib.response.addinfourl(io.BytesIO(known[path]), email.message.Message(), request.full_url, 200)

    monkeypatch.setattr("sklearn.datasets._openml.urlopen", answer)
    monkeypatch.setattr("sklearn.datasets._openml.time.sleep", lambda _: None)
    return known


def put_reply(answers: Answers, pixels: np.ndarray, labels: np.ndarray, data_id: int = 554) -> str:
    """Let OpenML answer with a data set; returns the path of its data file."""
    columns = [f"pixel{i}" for i in range(pixels.shape[1])]
    header = ["@RELATION images", *(f"@ATTRIBUTE {name} real" for name in columns)]
    header += [f"@ATTRIBUTE class {{{','.join(map(str, sorted(set(labels.tolist()))))}}}", "@DATA"]
    rows = [",".join(map(str, [*row, label])) for row, label in zip(pixels.tolist(), labels.tolist(), strict=True)]
    arff = "\n".join([*header, *rows, ""]).encode()
    features = [feature(i, name, "numeric", "false") for i, name in enumerate(columns)]
    features.append(feature(len(columns), "class", "nominal", "true"))
    data = f"data/v1/download/{data_id}/images.arff"
    description = {
        "id": str(data_id), "name": "images", "version": "1", "status": "active", "format": "ARFF", "description": "",
        "url": f"https://www.openml.org/{data}",
        "file_id": str(data_id), "md5_checksum": hashlib.md5(arff).hexdigest(),
    }  # fmt: skip
    replies = {
        f"api/v1/json/data/{data_id}": {"data_set_description": description},
        f"api/v1/json/data/features/{data_id}": {"data_features": {"feature": features}},
        f"api/v1/json/data/qualities/{data_id}": {
            "data_qualities": {"quality": [{"name": "NumberOfInstances", "value": str(len(rows))}]}
        },
    }
    answers |= {path: json.dumps(reply).encode() for path, reply in replies.items()} | {data: arff}
    return data


def feature(index: int, name: str, kind: str, target: str) -> dict[str, object]:
    return {
        "index": str(index), "name": name, "data_type": kind, "is_target": target, "is_ignore": "false",
        "is_row_identifier": "false", "number_of_missing_values": "0",
    }  # fmt: skip


def small_images() -> tuple[np.ndarray, np.ndarray]:
    return NUMBERS.integers(0, 256, (40, 6)), np.arange(40) % 4


def left(root: Path) -> list[str]:
    """Names of all files and folders below the data folder."""
    return sorted(path.name for path in root.rglob("*"))


def test_a_reply_becomes_checked_arrays_that_need_no_network_again(tmp_path: Path, answers: Answers) -> None:
    pixels, labels = small_images()
    put_reply(answers, pixels, labels)
    assert not is_downloaded("mnist", tmp_path)
    download_images(SMALL, tmp_path)
    answers.clear()
    found = load_images("mnist", tmp_path, entry=SMALL)
    np.testing.assert_array_equal(found.images, pixels)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.images.dtype == np.uint8
    assert found.shape == (1, 2, 3)
    assert left(tmp_path) == ["images", "mnist.npz"], "nothing of the download stays"


def test_without_network_one_sentence_says_what_to_do_and_asking_again_works(tmp_path: Path, answers: Answers) -> None:
    with pytest.raises(ImageError, match=r"MNIST is not downloaded yet: fetch it .*data fetch mnist"):
        load_images("mnist", tmp_path)
    with pytest.raises(ImageError, match="MNIST could not be downloaded from OpenML: there is no connection"):
        download_images(SMALL, tmp_path)
    assert left(tmp_path) == ["images"]
    put_reply(answers, *small_images())
    download_images(SMALL, tmp_path)
    assert len(load_images("mnist", tmp_path, entry=SMALL).labels) == 40


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
def test_another_data_set_under_the_same_number_is_refused(
    tmp_path: Path, answers: Answers, change: Change, message: str
) -> None:
    put_reply(answers, *change(*small_images()))
    with pytest.raises(ImageError, match=message):
        download_images(SMALL, tmp_path)
    assert left(tmp_path) == ["images"]


@pytest.mark.parametrize("reply", [b"@RELATION other", b"<html>log in</html>", b"", b"\x1f\x8b\x08" + b"\0" * 40])
def test_a_broken_reply_is_one_sentence_and_not_met_again(tmp_path: Path, answers: Answers, reply: bytes) -> None:
    """scikit-learn would keep it in its cache and stumble over it for ever."""
    answers[put_reply(answers, *small_images())] = reply
    with pytest.raises(ImageError, match=r"MNIST could not be downloaded from OpenML: .* damaged|web page"):
        download_images(SMALL, tmp_path)
    assert left(tmp_path) == ["images"]
    put_reply(answers, *small_images())
    download_images(SMALL, tmp_path)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (http.client.IncompleteRead(b"x", 1000), "the connection broke off"),
        (zlib.error("Error -3 while decompressing"), "what came is damaged"),
        (EOFError("Compressed file ended before the end-of-stream marker"), "what came is damaged"),
        (TimeoutError("timed out"), "the server stopped answering"),
        (urllib.error.HTTPError("u", 429, "slow down", email.message.Message(), None), "the server answers 429"),
        (MemoryError(), "not enough memory"),
        (RecursionError("x"), "what came is damaged"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_breaks_on_the_way_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("sklearn.datasets.fetch_openml", breaks)
    with pytest.raises(ImageError, match=sentence) as caught:
        download_images(SMALL, tmp_path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_file_is_never_read_as_data(tmp_path: Path) -> None:
    image_path(SMALL, tmp_path).parent.mkdir()
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


def test_a_run_draws_its_rows_by_class_and_standardises_them(
    tmp_path: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, labels = NUMBERS.integers(0, 256, (1000, 784)), np.arange(1000) % 10
    entry = ImageEntry("mnist", "MNIST", 554, 1000, (1, 28, 28))
    monkeypatch.setitem(openml.CATALOGUE, "mnist", entry)
    put_reply(answers, pixels, labels)
    download_images(entry, tmp_path)
    config = identified(RankCollapseConfig(dataset="mnist", image_samples=300), tmp_path)
    split = make_split(config, 0, kept_images(config, tmp_path))
    assert split.train_rows.shape == (300, 784)
    assert split.test_rows.shape == (700, 784)
    assert split.train_labels.bincount().tolist() == [30] * 10
    assert split.train_rows.mean(0).abs().max() < 1e-5
    with pytest.raises(ImageError, match="image_samples = 995"):
        make_split(config.replaced(image_samples=995), 0, kept_images(config, tmp_path))


def test_asking_for_a_data_set_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from werank_core.datasets.openml import is_downloaded; "
        f"print(is_downloaded('cifar10', Path({str(tmp_path)!r})), 'torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]
