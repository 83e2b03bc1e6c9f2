"""Files that are broken, lie about their size, or are made to hurt: one sentence each, and nothing is allocated."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.readers.brought import arrays, edge_text, node_text, read
from werank_core.datasets.errors import DataError, GraphError
from werank_core.datasets.readers.npz import array_headers, read_arrays


def packed(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def lying(shape: str, content: bytes = b"\0" * 8) -> bytes:
    """An npy file whose header claims another shape than it holds."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def given(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "given.npz"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "damaged or no NumPy file"),
        (b"PK\x05\x06" + b"\0" * 18, "holds no array"),
        (packed({"a.npy": b""}), r"a in given.npz is damaged or no NumPy file"),
        (packed({"a.npy": b"hello"}), "a in given.npz is damaged or no NumPy file"),
        (packed({"a.npy": b"\x93NUMPY\x09\x00"}), "is in version"),
        (packed({"data.pkl": b"\x80\x02}."}), "is a PyTorch file, a pickle"),
        (
            packed({"a.npy": lying("(1000000000000,)")}),
            r"says it has shape \(1000000000000,\), 8,000,000 MB, but holds 0",
        ),
        (packed({"a.npy": lying("(2,)")}), "says it has shape"),
        (packed({"a.npy": lying("(-1,)")}), r"shape \(-1,\), which no array has"),
        (packed({"a.npy": lying("(True,)")}), "which no array has"),
        (packed({"a.npy": lying("'x'")}), "damaged or no NumPy file"),
        (packed({"a.npy": lying("(" * 500)}), "damaged or no NumPy file"),
        (packed({"a.npy": npy(np.array([{}], dtype=object))}), "Python objects; save plain numbers"),
        (packed({"a.npy": npy(np.ones(9))})[:-30], "damaged"),
    ],
)
def test_what_is_no_array_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_arrays(given(tmp_path, content))
    assert len(str(caught.value).splitlines()) == 1


def test_a_bomb_is_known_by_its_headers(tmp_path: Path) -> None:
    """32 kB that unpack to 34 MB: refused by what the archive says of itself, before a byte is unpacked."""
    path = given(tmp_path, packed({"features.npy": npy(np.zeros(1 << 25, np.uint8)), "labels.npy": npy(np.ones(3))}))
    assert path.stat().st_size < 40_000
    assert array_headers(path)["features"].num_bytes == 1 << 25
    with pytest.raises(DataError, match="unpacks to 34 MB; at most 10 MB are read: save float32"):
        read_arrays(path, most_bytes=10_000_000)
    assert read_arrays(path, ["labels"], most_bytes=10_000_000)["labels"].tolist() == [1, 1, 1]


def test_a_directory_that_promises_less_than_is_there_is_found_out(tmp_path: Path) -> None:
    """The central directory says 208 bytes, the header of the array says so too, but the stream is another one."""
    content = bytearray(packed({"a.npy": npy(np.ones(10))}))
    content[-80:-60] = bytes(20)
    with pytest.raises(DataError):
        read_arrays(given(tmp_path, bytes(content)))


def test_only_what_is_needed_is_read(tmp_path: Path) -> None:
    """Names of nodes are often Python objects; they are left alone and said to be unused."""
    extra = {"node_names": np.array([f"n{i}" for i in range(12)], dtype=object)}
    found = read(tmp_path, {"g.npz": {**arrays(), **extra}})
    assert found.graph.num_nodes == 12
    assert "g.npz: not used: node_names (12,)." in found.notes


@pytest.mark.parametrize("kind", ["npz", "tables"])
def test_no_damage_makes_the_reader_stumble(tmp_path: Path, kind: str) -> None:
    """Bytes changed, cut out or doubled at random: a graph, or a GraphError, never anything else."""
    rng, outcomes = np.random.default_rng(0), set()
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays())
    whole = (
        {"g.npz": file.getvalue()} if kind == "npz" else {"e.csv": edge_text().encode(), "n.csv": node_text().encode()}
    )
    for _ in range(150):
        name = str(rng.choice(list(whole)))
        content = bytearray(whole[name])
        place, length = int(rng.integers(len(content))), int(rng.integers(1, 30))
        what = rng.integers(3)
        if what == 0:
            content[place] = int(rng.integers(256))
        elif what == 1:
            del content[place : place + length]
        else:
            content[place:place] = content[place : place + length]
        try:
            read(tmp_path, {**whole, name: bytes(content)})
            outcomes.add("read")
        except GraphError as error:
            outcomes.add("refused" if len(str(error).splitlines()) == 1 else str(error))
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("delimiter", [",", "\t", " "])
def test_tables_that_are_too_wide_are_refused_by_their_first_line(tmp_path: Path, delimiter: str) -> None:
    wide = delimiter.join(["label", *(f"f{i}" for i in range(30_000))]) + "\n"
    with pytest.raises(GraphError, match=r"n\.csv has about 30,001 columns; at most 20,000 are read"):
        read(tmp_path, {"e.csv": edge_text(), "n.csv": wide + delimiter.join(["a", *["1"] * 30_000]) + "\n"})
