"""Every objective against a NumPy or PyTorch computation written from the paper."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from werank_core import objectives


def views(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)
    second = torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)
    return first, second


def plain_infonce(a: Tensor, b: Tensor, temperature: float, normalize: bool, symmetric: bool) -> Tensor:
    if normalize:
        a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    target = torch.arange(len(a))
    loss = F.cross_entropy(a @ b.T / temperature, target)
    return (loss + F.cross_entropy(b @ a.T / temperature, target)) / 2 if symmetric else loss


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_infonce_is_cross_entropy_with_its_gradient(normalize: bool, symmetric: bool, temperature: float) -> None:
    a, b = views(12, 5)
    options = {"normalize": normalize, "symmetric": symmetric}
    expected = plain_infonce(a, b, temperature, **options)
    value = objectives.infonce(a, b, temperature, **options)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(torch.autograd.grad(value, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def test_infonce_stays_finite_when_a_positive_pair_has_no_probability() -> None:
    far = torch.tensor([[1e3, 0.0], [0.0, 1e3]], requires_grad=True)
    loss = objectives.infonce(far, far.flip(0), 0.1, normalize=False, symmetric=False)
    assert loss.item() == pytest.approx(1e7)
    assert torch.isfinite(torch.autograd.grad(loss, far)[0]).all()


def test_infonce_of_the_toy_cases_is_the_one_of_their_source() -> None:
    """Jing et al. 2022: logits z₁ z₂ᵀ/τ of views as they are, cross-entropy of one direction."""
    a, b = views(128, 16)
    expected = F.cross_entropy(a @ b.T / 0.1, torch.arange(128))
    value = objectives.infonce(a, b, 0.1, normalize=False, symmetric=False)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


def test_byol_is_the_squared_distance_of_unit_vectors() -> None:
    a, b = views(9, 4)
    unit_a, unit_b = (x.detach().numpy() / np.linalg.norm(x.detach().numpy(), axis=1, keepdims=True) for x in (a, b))
    assert objectives.byol(a, b).item() == pytest.approx(((unit_a - unit_b) ** 2).sum(1).mean())
    assert objectives.byol(a, a).item() == pytest.approx(0, abs=1e-12)


def test_vicreg_terms_are_numpys() -> None:
    a, b = views(10, 3)
    x, y = a.detach().numpy(), b.detach().numpy()

    def off_diagonal(z: np.ndarray) -> float:
        covariance = np.cov(z.T)
        return float(((covariance**2).sum() - (np.diag(covariance) ** 2).sum()) / z.shape[1])

    def hinge(z: np.ndarray) -> float:
        return float(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean())

    expected = 25 * ((x - y) ** 2).mean() + 25 * (hinge(x) + hinge(y)) / 2 + off_diagonal(x) + off_diagonal(y)
    assert objectives.vicreg(a, b).item() == pytest.approx(expected)


def authors_barlow_twins(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """As the authors' code has it: BatchNorm without affine parameters, its default ε of 1e-5."""
    norm = torch.nn.BatchNorm1d(a.shape[1], affine=False, dtype=a.dtype)
    assert norm.eps == 1e-5
    c: Tensor = norm(a).T @ norm(b) / len(a)
    on = (torch.diagonal(c) - 1).pow(2).sum()
    return on + weight * (c.pow(2).sum() - torch.diagonal(c).pow(2).sum())


@pytest.mark.parametrize("scale", [1e-2, 0.1, 1.0, 1e2])
def test_barlow_twins_is_the_authors_at_any_scale_of_the_embeddings(scale: float) -> None:
    """At 1e-2 the variance is ten times ε: there another ε is another loss."""
    a, b = (v.detach().mul(scale).requires_grad_() for v in views(50, 3))
    value, expected = objectives.barlow_twins(a, b, redundancy_weight=0.01), authors_barlow_twins(a, b, 0.01)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(value, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


def test_barlow_twins_ends_at_whitened_equal_views_and_bears_a_collapsed_dimension() -> None:
    a, _ = views(50, 3)
    white = torch.linalg.qr(a - a.mean(0)).Q * 50**0.5
    assert objectives.barlow_twins(white, white).item() == pytest.approx(0, abs=1e-6)
    flat = a.detach() * torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    flat.requires_grad_()
    (gradient,) = torch.autograd.grad(objectives.barlow_twins(flat, flat), flat)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e-2, 1e2])
def test_vicreg_is_the_authors_at_any_scale_of_the_embeddings(scale: float) -> None:
    a, b = (v.detach().mul(scale).requires_grad_() for v in views(20, 4))
    std = [torch.sqrt(z.var(dim=0) + 0.0001) for z in (a, b)]
    hinge = sum(torch.mean(F.relu(1 - s)) / 2 for s in std)
    off = ~torch.eye(4, dtype=torch.bool)
    squares = [((z - z.mean(0)).T @ (z - z.mean(0)) / 19)[off].pow(2).sum() / 4 for z in (a, b)]
    expected = 25 * F.mse_loss(a, b) + 25 * hinge + sum(squares)
    value = objectives.vicreg(a, b)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(torch.autograd.grad(value, (a, b)), torch.autograd.grad(expected, (a, b)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["infonce", "byol", "vicreg", "barlow_twins"])
def test_a_batch_of_runs_equals_the_solo_runs_and_contains_a_nan(name: str) -> None:
    a, b = (v.detach() for v in views(3, 8, 4))
    loss = getattr(objectives, name)
    arguments = (0.3,) if name == "infonce" else ()
    solo = torch.stack([loss(x, y, *arguments) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(loss(a, b, *arguments), solo, rtol=1e-12, atol=1e-12)
    broken = a.clone()
    broken[1] = torch.nan
    value = loss(broken, b, *arguments)
    assert value[1].isnan()
    assert torch.equal(value[[0, 2]], loss(a, b, *arguments)[[0, 2]])
