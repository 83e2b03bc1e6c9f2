"""Graphs by name: the block model from a seed, public graphs, a person's own.

A public graph is downloaded only by `download_graph`: into a temporary folder, read there, its counts held against the
published ones, and kept as one npz file that is renamed into place. So it is there whole or not at all, and loading it
later needs neither the network nor PyTorch Geometric nor a pickle.
"""

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from werank_core.datasets.downloads import Say, drafts, fetch_url, holds_page, patience, silent, what_happened
from werank_core.datasets.errors import DataError, GraphError
from werank_core.datasets.graph_catalogue import CATALOGUE, entry, graph_path, is_downloaded
from werank_core.datasets.graph_data import (
    Graph,
    NodeSplits,
    compact_features,
    graph_digest,
    load_saved,
    save_graph,
    symmetric_adjacency,
)
from werank_core.datasets.own_data import load_own_graph
from werank_core.datasets.readers.graph_checks import sound_graph
from werank_core.datasets.readers.planetoid import PARTS, planetoid_part

Counts = tuple[int, int, int, int]
"""Nodes, directed edges, features, classes."""

PLANETOID = {"cora": "Cora", "citeseer": "CiteSeer", "pubmed": "PubMed"}
_AMAZON = {"amazon_computers": "Computers", "amazon_photo": "Photo"}
_COAUTHOR = {"coauthor_cs": "CS", "coauthor_physics": "Physics"}

KARATE_CLUB_DIGEST = "ea40da9442762fe6"
"""Of the karate club that comes with PyTorch Geometric: another one would be other data under the same name."""


def load_graph(name: str, root: Path, *, own_name: str = "") -> Graph:
    """A public graph by its name, or with `name` "own" the added one called `own_name`.

    Raises:
        GraphError: unknown name, not downloaded, or a kept file that is not this graph.
    """
    if name == "own":
        return load_own_graph(own_name, root)
    if entry(name).offline:
        return _karate_club()
    if not is_downloaded(name, root):
        raise GraphError(
            f"{entry(name).title} is not downloaded yet: fetch it (python -m werank_core data fetch {name}), or choose "
            "block_model."
        )
    path = graph_path(name, root)
    graph = load_saved(name, path)
    if not entry(name).is_kept_as(graph.num_nodes, graph.num_features, graph.num_classes, graph.num_unlabelled):
        raise GraphError(
            f"{path.name} in the data folder was kept by an earlier version or is not {entry(name).title}: fetch it "
            f"again (python -m werank_core data fetch {name})."
        )
    return graph


def download_graph(name: str, root: Path, *, raw: Path | None = None, on_progress: Say = silent) -> Path:
    """Fetch a public graph and keep it; what an interrupted download left behind is never seen again.

    Args:
        root: the data folder.
        raw: a folder with the raw files (those of Planetoid, or `<raw>/<name>/raw/...` as PyTorch Geometric lays them
            out), in place of the network.
    Returns: the file the graph lies in.
    Raises: GraphError when the network, the files or the counts are not as they should be.
    """
    title, path = entry(name).title, graph_path(name, root)
    try:
        with drafts(path.parent, name) as folder:
            on_progress(f"{title}: {'reading the files' if raw else 'downloading'}")
            graph = _fetched(name, folder, raw)
            on_progress(f"{title}: {graph.num_nodes:,} nodes and {graph.num_edges // 2:,} edges, counts as published")
            save_graph(graph, path)
    except DataError as error:
        raise GraphError(str(error)) from error
    except OSError as error:
        raise GraphError(f"{title} cannot be kept in {path.parent}: {error.strerror or error}.") from error
    return path


def _fetched(name: str, folder: Path, raw: Path | None) -> Graph:
    """The graph as its files in the folder say, which are fetched or copied there; counts asserted."""
    try:
        with warnings.catch_warnings(), patience():
            warnings.simplefilter("ignore")
            graph, counts = (_planetoid if name in PLANETOID else _geometric)(name, folder, raw)
    except Exception as error:
        # whatever a broken network or file makes PyTorch Geometric raise
        if isinstance(error, DataError) and not holds_page(folder):
            raise
        verb = "read" if raw else "downloaded"
        raise GraphError(f"{entry(name).title} could not be {verb}: {what_happened(error, folder)}.") from error
    assert_counts(name, counts)
    return graph


def _planetoid(name: str, folder: Path, raw: Path | None) -> tuple[Graph, Counts]:
    title = PLANETOID[name]
    if raw is None:
        from torch_geometric.datasets import Planetoid

        for part in PARTS:
            fetch_url(f"{Planetoid.url}/ind.{name}.{part}", folder / f"ind.{name}.{part}")
    places = (folder,) if raw is None else (raw, raw / "raw", raw / title / "raw")
    found = next((place for place in places if (place / f"ind.{name}.x").exists()), None)
    if found is None:
        raise GraphError(f"{raw} holds no raw files of {title}: ind.{name}.x and {len(PARTS) - 1} more are needed.")
    files = {part: path for part in PARTS if (path := found / f"ind.{name}.{part}").exists()}
    graph = sound_graph(name, planetoid_part(files, name)).graph
    return graph, (graph.num_nodes, graph.num_edges, graph.num_features, graph.num_classes)


def _geometric(name: str, folder: Path, raw: Path | None) -> tuple[Graph, Counts]:
    """The graph as PyTorch Geometric reads it, fetching what is not in the folder."""
    # PyTorch Geometric takes a second to import, and most graphs are read from what was kept.
    from torch_geometric import datasets

    from werank_core.datasets.arxiv import read_arxiv

    if raw is not None:
        shutil.copytree(raw, folder, dirs_exist_ok=True)
    if name == "ogbn_arxiv":
        return _as_graph(name, read_arxiv(folder))
    if name == "wikics":
        return _as_graph(name, datasets.WikiCS(str(folder), is_undirected=True)[0])
    kind, title = (datasets.Amazon, _AMAZON[name]) if name in _AMAZON else (datasets.Coauthor, _COAUTHOR[name])
    return _as_graph(name, kind(str(folder), title)[0])


def _karate_club() -> Graph:
    from torch_geometric import datasets

    graph, counts = _as_graph("karate_club", datasets.KarateClub()[0])
    assert_counts("karate_club", counts)
    if graph_digest(graph) != KARATE_CLUB_DIGEST:
        raise GraphError("the karate club of the installed PyTorch Geometric is not the one this version was made for.")
    return graph


def _as_graph(name: str, data: Any) -> tuple[Graph, Counts]:
    """The undirected graph, and the counts of the data as they are published (ogbn-arxiv one direction a citation)."""
    edges, features, labels = data.edge_index.numpy(), data.x.numpy(), data.y.reshape(-1).numpy()
    adjacency = symmetric_adjacency(edges[0], edges[1], len(labels))
    graph = Graph(name, adjacency, compact_features(features), labels.astype(np.int64), _own_splits(data))
    return graph, (len(labels), edges.shape[1], features.shape[1], int(labels.max()) + 1)


def assert_counts(name: str, found: Counts) -> None:
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
