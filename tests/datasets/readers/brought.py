"""Small graphs as people bring them: arrays, tables, and what the reader makes of files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from werank_core.datasets.graph_data import Graph
from werank_core.datasets.readers.features import FeatureChoice
from werank_core.datasets.readers.files import Brought
from werank_core.datasets.readers.graph import read_graph
from werank_core.datasets.readers.graph_checks import ReadGraph

Arrays = Mapping[str, ArrayLike]
Files = Mapping[str, str | bytes | Arrays]
"""Names, and what is in each: text, bytes, or arrays for an npz."""

NODES = 12
LABELS = np.arange(NODES) // 4
"""Three classes of four; on the ring of the rows 9 of 12 edges join the same class."""
FEATURES = np.round(np.random.default_rng(0).normal(size=(NODES, 3)), 3)
SOURCE = np.arange(NODES)
TARGET = (SOURCE + 1) % NODES


def adjacency() -> np.ndarray:
    """The ring as a dense symmetric matrix."""
    matrix = np.zeros((NODES, NODES))
    matrix[SOURCE, TARGET] = matrix[TARGET, SOURCE] = 1
    return matrix


def csr_parts() -> dict[str, np.ndarray]:
    """The ring's CSR adjacency."""
    indices = np.sort(np.stack([(SOURCE - 1) % NODES, TARGET]), axis=0).T.reshape(-1)
    return {"indptr": np.arange(0, 2 * NODES + 1, 2), "indices": indices}


def arrays(**changes: object) -> dict[str, np.ndarray]:
    """Arrays of a sound graph, changed, or left out where None."""
    whole = {**csr_parts(), "features": FEATURES, "labels": LABELS, **changes}
    return {name: np.asarray(value) for name, value in whole.items() if value is not None}


def edge_text(delimiter: str = ",", header: str = "source,target", first: int = 0) -> str:
    """The ring as an edge list, each edge once."""
    rows = [f"{a + first}{delimiter}{b + first}" for a, b in zip(SOURCE, TARGET, strict=True)]
    return "\n".join([header.replace(",", delimiter)] * bool(header) + rows) + "\n"


def node_text(names: str = "abc", delimiter: str = ",") -> str:
    """The nodes as a table with a column of classes and three of features."""
    rows = [
        delimiter.join([names[label], *map(str, row)]) for label, row in zip(LABELS, FEATURES.tolist(), strict=True)
    ]
    return "\n".join([delimiter.join(["label", "f1", "f2", "f3"]), *rows]) + "\n"


def read(folder: Path, files: Files, features: FeatureChoice = "given", drop_small_classes: bool = False) -> ReadGraph:
    """What the reader makes of files: text, bytes, or arrays for an npz."""
    brought = []
    for number, (name, content) in enumerate(files.items()):
        path = folder / f"given-{number}"
        if isinstance(content, Mapping):
            with path.open("wb") as file:
                np.savez(file, allow_pickle=True, **content)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        brought.append(Brought(name, path))
    return read_graph("mine", brought, folder, features=features, drop_small_classes=drop_small_classes)


def dense_features(graph: Graph) -> np.ndarray:
    """The features as an array, however they are kept."""
    kept = graph.features
    dense: np.ndarray = kept if isinstance(kept, np.ndarray) else kept.toarray()
    return dense


def is_the_ring(graph: Graph, *, features: bool = True) -> bool:
    """Whether it is the graph that all these files describe."""
    same = np.array_equal(graph.adjacency.toarray(), adjacency()) and np.array_equal(graph.labels, LABELS)
    return same and (not features or np.allclose(dense_features(graph), FEATURES, atol=1e-6))
