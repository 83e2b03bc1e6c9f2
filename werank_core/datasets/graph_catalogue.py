"""Which graphs there are, how large they are said to be and whether they lie on disk; loads neither torch nor data."""

from dataclasses import dataclass
from pathlib import Path

from werank_core.datasets.errors import GraphError


@dataclass(frozen=True)
class GraphEntry:
    """A public graph and the counts published for it; `num_edges` counts both directions, as PyTorch Geometric does."""

    name: str
    title: str
    num_nodes: int
    num_edges: int
    num_features: int
    num_classes: int
    nonzero_features: int
    offline: bool = False
    num_unlabelled: int = 0
    """Nodes without a label, and with it without features."""

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Nodes, directed edges, features, classes."""
        return self.num_nodes, self.num_edges, self.num_features, self.num_classes

    def is_kept_as(self, num_nodes: int, num_features: int, num_classes: int, num_unlabelled: int) -> bool:
        """Whether a kept graph of these counts is this one, as this version keeps it."""
        mine = self.num_nodes, self.num_features, self.num_classes, self.num_unlabelled
        return mine == (num_nodes, num_features, num_classes, num_unlabelled)


# Counts: the tables of PyTorch Geometric's data set pages; WikiCS with reverse edges added (216,123 links before).
# Non-zero features, for estimates only: Cora and PubMed counted, the others rounded up from the average per node.
_ENTRIES = (
    GraphEntry("karate_club", "Karate club", 34, 156, 34, 4, 34, offline=True),
    GraphEntry("cora", "Cora", 2_708, 10_556, 1_433, 7, 49_216),
    GraphEntry("citeseer", "CiteSeer", 3_327, 9_104, 3_703, 6, 110_000, num_unlabelled=15),
    GraphEntry("pubmed", "PubMed", 19_717, 88_648, 500, 3, 988_031),
    GraphEntry("wikics", "WikiCS", 11_701, 431_726, 300, 10, 3_510_300),
    GraphEntry("amazon_computers", "Amazon Computers", 13_752, 491_722, 767, 10, 3_700_000),
    GraphEntry("amazon_photo", "Amazon Photo", 7_650, 238_162, 745, 8, 2_000_000),
    GraphEntry("coauthor_cs", "Coauthor CS", 18_333, 163_788, 6_805, 15, 1_200_000),
    GraphEntry("coauthor_physics", "Coauthor Physics", 34_493, 495_924, 8_415, 5, 1_200_000),
    GraphEntry("ogbn_arxiv", "ogbn-arxiv", 169_343, 1_166_243, 128, 40, 169_343 * 128),
)

CATALOGUE: dict[str, GraphEntry] = {entry.name: entry for entry in _ENTRIES}


def entry(name: str) -> GraphEntry:
    """The public graph of that name.

    Raises:
        GraphError: unknown name, with the known ones.
    """
    if name not in CATALOGUE:
        raise GraphError(f"unknown graph {name!r}; known are block_model, own, {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def graph_path(name: str, root: Path) -> Path:
    """Where the processed file of a public graph lies."""
    return root / "graphs" / f"{entry(name).name}.npz"


def is_downloaded(name: str, root: Path) -> bool:
    """Whether the graph can be loaded without the network: it is whole, because it is renamed into place when whole."""
    return entry(name).offline or graph_path(name, root).exists()
