"""The content of data as 16 hex digits: what ties a run to the arrays it was trained on."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def content_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """16 hex digits of SHA-256 over names, kinds, shapes and values of arrays.

    It does not depend on how the arrays are stored: not on a file's name, date or compression, nor on their order, the
    byte order, the memory layout or the width of signed integers (an index may be int32 in one file and int64 in the
    next).
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = _canonical(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()[:16]


def _canonical(array: NDArray[Any]) -> NDArray[Any]:
    wide = array.astype(np.int64) if array.dtype.kind == "i" else array
    return np.ascontiguousarray(wide, dtype=wide.dtype.newbyteorder("<"))
