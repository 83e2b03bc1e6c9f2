"""Rank and alignment of batch gradients against NumPy and PyTorch."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from werank_core.metrics.gradients import batch_gradient, gradient_alignment, gradient_rank


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_rank_of_a_batch_gradient_is_bounded_by_the_batch(samples: int) -> None:
    inputs, deltas = drawn(11, samples, 6), drawn(12, samples, 5)
    expected = np.linalg.matrix_rank(deltas.numpy().T @ inputs.numpy(), rtol=1e-5)
    assert gradient_rank(batch_gradient(deltas.float(), inputs.float())).item() == expected
    assert expected == min(5, 6, samples)


def test_gradient_rank_edge_cases() -> None:
    assert gradient_rank(torch.zeros(4, 3)).item() == 0
    assert gradient_rank(torch.diag(torch.tensor([1.0, 1e-3, 1e-7]))).item() == 2
    assert gradient_rank(torch.diag(torch.tensor([1.0, 1e-3, 1e-7])), 1e-2).item() == 1
    wide = torch.diag(torch.tensor([1.0, 2e-5, 5e-6], dtype=torch.float64)) @ torch.eye(3, 5, dtype=torch.float64)
    assert [gradient_rank(1e-200 * g).item() for g in (wide, wide.mT, -wide.mT)] == [2, 2, 2]
    assert gradient_rank(wide, 1e-9).item() == 3
    with pytest.raises(ValueError, match="tolerance"):
        gradient_rank(torch.eye(2), -1)


def test_gradient_alignment_is_a_cosine() -> None:
    first = drawn(12, 4, 5, 6)
    second = torch.stack([3 * first[0], -first[1], torch.zeros(5, 6), first[0]])
    alignment = gradient_alignment(first, second)
    assert alignment[:2].tolist() == pytest.approx([1, -1])
    assert alignment[2].isnan()
    cosine = functional.cosine_similarity(first[3].flatten(), first[0].flatten(), dim=0)
    assert alignment[3].item() == pytest.approx(cosine.item())
    assert gradient_alignment(1e-200 * first[0], 1e-200 * first[0]).item() == pytest.approx(1)
