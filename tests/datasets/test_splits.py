"""Splits: disjoint, complete, stratified, fixed by the seed, and uniform over the samples of a class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from werank_core.datasets.graph_data import Graph, NodeSplits
from werank_core.datasets.splits import graph_splits, random_splits


@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    fractions=st.sampled_from([(0.1, 0.1, 0.8), (0.6, 0.2, 0.2), (1 / 3, 1 / 3, 1 / 3)]),
    seed=st.integers(0, 1000),
)
def test_every_sample_lies_in_exactly_one_part(counts: list[int], fractions: tuple[float, ...], seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    if all(count == 2 for count in counts):
        labels = torch.cat([labels, labels[:1]])
    splits = random_splits(labels, 3, fractions, seed)
    for split in range(3):
        parts = [splits.train[split], splits.validation[split], splits.test[split]]
        assert torch.equal(torch.cat(parts).sort()[0], torch.arange(len(labels)))
        assert set(labels[parts[0]].tolist()) == set(range(len(counts)))


def test_shares_are_the_fractions_class_by_class() -> None:
    labels = torch.arange(5).repeat(200)
    splits = random_splits(labels, 2, (0.1, 0.1, 0.8), 0)
    for rows, share in ((splits.train, 0.1), (splits.validation, 0.1), (splits.test, 0.8)):
        assert rows.shape == (2, round(1000 * share))
        assert torch.bincount(labels[rows[0]]).tolist() == [round(200 * share)] * 5


def test_seed_decides() -> None:
    labels = torch.arange(60) % 3
    same, again, other = (random_splits(labels, 4, seed=seed).train for seed in (1, 1, 2))
    assert torch.equal(same, again)
    assert not torch.equal(same, other)
    assert not torch.equal(same[0], same[1])


def test_every_sample_trains_equally_often() -> None:
    splits = random_splits(torch.arange(40) % 2, 400, (0.25, 0.25, 0.5), seed=0)
    assert stats.chisquare(torch.bincount(splits.train.flatten(), minlength=40).numpy()).pvalue > 1e-4


@pytest.mark.parametrize(
    ("labels", "fractions", "sentence"),
    [
        ([0, 0, 1], (0.1, 0.1, 0.8), "a class has 1 sample"),
        ([0, 0, 1, 1], (0.5, 0.1, 0.1), "sum to 1"),
        ([0, 0], (0.5, 0.5), "sum to 1"),
    ],
)
def test_what_cannot_be_split(labels: list[int], fractions: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        random_splits(torch.tensor(labels), 1, fractions)


def test_own_splits_of_a_graph() -> None:
    masks = np.eye(3, 6, dtype=bool)
    graph = Graph(
        "g",
        sparse.csr_array((6, 6)),
        np.ones((6, 1), dtype=np.float32),
        np.arange(6) % 2,
        NodeSplits(masks, ~masks, masks),
    )
    splits = graph_splits(graph, "own", 20, seed=0)
    assert splits.train.tolist() == [[0], [1], [2]]
    assert splits.validation[1].tolist() == [0, 2, 3, 4, 5]
    without = Graph("g", graph.adjacency, graph.features, graph.labels)
    with pytest.raises(ValueError, match="g brings no splits along"):
        graph_splits(without, "own", 20, seed=0)
