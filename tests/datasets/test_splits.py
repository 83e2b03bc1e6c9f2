"""Splits: disjoint, complete, stratified, fixed by the seed, and uniform over the samples of a class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats
from sklearn.model_selection import ShuffleSplit, train_test_split

from werank_core.datasets.graph_data import Graph, NodeSplits
from werank_core.datasets.splits import cross_validated_splits, graph_splits, random_splits


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


@pytest.mark.parametrize("count", [10, 97, 2708])
def test_cross_validated_splits_have_the_sizes_of_the_authors_code(count: int) -> None:
    labels = torch.arange(count) % 3
    splits = cross_validated_splits(labels, 3, seed=0)
    assert splits.fitting is not None
    train, test = train_test_split(np.arange(count), test_size=0.8, random_state=0)
    fitting, validation = next(ShuffleSplit(n_splits=5, test_size=0.5, random_state=0).split(train))
    assert splits.train.shape == (3, len(train))
    assert splits.test.shape == (3, len(test))
    assert splits.fitting.shape == (3, 5, len(fitting))
    assert splits.validation.shape == (3, 5, len(validation))
    for split in range(3):
        everything = torch.cat([splits.train[split], splits.test[split]]).sort()[0]
        assert torch.equal(everything, torch.arange(count))
        for fold in range(5):
            halves = torch.cat([splits.fitting[split, fold], splits.validation[split, fold]])
            assert torch.equal(halves.sort()[0], splits.train[split].sort()[0])
    assert count == 10 or not torch.equal(splits.fitting[0, 0].sort()[0], splits.fitting[0, 1].sort()[0])


def test_cross_validated_splits_are_fixed_by_the_seed_and_leave_out_what_has_no_label() -> None:
    labels = torch.arange(200) % 5 - 1
    same, again, other = (cross_validated_splits(labels, 2, seed=seed) for seed in (1, 1, 2))
    for name, rows in same.parts().items():
        assert torch.equal(rows, again.parts()[name])
        assert not torch.equal(rows, other.parts()[name])
        assert (labels[rows] >= 0).all()
    assert same.train.shape[1] + same.test.shape[1] == 160
    with pytest.raises(ValueError, match="has 9 labelled samples; its protocol bgrl needs 10"):
        cross_validated_splits(torch.cat([torch.zeros(9), -torch.ones(50)]).long(), 1)


def test_every_sample_trains_equally_often_also_where_c_is_cross_validated() -> None:
    splits = cross_validated_splits(torch.zeros(40, dtype=torch.long), 500)
    assert splits.fitting is not None
    for rows in (splits.train, splits.fitting[:, 0], splits.validation[:, 4]):
        assert stats.chisquare(torch.bincount(rows.flatten(), minlength=40).numpy()).pvalue > 1e-4


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


def test_the_protocol_of_a_graph_decides_its_random_splits() -> None:
    graph = Graph("g", sparse.csr_array((50, 50)), np.ones((50, 1), dtype=np.float32), np.arange(50) % 2)
    assert graph_splits(graph, "random", 2, seed=0).fitting is None
    assert torch.equal(
        graph_splits(graph, "random", 2, 5, "bgrl").train, cross_validated_splits(torch.arange(50) % 2, 2, 5).train
    )


def test_samples_without_a_label_are_in_no_part_and_change_nothing_for_the_others() -> None:
    labels = torch.arange(60) % 3
    known = torch.cat([labels, torch.full((20,), -1)])
    splits = random_splits(known, 3, seed=1)
    for split in range(3):
        parts = torch.cat([splits.train[split], splits.validation[split], splits.test[split]])
        assert torch.equal(parts.sort()[0], torch.arange(60))
    shares = [torch.bincount(known[rows]).tolist() for rows in (splits.train[0], splits.validation[0], splits.test[0])]
    assert shares == [[2] * 3, [2] * 3, [16] * 3]
