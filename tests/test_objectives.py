"""Every objective against a NumPy or PyTorch computation written from the paper."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from werank_core import objectives, regularizers
from werank_core.config import ToySSLConfig
from werank_core.objectives import LOSSES, Views, settings_read


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
    one_way, other_way = (float(((x - y[::-1]) ** 2).sum(1).mean()) for x, y in ((unit_a, unit_b), (unit_b, unit_a)))
    predictions, targets = (a, b), (a.flip(0), b.flip(0))
    assert objectives.byol(predictions, targets, symmetric=False).item() == pytest.approx(one_way)
    assert objectives.byol(predictions, targets).item() == pytest.approx((one_way + other_way) / 2)
    assert objectives.byol((a, b), (b, a)).item() == pytest.approx(0, abs=1e-12)


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


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_runs_equals_the_solo_runs_and_contains_a_nan(name: str) -> None:
    a, b = (v.detach() for v in views(3, 8, 4))
    extra = torch.randn(3, 4, 6, dtype=a.dtype, generator=torch.Generator().manual_seed(3))
    settings = ToySSLConfig(objective=name).settings_of("objective")
    settings = {n: v for n, v in settings.items() if n in settings_read(LOSSES[name])}

    def loss(x: Tensor, y: Tensor, more: Tensor) -> Tensor:
        return LOSSES[name](Views((x, y), (x, y), (x.flip(-2), y.flip(-2)), more.mT, more), **settings)

    solo = torch.stack([loss(*each) for each in zip(a, b, extra, strict=True)])
    torch.testing.assert_close(loss(a, b, extra), solo, rtol=1e-12, atol=1e-12)
    broken = a.clone()
    broken[1] = torch.nan
    value = loss(broken, b, extra)
    assert value[1].isnan()
    assert torch.equal(value[[0, 2]], loss(a, b, extra)[[0, 2]])


def test_simsiam_is_the_negative_cosine_and_leaves_its_targets_alone() -> None:
    a, b = views(9, 4)
    aims = tuple(v.detach().flip(0).requires_grad_() for v in (a, b))
    loss = objectives.simsiam((a, b), (aims[0], aims[1]))
    cosines = F.cosine_similarity(a, aims[1].detach()), F.cosine_similarity(b, aims[0].detach())
    torch.testing.assert_close(loss, -(cosines[0].mean() + cosines[1].mean()) / 2)
    assert all(gradient is None for gradient in torch.autograd.grad(loss, aims, allow_unused=True))


def test_assignments_are_sinkhorns_in_turn() -> None:
    """As the code of Caron et al. has it, on probabilities instead of logarithms."""
    scores = torch.rand(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plan = np.exp(scores.numpy().T / 0.05)
    plan /= plan.sum()
    for _ in range(3):
        plan /= 5 * plan.sum(1, keepdims=True)
        plan /= 12 * plan.sum(0, keepdims=True)
    np.testing.assert_allclose(objectives.assignments(scores).numpy(), 12 * plan.T, rtol=1e-10)


def test_swav_lets_each_view_predict_the_assignment_of_the_other() -> None:
    a, b = views(12, 4)
    prototypes = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores = [F.normalize(v, dim=1) @ F.normalize(prototypes, dim=1).T for v in (a, b)]
    codes = [objectives.assignments(score) for score in scores]
    expected = (F.cross_entropy(scores[0] / 0.1, codes[1]) + F.cross_entropy(scores[1] / 0.1, codes[0])) / 2
    torch.testing.assert_close(objectives.swav(a, b, prototypes), expected)
    torch.testing.assert_close(objectives.swav(3 * a, b, 7 * prototypes), expected)


def test_weak_sigreg_is_werank_on_white_data() -> None:
    """Cov(x) = I and z = W x: ‖Cov(z) − I‖_F = ‖W Wᵀ − I‖_F."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 6, dtype=torch.float64, generator=generator)
    rows = rows - rows.mean(0)
    white = rows @ torch.linalg.inv(torch.linalg.cholesky(rows.T @ rows / 199)).T
    weight = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    z = white @ weight.T
    value = objectives.weak_sigreg(z, z, isotropy_weight=1.0)
    torch.testing.assert_close(value, regularizers.werank_penalty(weight, "output"))
    torch.testing.assert_close(objectives.weak_sigreg(z, z + 2, isotropy_weight=0.0), torch.tensor(1.0).double())


def test_sigreg_integrates_the_distance_of_characteristic_functions() -> None:
    a, b = views(40, 4)
    directions = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    t = np.linspace(-3, 3, 33)
    distances = []
    for view in (a, b):
        for direction in directions.T.numpy():
            projected = view.detach().numpy() @ (direction / np.linalg.norm(direction))
            empirical = np.exp(1j * t[:, None] * projected).mean(1)
            gap = np.abs(empirical - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
            distances.append(40 * np.trapezoid(gap, t))
    value = objectives.sigreg(a, b, directions, isotropy_weight=1.0)
    assert value.item() == pytest.approx(np.mean(distances), rel=1e-10)
    halves = objectives.sigreg(a, b, directions, isotropy_weight=0.0)
    torch.testing.assert_close(halves, torch.stack([a, b]).var(0, correction=0).mean())
