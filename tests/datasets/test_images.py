"""The digits that ship with scikit-learn, as the experiments see them."""

import torch

from werank_core.datasets.images import load_digits


def test_digits_have_their_published_counts_in_every_part() -> None:
    split = load_digits(seed=0)
    assert split.train_rows.shape == (1200, 64)
    assert split.test_rows.shape == (597, 64)
    assert split.num_classes == 10
    shares = torch.bincount(split.train_labels) / 1200 - torch.bincount(split.test_labels) / 597
    assert shares.abs().max() < 0.005, "split by class"


def test_pixels_are_centred_with_one_scale_from_the_training_rows() -> None:
    split = load_digits(seed=1)
    assert split.train_rows.mean(0).abs().max() < 1e-5
    assert abs(split.train_rows.std().item() - 1) < 1e-5
    assert (split.train_rows.std(0) == 0).any(), "border pixels that never change stay constant"


def test_the_seed_decides_the_split() -> None:
    assert torch.equal(load_digits(2).test_labels, load_digits(2).test_labels)
    assert not torch.equal(load_digits(2).test_labels, load_digits(3).test_labels)
