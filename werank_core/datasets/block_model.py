"""Contextual stochastic block model: a graph whose difficulty is known, made from a seed, without any download."""

import numpy as np
from numpy.typing import NDArray

from werank_core.datasets.errors import GraphError
from werank_core.datasets.graph_data import Graph, compact_features, symmetric_adjacency
from werank_core.streams import Purpose, seeded_numpy_generator


def edge_probabilities(sizes: NDArray[np.int64], homophily: float, average_degree: float) -> NDArray[np.float64]:
    """P, the probability of an edge between a node of class a and another of class b.

    One value p inside classes and one value q between them, so that the expected degree is `average_degree` and the
    expected share of same-class edges is `homophily`: with I pairs inside and B pairs between classes,
    p = h·M/I and q = (1 − h)·M/B, where M = N·degree/2 is the expected number of edges.
    Args: sizes (K,) nodes of every class, K ≥ 2.
    Returns: (K, K) in [0, 1].
    Raises: GraphError when p or q would exceed 1.
    Source: Deshpande et al. 2018 (contextual stochastic block model); this parametrisation is ours.
    """
    n = int(sizes.sum())
    inside = float((sizes * (sizes - 1)).sum()) / 2
    between = n * (n - 1) / 2 - inside
    edges = n * average_degree / 2
    p, q = homophily * edges / max(inside, 1.0), (1 - homophily) * edges / max(between, 1.0)
    if max(p, q) > 1:
        raise GraphError(
            f"average_degree = {average_degree:g} with homophily = {homophily:g} needs more edges than {n} nodes in "
            f"{len(sizes)} classes have pairs: lower average_degree or add nodes."
        )
    probabilities = np.full((len(sizes), len(sizes)), q)
    np.fill_diagonal(probabilities, p)
    return probabilities


def make_block_model(
    num_nodes: int = 2_000,
    num_classes: int = 5,
    homophily: float = 0.8,
    average_degree: float = 6.0,
    feature_dimension: int = 64,
    feature_signal: float = 1.0,
    seed: int = 0,
) -> Graph:
    """A graph drawn from the contextual stochastic block model.

    Classes are as equal as N allows. Every pair of nodes is joined independently (see `edge_probabilities`); features
    are x_i = signal · μ_{y_i} + ε_i with μ_k uniform on the unit sphere and ε_i ~ N(0, I/D), so that at signal 1 the
    class mean is as long as the noise.
    Returns: a graph with dense features (N, D).
    Raises: GraphError for degree and homophily that no graph of this size has.
    Source: Deshpande et al. 2018; several classes and this scaling are ours.
    """
    rng = seeded_numpy_generator(Purpose.DATA, seed)
    labels = np.sort(np.arange(num_nodes) % num_classes)
    sizes = np.bincount(labels, minlength=num_classes)
    source, target = _edges(sizes, edge_probabilities(sizes, homophily, average_degree), rng)
    means = rng.standard_normal((num_classes, feature_dimension))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    noise = rng.standard_normal((num_nodes, feature_dimension)) / np.sqrt(feature_dimension)
    features = feature_signal * means[labels] + noise
    order = rng.permutation(num_nodes)
    place = np.argsort(order)
    adjacency = symmetric_adjacency(place[source], place[target], num_nodes)
    return Graph("block_model", adjacency, compact_features(features[order]), labels[order].astype(np.int64))


def _edges(
    sizes: NDArray[np.int64], probabilities: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Undirected edges of all blocks, each pair at most once."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    blocks = [
        _block_edges(int(sizes[a]), int(sizes[b]), a == b, float(probabilities[a, b]), rng)
        + np.array([[starts[a]], [starts[b]]])
        for a in range(len(sizes))
        for b in range(a, len(sizes))
    ]
    source, target = np.concatenate(blocks, axis=1)
    return source, target


def _block_edges(
    rows: int, columns: int, same: bool, probability: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """(2, M) pairs of one block: a binomial number of distinct pairs, the same law as one coin a pair."""
    pairs = rows * (rows - 1) // 2 if same else rows * columns
    chosen = (
        rng.choice(pairs, size=rng.binomial(pairs, probability), replace=False, shuffle=False)
        if pairs
        else np.empty(0, int)
    )
    if not same:
        return np.stack(np.divmod(chosen, columns))
    # Pair number t of the strict lower triangle: row i is the largest with i(i-1)/2 <= t.
    i = ((1 + np.sqrt(1 + 8 * chosen.astype(np.float64))) / 2).astype(np.int64)
    i -= i * (i - 1) // 2 > chosen
    i += i * (i + 1) // 2 <= chosen
    return np.stack([i, chosen - i * (i - 1) // 2])
