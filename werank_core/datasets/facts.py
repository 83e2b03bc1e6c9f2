"""What can be said about kept data without reading them every time: counts and the digest of their content.

Facts lie beside the file and hold as long as the file is the one they were taken from (its inode, size and times);
else they are taken again. Loads no torch.
"""

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from werank_core.datasets.digests import content_digest
from werank_core.datasets.graph_data import graph_digest, load_saved
from werank_core.datasets.image_files import image_arrays, load_image_file

_VERSION = 1
_remembered: dict[Path, tuple[list[int], Any]] = {}


@dataclass(frozen=True)
class GraphFacts:
    """Of a kept graph; `num_edges` counts both directions, `stored_features` the entries that are kept."""

    digest: str
    num_nodes: int
    num_edges: int
    num_features: int
    stored_features: int
    num_classes: int
    num_unlabelled: int
    num_isolated: int
    num_splits: int
    homophily: float


@dataclass(frozen=True)
class ImageFacts:
    """Of kept images."""

    digest: str
    num_images: int
    shape: tuple[int, int, int]
    num_classes: int


Facts = TypeVar("Facts", GraphFacts, ImageFacts)


def graph_facts(path: Path) -> GraphFacts:
    """Of the graph in a file.

    Raises: GraphError: the file is damaged.
    """
    return _facts(path, GraphFacts, _take_graph_facts)


def _take_graph_facts(path: Path) -> GraphFacts:
    graph = load_saved(path.stem, path)
    stored = graph.features.size if isinstance(graph.features, np.ndarray) else graph.features.nnz
    splits = 0 if graph.own_splits is None else len(graph.own_splits.train)
    return GraphFacts(
        graph_digest(graph), graph.num_nodes, graph.num_edges, graph.num_features, int(stored), graph.num_classes,
        graph.num_unlabelled, graph.num_isolated, splits, round(graph.homophily, 6),
    )  # fmt: skip


def image_facts(path: Path, shape: tuple[int, int, int] | None = None) -> ImageFacts:
    """Of the images in a file; `shape` for one that does not say it.

    Raises: ImageError: the file is damaged.
    """
    return _facts(path, ImageFacts, partial(_take_image_facts, shape=shape))


def _take_image_facts(path: Path, shape: tuple[int, int, int] | None) -> ImageFacts:
    found = load_image_file(path, shape)
    digest = content_digest(image_arrays(found))
    return ImageFacts(digest, len(found.labels), found.shape, int(found.labels.max()) + 1)


def _facts(path: Path, kind: type[Facts], take: Callable[[Path], Facts]) -> Facts:
    identity = _identity(path)
    known = _remembered.get(path)
    if known is None or known[0] != identity:
        facts = _read(path, kind, identity)
        if facts is None:
            facts = take(path)
            if _identity(path) != identity:  # replaced while it was read
                return _facts(path, kind, take)
            _write(path, facts, identity)
        _remembered[path] = known = identity, facts
    found: Facts = known[1]
    return found


def _identity(path: Path) -> list[int]:
    """What changes when a file is replaced or written to, also by somebody who sets its date back."""
    stat = path.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem}.facts")


def _read(path: Path, kind: type[Facts], identity: list[int]) -> Facts | None:
    try:
        kept = json.loads(_beside(path).read_text())
        if kept["version"] == _VERSION and kept["file"] == identity:
            values = kept["facts"]
            return kind(**values | ({"shape": tuple(values["shape"])} if "shape" in values else {}))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write(path: Path, facts: GraphFacts | ImageFacts, identity: list[int]) -> None:
    """Keep facts for the next process; one that may not write takes them anew."""
    text = json.dumps({"version": _VERSION, "file": identity, "facts": asdict(facts)})
    with suppress(OSError):
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".partial")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(draft).replace(_beside(path))


def forget(path: Path) -> None:
    """Remove a file and its facts."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)
    _remembered.pop(path, None)
