"""Penalties against NumPy, closed forms, autograd and finite differences; schedules against hand counts."""

from collections.abc import Callable
from typing import SupportsFloat, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from werank_core import regularizers
from werank_core.regularizers import (
    GRAM_PENALTIES,
    GRAMS,
    PENALTIES,
    Gram,
    extra_zeros,
    gram_residual,
    layer_weights,
    total_penalty,
    weight_matrix,
)

SHAPES = [(4, 4), (3, 6), (6, 3), (1, 5), (5, 1)]


def random_weight(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthonormal(d_out: int, d_in: int) -> Tensor:
    return torch.eye(max(d_out, d_in), dtype=torch.float64)[:d_out, :d_in].clone()


def numpy_penalty(name: str, w: np.ndarray, gram: Gram = "smaller") -> float:
    d_out, d_in = w.shape
    of_output = d_out <= d_in if gram == "smaller" else gram == "output"
    residual = w @ w.T - np.eye(d_out) if of_output else w.T @ w - np.eye(d_in)
    formulas: dict[str, Callable[[], SupportsFloat]] = {
        "werank": lambda: np.linalg.norm(residual),
        "soft_orthogonality": lambda: np.linalg.norm(residual) ** 2,
        "double_soft_orthogonality": lambda: (
            np.linalg.norm(w.T @ w - np.eye(d_in)) ** 2 + np.linalg.norm(w @ w.T - np.eye(d_out)) ** 2
        ),
        "mutual_coherence": lambda: np.abs(residual).max(),
        "srip": lambda: np.linalg.norm(residual, 2),
        "spectral_norm": lambda: np.linalg.norm(w, 2) ** 2 / 2,
        "nuclear_norm": lambda: np.linalg.norm(w, "nuc"),
        "weight_decay": lambda: (w**2).sum() / 2,
    }
    return float(formulas[name]())


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_value_is_numpys(name: str, shape: tuple[int, int]) -> None:
    weight = random_weight(*shape)
    assert PENALTIES[name](weight).item() == pytest.approx(numpy_penalty(name, weight.numpy()), rel=1e-10)


@pytest.mark.parametrize("name", PENALTIES)
@settings(max_examples=15, deadline=None)
@given(d_out=st.integers(1, 7), d_in=st.integers(1, 7), seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e2))
def test_value_is_numpys_at_any_shape_and_scale(name: str, d_out: int, d_in: int, seed: int, scale: float) -> None:
    weight = scale * random_weight(d_out, d_in, seed=seed)
    expected = numpy_penalty(name, weight.numpy())
    assert PENALTIES[name](weight).item() == pytest.approx(expected, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)])
def test_gradient_is_that_of_finite_differences(name: str, shape: tuple[int, int]) -> None:
    weight = random_weight(*shape).requires_grad_()
    assert torch.autograd.gradcheck(PENALTIES[name], (weight,))


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)])
@pytest.mark.parametrize("name", ["werank", "soft_orthogonality", "srip"])
def test_second_derivative_is_that_of_finite_differences(name: str, shape: tuple[int, int]) -> None:
    weight = (0.5 * random_weight(*shape)).requires_grad_()
    assert torch.autograd.gradgradcheck(PENALTIES[name], (weight,))


@pytest.mark.parametrize("shape", SHAPES)
def test_closed_form_gradients(shape: tuple[int, int]) -> None:
    weight = random_weight(*shape).requires_grad_()
    w = weight.detach()
    if shape[0] <= shape[1]:
        squared = 4 * (w @ w.mT - torch.eye(shape[0], dtype=w.dtype)) @ w
    else:
        squared = 4 * w @ (w.mT @ w - torch.eye(shape[1], dtype=w.dtype))
    (gradient,) = torch.autograd.grad(PENALTIES["soft_orthogonality"](weight), weight)
    torch.testing.assert_close(gradient, squared, rtol=1e-10, atol=1e-12)
    (gradient,) = torch.autograd.grad(PENALTIES["werank"](weight), weight)
    torch.testing.assert_close(gradient, squared / (2 * gram_residual(w).norm()), rtol=1e-10, atol=1e-12)
    (gradient,) = torch.autograd.grad(PENALTIES["weight_decay"](weight), weight)
    torch.testing.assert_close(gradient, w)


