"""Whether a graph fits the memory a job may use: plain arithmetic, so that it is said before anything is queued."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import psutil

from werank_core.config.graph import GraphConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.datasets.errors import GraphError
from werank_core.datasets.facts import graph_facts
from werank_core.datasets.graph_catalogue import CATALOGUE
from werank_core.datasets.own_data import own_file

FLOAT = 4


def run_bytes(
    num_nodes: int, num_features: int, widths: Sequence[int], head_width: int, *, row_numbers: int = 0
) -> int:
    """Memory one run needs while it takes a step.

    Activations of both views: about five arrays a layer for the online network (product, propagated, normalised,
    activated and one gradient in flight), three for the target, four a head layer; six copies of the weights
    (parameter, gradient, two moments, target, one temporary). `row_numbers`: what the objective holds for a node.
    """
    per_node = 2 * (8 * sum(widths) + 4 * (head_width + widths[-1])) + row_numbers
    weights = sum(a * b for a, b in pairwise([num_features, *widths])) + 2 * widths[-1] * head_width
    return FLOAT * (num_nodes * per_node + 6 * weights)


def graph_bytes(num_nodes: int, num_edges: int, stored_features: int) -> int:
    """Memory of the graph itself: six index or value arrays an entry of Â, and as many a stored feature."""
    return 40 * (num_edges + num_nodes) + 40 * stored_features


def graph_size(dataset: str, root: Path, own_name: str = "") -> tuple[int, int, int, int]:
    """Nodes, directed edges, features and stored feature values of a public graph or an own one, without loading it.

    Raises:
        GraphError: unknown graph.
    """
    if dataset != "own":
        found = CATALOGUE.get(dataset)
        if found is None:
            raise GraphError(f"unknown graph {dataset!r}; known are block_model, own, {', '.join(CATALOGUE)}.")
        return found.num_nodes, found.num_edges, found.num_features, found.nonzero_features
    facts = graph_facts(own_file("graph", own_name, root))
    return facts.num_nodes, facts.num_edges, facts.num_features, facts.stored_features


def config_run_bytes(config: GraphConfig, num_nodes: int, num_features: int) -> int:
    """`run_bytes` of a config's networks and objective."""
    held = OBJECTIVES[config.objective].row_numbers(config.settings_of("objective"), num_nodes)
    return run_bytes(num_nodes, num_features, config.widths, config.head_width, row_numbers=held)


def needed_bytes(config: GraphConfig, root: Path) -> int:
    """Memory of a graph and of one run on it, without loading it.

    Raises:
        GraphError: unknown graph.
    """
    if config.dataset == "block_model":
        n, d = config.num_nodes, config.feature_dimension
        size = n, round(n * config.average_degree), d, n * d
    else:
        size = graph_size(config.dataset, root, config.own_graph)
    nodes, edges, features, stored = size
    return graph_bytes(nodes, edges, stored) + config_run_bytes(config, nodes, features)


def free_bytes() -> int:
    """Memory that new work may take on this machine."""
    return int(psutil.virtual_memory().available)


def check_budget(needed: int, free: int, share: float) -> None:
    """Compare what one run needs with the budget.

    Raises:
        GraphError: it is larger, with both numbers and what to do.
    """
    if needed > share * free:
        raise GraphError(
            f"one run needs about {needed / 1e9:.2g} GB and the budget is {share * free / 1e9:.2g} GB "
            f"({share:.0%} of what is free): choose smaller widths, another graph or a larger budget."
        )
