"""GRACE's loss against its formula written out with all N x N similarities; BGRL's cosine against PyTorch's."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from werank_core.objectives import grace, mean_cosine


def written_out(u: Tensor, v: Tensor, temperature: float) -> Tensor:
    """Equations 1 and 2 of Zhu et al. 2020, node by node."""
    u, v = F.normalize(u, dim=-1), F.normalize(v, dim=-1)
    total, n = torch.zeros((), dtype=u.dtype), len(u)
    for a, b in ((u, v), (v, u)):
        for i in range(n):
            between = torch.stack([torch.exp(a[i] @ b[j] / temperature) for j in range(n)])
            within = torch.stack([torch.exp(a[i] @ a[j] / temperature) for j in range(n) if j != i])
            total = total - torch.log(between[i] / (between.sum() + within.sum()))
    return total / (2 * n)


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2))
    return one, two


@pytest.mark.parametrize("chunk", [2, 5, 7, 100])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_value_and_gradient_are_those_of_the_formula(chunk: int, temperature: float) -> None:
    one, two = pair(7, 3)
    ours, theirs = grace(one, two, temperature, chunk=chunk), written_out(one, two, temperature)
    assert torch.allclose(ours, theirs)
    for a, b in zip(torch.autograd.grad(ours, (one, two)), torch.autograd.grad(theirs, (one, two)), strict=True):
        assert torch.allclose(a, b)


def test_stacked_runs_are_the_solo_runs() -> None:
    one, two = pair(3, 6, 4)
    alone = torch.stack([grace(one[r], two[r], 0.5, chunk=4) for r in range(3)])
    assert torch.allclose(grace(one, two, 0.5, chunk=4), alone)
    mapped = torch.vmap(lambda a, b: grace(a, b, 0.5, chunk=4))(one, two)
    assert torch.allclose(mapped, alone)
    gradient, reference = (torch.autograd.grad(loss.sum(), one)[0] for loss in (mapped, alone))
    assert torch.allclose(gradient, reference)


def test_symmetric_in_its_views_and_blind_to_length() -> None:
    one, two = pair(6, 4)
    assert torch.allclose(grace(one, two, 0.5), grace(two, one, 0.5))
    assert torch.allclose(grace(one, two, 0.5), grace(3 * one, 0.1 * two, 0.5))


def test_mean_cosine_is_pytorchs_with_its_gradient_and_maps_over_runs() -> None:
    one, two = pair(3, 6, 4)
    expected = F.cosine_similarity(one, two.detach(), dim=-1).mean(-1)
    assert torch.allclose(mean_cosine(one, two), expected)
    mapped = torch.vmap(mean_cosine)(one, two)
    gradient, reference = (torch.autograd.grad(value.sum(), one, retain_graph=True)[0] for value in (mapped, expected))
    assert torch.allclose(gradient, reference)
    assert mean_cosine(torch.zeros(2, 3), torch.ones(2, 3)).item() == 0
