"""Graphs by name: the block model from a seed, public graphs through PyTorch Geometric, a person's own.

A public graph is downloaded only by `download_graph`: into a temporary folder, read there by PyTorch Geometric, its
counts held against the published ones, and kept as one npz file that is renamed into place. So it is there whole or not
at all, and loading it later needs neither the network nor PyTorch Geometric nor a pickle.
"""

import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from werank_core.datasets.graph_catalogue import CATALOGUE, GraphError, entry, graph_path, is_downloaded
from werank_core.datasets.graph_data import (
    Graph,
    NodeSplits,
    compact_features,
    load_saved,
    save_graph,
    symmetric_adjacency,
)
from werank_core.datasets.graph_files import load_own_graph

_PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
_AMAZON = {"amazon_computers": "Computers", "amazon_photo": "Photo"}
_COAUTHOR = {"coauthor_cs": "CS", "coauthor_physics": "Physics"}

# What a missing network, a page in place of a file, or half a file raise on their way through PyTorch Geometric.
_BROKEN = (OSError, RuntimeError, EOFError, ValueError, IndexError, KeyError, pickle.UnpicklingError, BadZipFile)


def load_graph(name: str, root: Path, *, download: bool = False, own_name: str = "") -> Graph:
    """A public graph by its name, or with `name` "own" the uploaded one called `own_name`.

    Raises:
        GraphError: unknown name, or not downloaded and `download` is off, or the download failed.
    """
    if name == "own":
        return load_own_graph(own_name, root)
    if entry(name).offline:
        return _from_geometric(name, root)
    if not is_downloaded(name, root):
        if not download:
            raise GraphError(
                f"{entry(name).title} is not downloaded yet: switch on its download, or choose block_model."
            )
        download_graph(name, root)
    return load_saved(name, graph_path(name, root))


def download_graph(
    name: str, root: Path, *, raw: Path | None = None, on_progress: Callable[[str], None] = lambda sentence: None
) -> Path:
    """Fetch a public graph and keep it; what an interrupted download left behind is never seen again.

    Args:
        root: the data folder.
        raw: a folder that holds PyTorch Geometric's raw files (`<raw>/Cora/raw/...`), in place of the network.
    Returns: the file the graph lies in.
    Raises: GraphError when the network, the files or the counts are not as they should be.
    """
    path = graph_path(name, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{name}-") as folder:
        if raw is not None:
            shutil.copytree(raw, folder, dirs_exist_ok=True)
        on_progress(f"{entry(name).title}: downloading")
        graph = _from_geometric(name, Path(folder))
        on_progress(
            f"{entry(name).title}: {graph.num_nodes:,} nodes and {graph.num_edges:,} edges read, counts as published"
        )
        save_graph(graph, path)
    return path


def _from_geometric(name: str, root: Path) -> Graph:
    """The graph as PyTorch Geometric reads it (fetching what is not under `root`), counts asserted."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = _geometric_data(name, root)
    except _BROKEN as error:
        raise GraphError(
            f"{entry(name).title} could not be downloaded and read ({type(error).__name__}): "
            "check the network and try again; other graphs are unaffected."
        ) from error
    edges, features, labels = data.edge_index.numpy(), data.x.numpy(), data.y.reshape(-1).numpy()
    assert_counts(name, (len(labels), edges.shape[1], features.shape[1], int(labels.max()) + 1))
    adjacency = symmetric_adjacency(edges[0], edges[1], len(labels))
    return Graph(name, adjacency, compact_features(features), labels.astype(np.int64), _own_splits(data))


def _geometric_data(name: str, root: Path) -> Any:
    # PyTorch Geometric takes a second to import, and most graphs are read from what was kept.
    from torch_geometric import datasets

    from werank_core.datasets.arxiv import read_arxiv

    if name == "ogbn_arxiv":
        return read_arxiv(root)
    if name == "karate_club":
        return datasets.KarateClub()[0]
    if name == "wikics":
        return datasets.WikiCS(str(root), is_undirected=True)[0]
    if name in _PLANETOID:
        return datasets.Planetoid(str(root), _PLANETOID[name])[0]
    kind, title = (datasets.Amazon, _AMAZON[name]) if name in _AMAZON else (datasets.Coauthor, _COAUTHOR[name])
    return kind(str(root), title)[0]


def assert_counts(name: str, found: tuple[int, int, int, int]) -> None:
    """Hold a graph's counts against the published ones.

    Raises:
        GraphError: they differ, with both.
    """
    if found != CATALOGUE[name].counts:
        raise GraphError(
            f"{entry(name).title} has {found} nodes, directed edges, features and classes "
            f"where {entry(name).counts} are published: these are not its files."
        )


def _own_splits(data: Any) -> NodeSplits | None:
    """The splits a data set brings along: (S, N) masks, or None."""
    if "train_mask" not in data or "val_mask" not in data or "test_mask" not in data:
        return None
    train, validation, test = (_rows(data[key]) for key in ("train_mask", "val_mask", "test_mask"))
    return NodeSplits(train, validation, np.broadcast_to(test, train.shape).copy())


def _rows(mask: Any) -> NDArray[np.bool_]:
    """(S, N) from PyTorch Geometric's (N,) or (N, S)."""
    array: NDArray[np.bool_] = mask.numpy().astype(bool)
    return array[None] if array.ndim == 1 else np.ascontiguousarray(array.T)
