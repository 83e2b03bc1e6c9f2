"""Which samples train, choose and test: random splits from a seed, or those a data set brings along."""

from collections.abc import Sequence

import torch
from torch import Tensor

from werank_core.datasets.graph_data import Graph, NodeSplits
from werank_core.metrics.probe import ProbeSplits, splits_from_masks
from werank_core.streams import Purpose, seeded_generator

NODE_FRACTIONS = (0.1, 0.1, 0.8)
FOLDS = 5  # halvings of the training samples that choose C


def random_splits(
    labels: Tensor, num_splits: int, fractions: Sequence[float] = NODE_FRACTIONS, seed: int = 0
) -> ProbeSplits:
    """Stratified random splits into training, validation and test samples, all samples with a label used.

    Every class gives each part its share, rounded down; what rounding leaves goes to the test part. A class always
    gives at least one sample to training and, when it has three, one to validation.
    Args: labels (N,) in 0..K-1, -1 for a sample without one, every class with at least two samples; fractions, three
        that sum to 1.
    Returns: row numbers, each part (S, n) sorted.
    Raises: ValueError for fractions that do not sum to 1 or a class with fewer than two samples.
    Source: the 10/10/80 that Thakoor et al. 2022 write of (their code is `cross_validated_splits`); stratifying is ours
        (it keeps every class in training).
    """
    if len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-9 or min(fractions) <= 0:
        raise ValueError(f"fractions = {tuple(fractions)}: three positive shares that sum to 1 are needed.")
    counts = torch.bincount(labels[labels >= 0])
    if 0 < (smallest := int(counts[counts > 0].min())) < 2:
        raise ValueError(f"a class has {smallest} sample; it cannot be both trained and tested on.")
    generator = seeded_generator(Purpose.PROBE_SPLITS, seed)
    drawn = [_one_split(labels, counts, fractions, generator) for _ in range(num_splits)]
    return ProbeSplits(*(torch.stack(part) for part in zip(*drawn, strict=True)))


def _one_split(
    labels: Tensor, counts: Tensor, fractions: Sequence[float], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Row numbers of the three parts of one split."""
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order] >= 0]
    order = order[labels[order].argsort(stable=True)]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)[:-1]])
    place = torch.arange(len(order)) - starts[labels[order]]
    train = (counts * fractions[0]).long().clamp_min(1)
    validation = (counts * fractions[1]).long().clamp_min(1).minimum((counts - train - 1).clamp_min(0))
    train_end, validation_end = train[labels[order]], (train + validation)[labels[order]]
    parts = (place < train_end, (place >= train_end) & (place < validation_end), place >= validation_end)
    first, second, third = (order[part].sort()[0] for part in parts)
    return first, second, third


def cross_validated_splits(labels: Tensor, num_splits: int, seed: int = 0) -> ProbeSplits:
    """Random splits into 20% to train on and 80% to test on; C is chosen by five random halvings of the 20%.

    Drawn without regard to classes, as in the source, so that a class may be missing from training. Samples without a
    label (below 0) are left out.
    Args: labels (N,), 10 or more of them in 0..K-1.
    Returns: train (S, n), test (S, m), and for every halving the two halves: fitting and validation (S, 5, n/2).
    Raises: ValueError for fewer than 10 labelled samples.
    Source: `fit_logistic_regression` of Thakoor et al. 2022 (train_test_split, ShuffleSplit), sizes rounded as there.
    """
    labelled = (labels >= 0).nonzero()[:, 0]
    num_train = len(labelled) // 5
    if num_train < 2:
        raise ValueError(f"the probe has {len(labelled)} labelled samples; its protocol bgrl needs 10 to split them.")
    generator = seeded_generator(Purpose.PROBE_SPLITS, seed)
    parts: list[tuple[Tensor, ...]] = []
    for _ in range(num_splits):
        order = labelled[torch.randperm(len(labelled), generator=generator)]
        train = order[:num_train]
        halvings = train[torch.stack([torch.randperm(num_train, generator=generator) for _ in range(FOLDS)])]
        half = num_train // 2
        parts.append((train, halvings[:, half:], order[num_train:], halvings[:, :half]))
    return ProbeSplits(*(torch.stack(part) for part in zip(*parts, strict=True)))


def graph_splits(graph: Graph, kind: str, num_splits: int, seed: int, protocol: str = "holdout") -> ProbeSplits:
    """The probe's splits of a graph: random ones as its protocol asks, or with kind "own" those it brought along.

    Args: protocol "holdout" (10/10/80) or "bgrl" (20/80, C by halvings of the 20%).
    Raises:
        ValueError: own splits asked of a graph that has none.
    """
    if kind == "random" and protocol == "bgrl":
        return cross_validated_splits(torch.from_numpy(graph.labels), num_splits, seed)
    if kind == "random":
        return random_splits(torch.from_numpy(graph.labels), num_splits, NODE_FRACTIONS, seed)
    if graph.own_splits is None:
        raise ValueError(f"{graph.name} brings no splits along: choose random ones.")
    return own_splits(graph.own_splits)


def own_splits(splits: NodeSplits) -> ProbeSplits:
    """Row numbers from masks (S, N)."""
    return splits_from_masks(
        *(torch.from_numpy(mask.T.copy()) for mask in (splits.train, splits.validation, splits.test))
    )