@pytest.mark.parametrize("name", [*GRAM_PENALTIES, "double_soft_orthogonality"])
@pytest.mark.parametrize("shape", SHAPES)
def test_orthonormal_weights_are_the_minimum_with_zero_gradient(name: str, shape: tuple[int, int]) -> None:
    weight = orthonormal(*shape).requires_grad_()
    value = PENALTIES[name](weight)
    floor = abs(shape[0] - shape[1]) if name == "double_soft_orthogonality" else 0
    assert value.item() == floor
    (gradient,) = torch.autograd.grad(value, weight)
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_at_zero_is_finite_and_zero_where_smooth(name: str) -> None:
    weight = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(PENALTIES[name](weight), weight)
    assert torch.isfinite(gradient).all()
    if name == "nuclear_norm":  # a kink: any subgradient has spectral norm at most 1
        assert torch.linalg.matrix_norm(gradient, 2) <= 1 + 1e-12
    else:
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_at_rank_one_is_finite(name: str) -> None:
    weight = torch.outer(random_weight(4), random_weight(6, seed=1)).requires_grad_()
    (gradient,) = torch.autograd.grad(PENALTIES[name](weight), weight)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_batch_is_a_stack_of_solos(name: str, shape: tuple[int, int]) -> None:
    batch = random_weight(2, 3, *shape)
    values = PENALTIES[name](batch)
    assert values.shape == (2, 3)
    solo = torch.stack([torch.stack([PENALTIES[name](matrix) for matrix in row]) for row in batch])
    torch.testing.assert_close(values, solo, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_vmap_of_grad_is_the_gradient_of_each_solo(name: str, shape: tuple[int, int]) -> None:
    batch = random_weight(4, *shape)
    gradients = torch.func.vmap(torch.func.grad(PENALTIES[name]))(batch)
    solo = torch.stack([torch.func.grad(PENALTIES[name])(matrix) for matrix in batch])
    torch.testing.assert_close(gradients, solo, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", PENALTIES)
def test_backward_through_vmap_is_the_gradient_of_each_solo(name: str) -> None:
    batch = random_weight(4, 3, 5).requires_grad_()
    strengths = torch.tensor([0.0, 0.1, 1.0, 3.0], dtype=torch.float64)
    torch.func.vmap(lambda weight, strength: strength * PENALTIES[name](weight))(batch, strengths).sum().backward()
    solo = torch.stack([torch.func.grad(PENALTIES[name])(matrix) for matrix in batch.detach()])
    assert batch.grad is not None
    torch.testing.assert_close(batch.grad, strengths[:, None, None] * solo, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 9), (9, 7), (2, 3)])
