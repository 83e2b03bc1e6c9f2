"""Two views of the same rows."""

import torch

from werank_core.augmentations import augmented_dimensions, noisy_views


def test_noise_falls_on_the_trailing_share_of_the_dimensions() -> None:
    assert augmented_dimensions(8, 0.5).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert augmented_dimensions(8, 1.0).sum() == 8
    assert augmented_dimensions(8, 0.0).sum() == 0


def test_views_differ_from_the_rows_by_the_scaled_noise_alone() -> None:
    rows, noise = torch.randn(3, 5, 4), torch.randn(3, 2, 5, 4)
    strength = torch.tensor([0.0, 0.5, 2.0]).reshape(3, 1, 1, 1)
    views = noisy_views(rows, noise, strength, augmented_dimensions(4, 0.5))
    assert views.shape == (3, 2, 5, 4)
    assert torch.equal(views[0, 0], rows[0])
    assert torch.equal(views[2, 1, :, :2], rows[2, :, :2])
    torch.testing.assert_close(views[2, 1, :, 2:], rows[2, :, 2:] + 2 * noise[2, 1, :, 2:])
