"""Drawn data: moments, sizes, seeds."""

import pytest
import torch

from werank_core.datasets.synthetic import make_gaussian, make_mixture


def test_gaussian_has_unit_covariance_and_depends_on_its_seed_alone() -> None:
    rows = make_gaussian(20_000, 4, seed=3)
    torch.testing.assert_close(torch.cov(rows.T), torch.eye(4), atol=0.05, rtol=0)
    assert torch.equal(rows, make_gaussian(20_000, 4, seed=3))
    assert not torch.equal(rows, make_gaussian(20_000, 4, seed=4))


def test_mixture_has_the_noise_asked_for_around_means_in_the_signal_subspace() -> None:
    rows, labels = make_mixture(8000, 6, 4, separation=5.0, noise=0.5, signal_dimension=2, seed=0)
    for k in range(4):
        cluster = rows[labels == k]
        assert len(cluster) == 2000
        assert cluster.std(0).tolist() == pytest.approx([0.5] * 6, rel=0.1)
        assert cluster.mean(0)[2:].abs().max() < 0.05


def test_imbalance_is_the_ratio_of_the_last_class_to_the_first() -> None:
    _, labels = make_mixture(10_000, 2, 5, separation=1, noise=1, imbalance=0.1, seed=0)
    sizes = torch.bincount(labels)
    assert sizes.sum() == 10_000
    assert (sizes[4] / sizes[0]).item() == pytest.approx(0.1, rel=0.02)
    assert (sizes.diff() < 0).all()


def test_every_class_has_a_sample_and_too_many_classes_are_named() -> None:
    _, labels = make_mixture(7, 2, 7, separation=1, noise=1, imbalance=0.01, seed=0)
    assert sorted(labels.tolist()) == list(range(7))
    with pytest.raises(ValueError, match="num_classes = 8"):
        make_mixture(7, 2, 8, separation=1, noise=1, seed=0)
