"""Arrays in npz and npy files: headers are read first, then what is needed, never a pickle; files appear whole."""

import math
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from werank_core.datasets.errors import DataError
from werank_core.datasets.readers.limits import MOST_BYTES, megabytes

_SAVE = "save arrays with numpy.savez, or give tables as text"
_CHUNK = 1 << 24
_ZIPPED = {
    "xl/": "an Excel file: save each sheet as CSV",
    "data.pkl": "a PyTorch file, a pickle, which could run code when it is opened: save arrays with numpy.savez",
}
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, Any]]] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


@dataclass(frozen=True)
class Header:
    """What an array says about itself before it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool

    @property
    def num_bytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def array_headers(path: Path, name: str = "") -> dict[str, Header]:
    """Headers of all arrays of an npz file, by member; of an npy file under the name "".

    Args: name, what the person calls the file.
    Raises: DataError: not such a file, damaged, or a member that is no array or does not hold what its header says.
    """
    name = name or path.name
    if not zipfile.is_zipfile(path):
        with _explained(name), path.open("rb") as file:
            header = _header(file, name)
            _check_size(name, header, path.stat().st_size - file.tell())
        return {"": header}
    with _explained(name), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if strange := [m.filename for m in members if not m.filename.endswith(".npy")]:
            for sign, what in _ZIPPED.items():
                if any(sign in member for member in strange):
                    raise DataError(f"{name} is {what}.")
            raise DataError(f"{name} is a zip archive with {strange[0]!r} in it, which is no NumPy array: {_SAVE}.")
        if not members:
            raise DataError(f"{name} holds no array: {_SAVE}.")
        return {member.filename.removesuffix(".npy"): _member_header(archive, member, name) for member in members}


@contextmanager
def _explained(called: str) -> Iterator[None]:
    """Whatever a damaged file makes zipfile, zlib or NumPy raise becomes one sentence."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        text = next(iter(str(error).strip().splitlines()), "")[:120] or type(error).__name__
        raise DataError(f"{called} is damaged or no NumPy file ({text}): {_SAVE}.") from error


def _member_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Header:
    called = f"{member.filename.removesuffix('.npy')} in {name}"
    with _explained(called), archive.open(member) as stream:
        header = _header(stream, called)
        _check_size(called, header, member.file_size - stream.tell())
    return header


def _header(stream: IO[bytes], called: str) -> Header:
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise DataError(f"{called} is in version {version} of NumPy's format, which is not read here: {_SAVE}.")
    shape, fortran_order, dtype = _HEADERS[version](stream)
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise DataError(f"{called} says it has shape {shape}, which no array has: save it again.")
    return Header(shape, dtype, fortran_order)


def _check_size(called: str, header: Header, present: int) -> None:
    if not header.dtype.hasobject and header.num_bytes != present:
        raise DataError(
            f"{called} says it has shape {header.shape}, {megabytes(header.num_bytes)}, but holds "
            f"{megabytes(present)}: the file is damaged; save it again."
        )


def read_arrays(
    path: Path, wanted: Collection[str] | None = None, *, name: str = "", most_bytes: int = MOST_BYTES
) -> dict[str, NDArray[Any]]:
    """Arrays of an npz or npy file; those of Python objects are refused, not unpickled.

    Args: wanted, the members to read, all when None; most_bytes, of them together once unpacked.
    Raises: DataError as `array_headers`, and for what is larger than `most_bytes` or holds objects.
    """
    name = name or path.name
    headers = array_headers(path, name)
    chosen = [member for member in headers if wanted is None or member in wanted]
    if objects := [member for member in chosen if headers[member].dtype.hasobject]:
        raise DataError(f"{objects[0] or 'the array'} in {name} holds Python objects; save plain numbers or text.")
    total = sum(headers[member].num_bytes for member in chosen)
    if total > most_bytes:
        raise DataError(
            f"{name} unpacks to {megabytes(total)}; at most {megabytes(most_bytes)} are read: save float32 instead of "
            "float64, or sparse parts (indptr, indices, data, shape) instead of a dense matrix."
        )
    if "" in headers:
        with _explained(name), path.open("rb") as file:
            return {"": _values(file, headers[""], name)}
    with _explained(name), zipfile.ZipFile(path) as archive:
        return {member: _member_values(archive, member, headers[member], name) for member in chosen}


def _member_values(archive: zipfile.ZipFile, member: str, header: Header, name: str) -> NDArray[Any]:
    called = f"{member} in {name}"
    with _explained(called), archive.open(f"{member}.npy") as stream:
        return _values(stream, header, called)


def _values(stream: IO[bytes], header: Header, called: str) -> NDArray[Any]:
    _header(stream, called)  # leaves the stream where the values begin
    array = np.empty(math.prod(header.shape), header.dtype)
    place = array.view(np.uint8).data if array.nbytes else memoryview(b"")
    for start in range(0, array.nbytes, _CHUNK):
        part = stream.read(min(_CHUNK, array.nbytes - start))
        if start + len(part) < min(start + _CHUNK, array.nbytes):
            raise DataError(f"{called} ends too early: the file is damaged; save it again.")
        place[start : start + len(part)] = part
    return array.reshape(header.shape, order="F" if header.fortran_order else "C")


def save_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write an npz file, which appears whole or not at all.

    Raises: DataError: the folder cannot be written or is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path.name} cannot be written to {path.parent}: {error.strerror or error}.") from error