def test_a_gram_matrix_in_blocks_is_the_whole_one(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    batch = random_weight(3, *shape)
    derivatives = torch.func.vmap(torch.func.grad(PENALTIES["werank"]))
    whole, slopes = gram_residual(batch), derivatives(batch)
    monkeypatch.setattr(regularizers, "BLOCKED_ROWS", 2)
    torch.testing.assert_close(gram_residual(batch), whole, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(torch.func.vmap(gram_residual)(batch), whole, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(derivatives(batch), slopes, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_matrix_leaves_its_neighbours_alone(name: str, bad: float) -> None:
    batch = random_weight(3, 4, 3).requires_grad_()
    broken = batch.detach().clone()
    broken[1, 2, 0] = bad
    broken.requires_grad_()
    values = PENALTIES[name](broken)
    assert not torch.isfinite(values[1])
    expected = PENALTIES[name](batch)
    assert torch.equal(values[[0, 2]], expected[[0, 2]])
    (gradient,) = torch.autograd.grad(values.sum(), broken)
    (reference,) = torch.autograd.grad(expected.sum(), batch)
    assert torch.equal(gradient[[0, 2]], reference[[0, 2]])


def autograd_penalty(name: str, weight: Tensor, gram: Gram) -> Tensor:
    """Straight from the definition, on the Gram matrix asked for, whatever its size."""
    of_output = weight.shape[0] <= weight.shape[1] if gram == "smaller" else gram == "output"
    product = weight @ weight.mT if of_output else weight.mT @ weight
    residual = product - torch.eye(len(product), dtype=weight.dtype)
    formulas: dict[str, Callable[[], Tensor]] = {
        "werank": lambda: residual.square().sum().sqrt(),
        "soft_orthogonality": lambda: residual.square().sum(),
        "mutual_coherence": lambda: residual.abs().max(),
        "srip": lambda: torch.linalg.matrix_norm(residual, 2),
    }
    return formulas[name]()


class TestGram:
    """W Wᵀ, WᵀW, or the smaller of them."""

    @pytest.mark.parametrize("gram", GRAMS)
    @pytest.mark.parametrize("name", GRAM_PENALTIES)
    @pytest.mark.parametrize("shape", [*SHAPES, (7, 2, 3, 3), (20, 2, 3, 3)])
    def test_value_and_gradient_are_those_of_the_definition(
        self, shape: tuple[int, ...], name: str, gram: Gram
    ) -> None:
        kernel = (0.6 * random_weight(*shape)).requires_grad_()
        value = GRAM_PENALTIES[name](weight_matrix(kernel), gram)
        assert value.item() == pytest.approx(numpy_penalty(name, kernel.detach().flatten(1).numpy(), gram), rel=1e-12)
        expected = autograd_penalty(name, weight_matrix(kernel), gram)
        slopes = [torch.autograd.grad(v, kernel)[0] for v in (value, expected)]
        torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize("gram", GRAMS)
    @pytest.mark.parametrize("name", GRAM_PENALTIES)
    @settings(max_examples=10, deadline=None)
    @given(d_out=st.integers(1, 7), d_in=st.integers(1, 7), seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e2))
    def test_value_at_any_shape_and_scale(
        self, name: str, gram: Gram, d_out: int, d_in: int, seed: int, scale: float
    ) -> None:
        weight = scale * random_weight(d_out, d_in, seed=seed)
        expected = numpy_penalty(name, weight.numpy(), gram)
        assert GRAM_PENALTIES[name](weight, gram).item() == pytest.approx(expected, rel=1e-8, abs=1e-9)

    @pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
    def test_the_larger_one_has_a_floor_where_the_smaller_is_zero(self, shape: tuple[int, int]) -> None:
        larger: Gram = "input" if shape[0] < shape[1] else "output"
        weight = orthonormal(*shape).requires_grad_()
        floors = {"werank": 5**0.5, "soft_orthogonality": 5.0, "mutual_coherence": 1.0, "srip": 1.0}
        for name, floor in floors.items():
            assert GRAM_PENALTIES[name](weight).item() == 0
            value = GRAM_PENALTIES[name](weight, larger)
            assert value.item() == pytest.approx(floor)
            (gradient,) = torch.autograd.grad(value, weight)
            assert torch.equal(gradient, torch.zeros_like(gradient)), name

    def test_the_floor_shrinks_the_gradient_of_the_unsquared_norm_alone(self) -> None:
        """Close to orthonormal by a factor above 100 for (64, 512), where the squared norms agree exactly."""
        weight = (orthonormal(64, 512) + 1e-3 * random_weight(64, 512)).requires_grad_()
        slopes = {
            (name, gram): torch.autograd.grad(GRAM_PENALTIES[name](weight, gram), weight)[0]
            for name in ("werank", "soft_orthogonality")
            for gram in GRAMS
        }
        assert slopes["werank", "output"].norm() > 100 * slopes["werank", "input"].norm()
        assert torch.equal(slopes["werank", "smaller"], slopes["werank", "output"])
        assert torch.equal(slopes["soft_orthogonality", "output"], slopes["soft_orthogonality", "input"])

    def test_a_fresh_gcn_layer_of_cora_is_the_one_of_the_record(self) -> None:
        """(512, 1433) with entries of variance 1/1433: 13.5 with gradient 2.32, or 33.2 with 0.94."""
        weight = (random_weight(512, 1433) / 1433**0.5).requires_grad_()
        for gram, value, slope in (("output", 13.5, 2.32), ("input", 33.2, 0.94)):
            penalty = GRAM_PENALTIES["werank"](weight, gram)
            assert penalty.item() == pytest.approx(value, rel=0.01)
            assert torch.autograd.grad(penalty, weight)[0].norm().item() == pytest.approx(slope, rel=0.01)

    @pytest.mark.parametrize("gram", ["output", "input"])
    @pytest.mark.parametrize("name", GRAM_PENALTIES)
    @pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
    def test_runs_are_mapped_and_stay_apart(self, name: str, gram: Gram, shape: tuple[int, int]) -> None:
        def value(weight: Tensor) -> Tensor:
            return GRAM_PENALTIES[name](weight, gram)

        batch = random_weight(4, *shape)
        solo = torch.stack([torch.func.grad(value)(matrix) for matrix in batch])
        torch.testing.assert_close(torch.func.vmap(torch.func.grad(value))(batch), solo, rtol=1e-10, atol=1e-12)
        broken = batch.clone()
        broken[1, 0, 0] = torch.nan
        kept = [0, 2, 3]
        assert torch.equal(value(broken)[kept], value(batch)[kept])
        assert value(broken)[1].isnan()

    @pytest.mark.parametrize("gram", ["output", "input"])
    @pytest.mark.parametrize("shape", [(3, 6), (6, 3)])
    def test_second_derivatives_are_those_of_finite_differences(self, gram: Gram, shape: tuple[int, int]) -> None:
        weight = (0.5 * random_weight(*shape)).requires_grad_()
        assert torch.autograd.gradgradcheck(lambda w: GRAM_PENALTIES["werank"](w, gram), (weight,))

    @pytest.mark.parametrize("gram", GRAMS)
    def test_zero_eigenvalues_are_counted(self, gram: Gram) -> None:
        for shape in SHAPES:
            residual = gram_residual(random_weight(*shape), gram)
            zeros = (torch.linalg.eigvalsh(residual) + 1).abs() < 1e-9
            assert zeros.sum() == extra_zeros(random_weight(*shape), gram)

    @pytest.mark.parametrize("name", PENALTIES)
    def test_the_total_takes_it_where_it_matters(self, name: str) -> None:
        weights = [random_weight(2, 3, 5), random_weight(2, 4, 3, seed=1), random_weight(2, 3, 5, seed=2)]
        for gram in GRAMS:
            arguments = (gram,) if name in GRAM_PENALTIES else ()
            expected = sum(w * PENALTIES[name](m, *arguments) for m, w in zip(weights, (0.5, 2.0, 1.0), strict=True))
            torch.testing.assert_close(total_penalty(weights, name, (0.5, 2.0, 1.0), gram), expected)

    def test_an_unknown_one_is_named(self) -> None:
        with pytest.raises(ValueError, match="gram 'larger' is unknown; choose one of smaller, output, input"):
            gram_residual(torch.eye(2), cast(Gram, "larger"))


@pytest.mark.parametrize("shape", [(4, 4), (3, 6), (6, 3)])
def test_soft_orthogonality_flow_moves_singular_values_in_closed_form(shape: tuple[int, int]) -> None:
    """ds/dt = −4αs(s² − 1) has the solution s² = 1/(1 + (1/s₀² − 1) e^(−8αt))."""
    start = torch.tensor([1.6, 0.9, 0.2], dtype=torch.float64)
    u, _, vh = torch.linalg.svd(random_weight(*shape), full_matrices=False)
    width = min(shape)
    values = torch.cat([start, start.new_full((width - 3,), 0.5)]).sort(descending=True).values
    weight = u @ torch.diag(values) @ vh
    alpha, dt, steps = 0.5, 2e-4, 400
    gradient = torch.func.grad(PENALTIES["soft_orthogonality"])
    for _ in range(steps):
        weight = weight - dt * alpha * gradient(weight)
    expected = (1 / (1 + (1 / values**2 - 1) * np.exp(-8 * alpha * dt * steps))).sqrt()
    torch.testing.assert_close(torch.linalg.svdvals(weight), expected, rtol=1e-3, atol=0)


def test_soft_orthogonality_flow_ends_at_ones_and_cannot_leave_zero() -> None:
    weight = torch.diag(torch.tensor([1.5, 0.3, 0.0], dtype=torch.float64))
    for _ in range(500):
        weight = weight - 0.02 * torch.func.grad(PENALTIES["soft_orthogonality"])(weight)
    torch.testing.assert_close(weight.diagonal(), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))


def test_convolution_is_flattened_by_output_channel() -> None:
    kernel = random_weight(4, 3, 2, 2)
    assert torch.equal(weight_matrix(kernel), kernel.reshape(4, 12))
    assert weight_matrix(random_weight(4, 3)).shape == (4, 3)
    with pytest.raises(ValueError, match="1 axes"):
        weight_matrix(torch.zeros(4))


def test_schedules_by_hand() -> None:
    assert layer_weights("uniform", 3) == (1.0, 1.0, 1.0)
    assert layer_weights("last", 3) == (0.0, 0.0, 1.0)
    assert layer_weights("first", 3) == (1.0, 0.0, 0.0)
    assert layer_weights("linear", 4) == (0.25, 0.5, 0.75, 1.0)
    assert layer_weights([0.5, 2], 2) == (0.5, 2.0)


def test_schedule_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="2 values; give one for each of the 3 layers"):
        layer_weights([1.0, 2.0], 3)
    with pytest.raises(ValueError, match="'middle' is unknown"):
        layer_weights("middle", 3)


@pytest.mark.parametrize("name", PENALTIES)
def test_total_is_the_weighted_sum(name: str) -> None:
    weights = [random_weight(2, 3, 5), random_weight(2, 4, 3, seed=1)]
    total = total_penalty(weights, name, (0.5, 2.0))
    expected = 0.5 * PENALTIES[name](weights[0]) + 2.0 * PENALTIES[name](weights[1])
    torch.testing.assert_close(total, expected)


def test_total_skips_layers_of_weight_zero() -> None:
    weights = [torch.full((3, 3), torch.nan), torch.eye(3)]
    assert total_penalty(weights, "werank", (0.0, 1.0)).item() == 0
    assert torch.equal(total_penalty([torch.zeros(2, 3, 4)], "werank", (0.0,)), torch.zeros(2))


def test_total_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="'ridge' is unknown"):
        total_penalty([torch.eye(2)], "ridge", (1.0,))
    with pytest.raises(ValueError, match="2 values for 1 layers"):
        total_penalty([torch.eye(2)], "werank", (1.0, 1.0))
