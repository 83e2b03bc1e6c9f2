"""Sums over rows, whole and in parts."""

import torch
from torch import Tensor

from werank_core.metrics.row_sums import joined_row_sums, row_sums


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_row_sums_of_parts_join_to_those_of_all_rows() -> None:
    """Also where a part lacks a class; a broken run stays alone with it."""
    inputs, deltas = drawn(16, 2, 30, 6), drawn(17, 2, 30, 5)
    labels = torch.arange(30) % 3
    labels[:5] = 2
    whole = row_sums(inputs, deltas, labels, 4)
    cuts = [slice(0, 5), slice(5, 17), slice(17, 30)]
    joined = joined_row_sums([row_sums(inputs[:, cut], deltas[:, cut], labels[cut], 4) for cut in cuts])
    for found, expected in zip(joined, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    inputs[1, 20, 0] = torch.nan
    broken = joined_row_sums([row_sums(inputs[:, cut], deltas[:, cut], labels[cut], 4) for cut in cuts])
    assert torch.equal(broken.products[0], joined.products[0])
    assert broken.scatter_norm.isnan().tolist() == [False, True]
