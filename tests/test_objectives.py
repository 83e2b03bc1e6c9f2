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
        return float((covariance**2).sum() - (np.diag(covariance) ** 2).sum()) / z.shape[1]

    def hinge(z: np.ndarray) -> float:
        return float(np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean())

    expected = 25 * ((x - y) ** 2).mean() + 25 * (hinge(x) + hinge(y)) / 2 + off_diagonal(x) + off_diagonal(y)
    assert objectives.vicreg(a, b).item() == pytest.approx(expected)


def test_barlow_twins_is_numpys_and_ends_at_whitened_equal_views() -> None:
    a, b = views(50, 3)
    x, y = a.detach().numpy(), b.detach().numpy()
    x, y = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-4) for z in (x, y))
    c = x.T @ y / 50
    expected = ((1 - np.diag(c)) ** 2).sum() + 0.01 * ((c**2).sum() - (np.diag(c) ** 2).sum())
    assert objectives.barlow_twins(a, b, redundancy_weight=0.01).item() == pytest.approx(expected)
    white = torch.linalg.qr(a - a.mean(0)).Q * 50**0.5
    assert objectives.barlow_twins(white, white).item() == pytest.approx(0, abs=1e-6)


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
