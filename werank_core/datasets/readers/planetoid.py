"""The raw files of Planetoid (`ind.cora.x` and seven more): pickles, read without running anything they ask for."""

import pickle
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.limits import MOST_NODES
from werank_core.datasets.readers.parts import Edges, Part

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
VALIDATION_NODES = 500

# The only names that these pickles may use: NumPy's arrays, SciPy's CSR matrix, and a dictionary of lists.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}
_MODULES = {
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy._core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "numpy._core.numeric": "numpy._core.numeric",
    "copy_reg": "copyreg",
    "copyreg": "copyreg",
    "_codecs": "_codecs",
}
_FUNCTIONS = ("_reconstruct", "scalar", "_frombuffer", "_reconstructor", "encode")


class _CsrParts:
    """What a pickled csr_matrix is made of, kept as it stands: SciPy sees it only after it has been checked."""

    def __setstate__(self, state: Any) -> None:
        self.parts = dict(state) if isinstance(state, dict) else {}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if name == "csr_matrix" and module.startswith("scipy.sparse"):
            return _CsrParts
        if module in _MODULES and name in _FUNCTIONS:
            return super().find_class(_MODULES[module], name)
        raise GraphError(f"it asks for {module}.{name}, which no raw file of Planetoid needs")


def planetoid_part(files: Mapping[str, Path], called: str) -> Part:
    """The graph of eight raw files, by part.

    Nodes are those of `allx`, then those that `test.index` numbers; numbers that it leaves out are nodes without
    features and label. Splits: the nodes of `x` train, the next 500 of `allx` choose, the numbered
    ones test.
    Raises: GraphError: a part is missing, damaged, or does not fit the others.
    Source: Yang et al. 2016; PyTorch Geometric's `read_planetoid_data` gives nodes without label class 0.
    """
    missing = [f"ind.{called}.{part}" for part in PARTS if part not in files]
    if missing:
        raise GraphError(f"the raw files of {called} lack {', '.join(missing)}.")
    read = {part: _read(path, f"ind.{called}.{part}") for part, path in files.items()}
    try:
        return _assembled(read, called)
    except GraphError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise GraphError(f"the raw files of {called} do not fit together ({error}).") from error


def _assembled(read: Mapping[str, Any], called: str) -> Part:
    known, test = _matrix(read["allx"]), _matrix(read["tx"])
    index = np.asarray(read["test.index"])
    first = known.shape[0]
    if len(index) and index.max() >= MOST_NODES:
        raise GraphError(f"ind.{called}.test.index numbers node {index.max():,}; at most {MOST_NODES:,} are possible.")
    if not len(index) or index.min() < first or len(np.unique(index)) != len(index) or len(index) != test.shape[0]:
        raise GraphError(f"ind.{called}.test.index does not number the {test.shape[0]} test nodes from {first} on.")
    num_nodes = int(index.max()) + 1
    place = sparse.csr_array((np.ones(len(index), np.float32), (index - first, np.arange(len(index)))),
                             shape=(num_nodes - first, len(index)))  # fmt: skip
    features = sparse.csr_array(sparse.vstack([known, place @ test]))
    labels = np.full(num_nodes, -1, dtype=np.int64)
    labels[:first], labels[index] = _classes(read["ally"]), _classes(read["ty"])
    links = [(int(a), int(b)) for a, others in read["graph"].items() for b in others]
    ends = np.array(links, dtype=np.int64).reshape(-1, 2).T
    rows = np.arange(num_nodes)
    trained = len(_classes(read["y"]))
    masks = {
        "train": rows < trained,
        "validation": (rows >= trained) & (rows < min(trained + VALIDATION_NODES, first)),
        "test": np.isin(rows, index),
    }
    edges = Edges(ends[0], ends[1], file=f"ind.{called}.graph")
    return Part(edges, num_nodes, features=features, labels=labels, masks=masks, file=f"ind.{called}.*")


def _matrix(found: Any) -> sparse.csr_array[Any]:
    if isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype.kind in "biuf":
        return sparse.csr_array(found.astype(np.float32))
    if not isinstance(found, _CsrParts):
        raise GraphError(f"features are a {type(found).__name__}; a matrix is needed.")
    rows, columns = found.parts["_shape"] if "_shape" in found.parts else found.parts["shape"]
    parts = tuple(found.parts[name] for name in ("data", "indices", "indptr"))
    matrix = sparse.csr_array(parts, shape=(int(rows), int(columns)))
    matrix.check_format(full_check=True)
    return matrix.astype(np.float32)


def _classes(found: Any) -> NDArray[np.int64]:
    """(N, K) rows with a single 1 as class numbers, −1 where there is none."""
    if not (isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype.kind in "biuf"):
        raise GraphError("labels must be rows with a single 1.")
    classes: NDArray[np.int64] = np.where(found.any(axis=1), found.argmax(axis=1), -1)
    return classes


def _read(path: Path, called: str) -> Any:
    try:
        if called.endswith("test.index"):
            return np.atleast_1d(np.loadtxt(path, dtype=np.int64))
        with path.open("rb") as file:
            return _unpickled(file)
    except MemoryError:
        raise
    except GraphError as error:
        raise GraphError(f"{called} is not read: {error}.") from error
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), "")[:120] or type(error).__name__
        raise GraphError(f"{called} is damaged or not a raw file of Planetoid ({said}).") from error


def _unpickled(file: IO[bytes]) -> Any:
    return _Unpickler(file, encoding="latin1").load()
