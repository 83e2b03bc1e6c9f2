"""Toy data: what each seed draws, and which views runs share."""

import pytest
import torch

from werank_core.config import ToySSLConfig
from werank_core.sweeps import Run, RunBatch
from werank_core.training.toy_data import ToyData, make_split

CONFIG = ToySSLConfig(
    dataset="mixture", num_samples=90, dimension=6, signal_dimension=3, num_classes=3, batch_size=16, evaluation_rows=20
)


def data_of(*configs: ToySSLConfig) -> ToyData:
    return ToyData(RunBatch("toy_ssl", tuple(Run("toy_ssl", config) for config in configs)), "cpu", torch.float64)


@pytest.mark.parametrize("dataset", ["mixture", "gaussian"])
def test_two_thirds_of_drawn_rows_train(dataset: str) -> None:
    split = make_split(CONFIG.replaced(dataset=dataset), seed=1)
    assert (split.train_rows.shape, split.test_rows.shape) == ((60, 6), (30, 6))
    assert torch.equal(make_split(CONFIG.replaced(dataset=dataset), seed=1).train_rows, split.train_rows)


def test_runs_of_a_seed_see_the_same_rows_and_noise_scaled_by_their_own_strength() -> None:
    quiet = CONFIG.replaced(augmentation_strength=0.0)
    data = data_of(quiet, CONFIG, CONFIG, CONFIG.replaced(augmentation_strength=0.6), CONFIG.replaced(model_seed=1))
    views = data.views()
    assert views.shape == (5, 2, 16, 6)
    clean = views[0]
    assert torch.equal(clean[0], clean[1]), "without noise both views are the rows"
    assert torch.equal(views[1], views[2])
    torch.testing.assert_close(views[3] - clean, 2 * (views[1] - clean))
    assert not torch.equal(views[4], views[1])
    rows = {tuple(row) for row in data.rows[0].tolist()}
    assert {tuple(row) for row in clean[0].tolist()} <= rows


def test_held_out_views_are_the_same_at_every_record_and_take_nothing_from_training() -> None:
    config = CONFIG.replaced(augmentation_strength=1.0)
    data, other = data_of(config), data_of(config)
    first, noise = data.held_out_views()
    assert torch.equal(first, data.held_out_views()[0])
    assert first.shape == (1, 2, 20, 6)
    torch.testing.assert_close(first, data.test_rows[:, None] + noise)
    assert torch.equal(data.views(), other.views())


def test_a_batch_is_never_larger_than_the_rows() -> None:
    assert data_of(CONFIG.replaced(batch_size=512)).views().shape == (1, 2, 60, 6)
