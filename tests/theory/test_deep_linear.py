"""Closed form of deep linear networks against the reference table, minimisation and root finding."""

from collections.abc import Sequence
from itertools import pairwise
from typing import overload

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize, minimize_scalar

from werank_core.theory.deep_linear import (
    Floats,
    layer_singular_values,
    local_minimum_singular_values,
    optimal_rank,
    optimal_singular_values,
    rank_thresholds,
    weight_decay_thresholds,
)

TARGET = np.array([3, 1.5, 0.9, 0.35, 0.1])
REFERENCE = {
    1: [2.3077, 1.1538, 0.6923, 0.2692, 0.0769],
    2: [2.7, 1.2, 0.6, 0.05, 0],
    3: [2.7868, 1.2192, 0.5291, 0, 0],
    4: [2.8214, 1.2294, 0, 0, 0],
}
DECAYS = st.floats(1e-6, 10)
DEPTHS = st.integers(3, 12)


@overload
def scalar_loss(s: float, y: float, decay: float, depth: int) -> float: ...
@overload
def scalar_loss(s: Floats, y: float | Floats, decay: float, depth: int) -> Floats: ...
def scalar_loss(s: float | Floats, y: float | Floats, decay: float, depth: int) -> float | Floats:
    return 0.5 * (s - y) ** 2 + 0.5 * decay * depth * s ** (2 / depth)


def product(factors: Sequence[Floats] | Floats) -> Floats:
    result: Floats = factors[0]
    for factor in factors[1:]:
        result = factor @ result
    return result


def factor_loss(flat: Floats, target: Floats, decay: float, depth: int) -> tuple[float, Floats]:
    """½‖W_L···W_1 − Y‖² + (λ/2)Σ‖W_l‖² and its gradient, straight from the definition."""
    size = len(target)
    factors = flat.reshape(depth, size, size)
    residual = product(factors) - target
    below = [np.eye(size)]
    for factor in factors[:-1]:
        below.append(factor @ below[-1])
    above, gradient = np.eye(size), np.empty_like(factors)
    for layer in reversed(range(depth)):
        gradient[layer] = above.T @ residual @ below[layer].T + decay * factors[layer]
        above = above @ factors[layer]
    return 0.5 * np.sum(residual**2) + 0.5 * decay * np.sum(flat**2), gradient.ravel()


def best_of_restarts(target: Floats, decay: float, depth: int, restarts: int, seed: int = 0) -> tuple[float, Floats]:
    rng = np.random.default_rng(seed)
    size = len(target)
    fits = [
        minimize(
            factor_loss,
            rng.normal(size=depth * size * size) * rng.uniform(0.1, 1),
            (target, decay, depth),
            jac=True,
            options={"maxiter": 2000, "gtol": 1e-9, "ftol": 1e-15},
            method="L-BFGS-B",
        )
        for _ in range(restarts)
    ]
    best = min(fits, key=lambda fit: fit.fun)
    return best.fun, best.x.reshape(depth, size, size)


@pytest.mark.parametrize("depth", REFERENCE)
def test_reference_table_to_four_digits(depth: int) -> None:
    assert optimal_singular_values(TARGET, 0.3, depth) == pytest.approx(REFERENCE[depth], abs=5e-5)


@pytest.mark.parametrize(("depth", "decay"), [(1, 0.3), (2, 0.3), (3, 0.3), (4, 0.3), (3, 0.05), (4, 0.8)])
def test_minimising_over_the_factors_finds_the_same_matrix(depth: int, decay: float) -> None:
    rng = np.random.default_rng(depth)
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    values = np.array([3, 1.2, 0.35])
    loss, factors = best_of_restarts(left @ np.diag(values) @ right.T, decay, depth, restarts=12)
    expected = optimal_singular_values(values, decay, depth)
    assert left.T @ product(factors) @ right == pytest.approx(np.diag(expected), abs=2e-5)
    assert loss == pytest.approx(scalar_loss(expected, values, decay, depth).sum(), rel=1e-8)
    layers = np.linalg.svd(factors, compute_uv=False)
    assert layers == pytest.approx(np.tile(layer_singular_values(expected, depth), (depth, 1)), abs=1e-3)


def descended(target: Floats, decay: float, depth: int, width: int, steps: int = 6000, rate: float = 0.05) -> Floats:
    """Gradient descent in float64 on factors with hidden layers of `width`, from a small orthogonal start."""
    rng = np.random.default_rng(depth)
    sizes = [len(target), *[width] * (depth - 1), len(target)]
    factors = [0.7 * np.linalg.qr(rng.normal(size=(max(s), max(s))))[0][: s[1], : s[0]] for s in pairwise(sizes)]
    for _ in range(steps):
        residual = product(factors) - target
        gradients = []
        for layer in range(depth):
            above, below = np.eye(len(target)), np.eye(len(target))
            for factor in factors[:layer]:
                below = factor @ below
            for factor in reversed(factors[layer + 1 :]):
                above = above @ factor
            gradients.append(above.T @ residual @ below.T + decay * factors[layer])
        factors = [factor - rate * gradient for factor, gradient in zip(factors, gradients, strict=True)]
    return np.asarray(np.linalg.svd(product(factors), compute_uv=False), dtype=np.float64)


@pytest.mark.parametrize(("depth", "width"), [(2, 1), (2, 2), (3, 1), (3, 2), (4, 3)])
def test_through_a_narrow_layer_the_largest_values_are_kept(depth: int, width: int) -> None:
    rng = np.random.default_rng(width)
    left, right = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    values = np.array([1.8, 2.0, 1.2, 1.6])  # in no order
    found = descended(left @ np.diag(values) @ right.T, 0.1, depth, width)
    expected = optimal_singular_values(values, 0.1, depth, max_rank=width)
    assert found == pytest.approx(np.sort(expected)[::-1], abs=1e-4)
    assert np.count_nonzero(expected) == width == optimal_rank(values, 0.1, depth, width)
    assert set(np.flatnonzero(expected)) == set(np.argsort(values)[-width:])
    np.testing.assert_array_equal(expected, local_minimum_singular_values(values, 0.1, depth, width))


def test_a_layer_as_wide_as_the_target_limits_nothing() -> None:
    for width in (5, 9):
        np.testing.assert_array_equal(
            optimal_singular_values(TARGET, 0.01, 3, width), optimal_singular_values(TARGET, 0.01, 3)
        )
    stacked = np.stack([TARGET, TARGET[::-1]])
    np.testing.assert_array_equal(
        optimal_singular_values(stacked, [0.01, 0.1], 2, 2)[1, ::-1], optimal_singular_values(TARGET, 0.1, 2, 2)
    )
    with pytest.raises(ValueError, match="max_rank must be an integer of at least 1, got 0"):
        optimal_singular_values(TARGET, 0.1, 2, 0)


@given(y=st.floats(0, 20), decay=st.floats(0, 10), depth=st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_no_other_value_costs_less(y: float, decay: float, depth: int) -> None:
    s = float(optimal_singular_values(y, decay, depth))
    others = np.append(np.linspace(0, 1.1 * y, 2001), local_minimum_singular_values(y, decay, depth))
    cost, floor = scalar_loss(s, y, decay, depth), scalar_loss(others, y, decay, depth).min()
    assert 0 <= s <= y
    assert cost <= floor + 1e-12 * (1 + y**2)


@given(decay=DECAYS, depth=DEPTHS, excess=st.floats(1.001, 50))
@settings(deadline=None)
def test_root_agrees_with_bracketed_root_finding_to_double_precision(decay: float, depth: int, excess: float) -> None:
    start = (decay * (depth - 2) / depth) ** (depth / (2 * (depth - 1)))
    y = float(excess * rank_thresholds(decay, depth).local_minimum)
    root = brentq(lambda s: s - y + decay * s ** (2 / depth - 1), start, y, xtol=1e-300, rtol=8.9e-16)
    assert float(local_minimum_singular_values(y, decay, depth)) == pytest.approx(root, rel=1e-12)


@given(decay=DECAYS, depth=DEPTHS)
@settings(deadline=None)
def test_both_branches_cost_the_same_at_the_jump(decay: float, depth: int) -> None:
    y = float(rank_thresholds(decay, depth).global_minimum)
    s = float(local_minimum_singular_values(y, decay, depth))
    assert s == pytest.approx((decay * (depth - 2)) ** (depth / (2 * (depth - 1))), rel=1e-9)
    assert scalar_loss(s, y, decay, depth) == pytest.approx(scalar_loss(0, y, decay, depth), rel=1e-9)
    below, above = optimal_singular_values([y * 0.999, y * 1.001], decay, depth)
    assert below == 0
    assert above > s


@given(decay=DECAYS, depth=DEPTHS, share=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_between_the_thresholds_both_branches_are_minima_and_zero_wins(decay: float, depth: int, share: float) -> None:
    local, jump = rank_thresholds(decay, depth)
    y = float(local + share * (jump - local))
    s = float(local_minimum_singular_values(y, decay, depth))
    for minimum, scale in ((s, s), (0.0, 1e-6 * s)):
        nearby = np.abs(minimum + scale * np.array([-1e-3, 1e-3]))
        assert np.all(scalar_loss(nearby, y, decay, depth) >= scalar_loss(minimum, y, decay, depth) * (1 - 1e-14))
    assert scalar_loss(s, y, decay, depth) > scalar_loss(0, y, decay, depth)
    assert float(optimal_singular_values(y, decay, depth)) == 0


@pytest.mark.parametrize("depth", [3, 4, 7])
def test_local_threshold_is_the_least_y_with_a_non_zero_stationary_point(depth: int) -> None:
    lowest = minimize_scalar(
        lambda s: s + 0.3 * s ** (2 / depth - 1), bounds=(1e-6, 5), method="bounded", options={"xatol": 1e-10}
    )
    threshold = float(rank_thresholds(0.3, depth).local_minimum)
    assert threshold == pytest.approx(lowest.fun, rel=1e-10)
    below, above = local_minimum_singular_values([threshold * (1 - 1e-9), threshold * (1 + 1e-9)], 0.3, depth)
    assert below == 0
    assert above == pytest.approx(lowest.x, rel=1e-3)


@given(y=st.floats(1e-3, 20), depth=st.integers(2, 12))
@settings(deadline=None)
def test_weight_decay_thresholds_invert_rank_thresholds(y: float, depth: int) -> None:
    for index, decay in enumerate(weight_decay_thresholds(y, depth)):
        assert rank_thresholds(decay, depth)[index] == pytest.approx(y, rel=1e-12)


def test_thresholds_of_shallow_networks() -> None:
    assert rank_thresholds([0, 0.3], 1).global_minimum.tolist() == [0, 0]
    assert [values.tolist() for values in rank_thresholds([0, 0.3], 2)] == [[0, 0.3], [0, 0.3]]
    assert weight_decay_thresholds([0, 2], 1).local_minimum.tolist() == [0, np.inf]
    for depth in (1, 2):
        np.testing.assert_array_equal(
            local_minimum_singular_values(TARGET, 0.3, depth), optimal_singular_values(TARGET, 0.3, depth)
        )


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 50])
def test_without_weight_decay_the_target_is_reached(depth: int) -> None:
    values = np.array([2.0, 1e-3, 0.0])
    np.testing.assert_array_equal(optimal_singular_values(values, 0, depth), values)
    assert optimal_singular_values(values, 1e-14, depth) == pytest.approx(values, abs=1e-9)
    assert optimal_rank(values, 0, depth) == 2


def test_rank_falls_with_weight_decay_in_the_steps_the_thresholds_name() -> None:
    decays = np.geomspace(1e-4, 10, 40)
    for depth in (2, 3, 4):
        rank = optimal_rank(TARGET, decays, depth)
        steps = weight_decay_thresholds(TARGET, depth).global_minimum
        assert rank.tolist() == [int(np.sum(decay <= steps)) for decay in decays]
        assert rank[0] == 5
        assert rank[-1] == 0


def test_weight_decay_broadcasts_against_the_leading_axes() -> None:
    decays = np.array([[0.1, 0.3], [0.5, 1.0]])
    values = optimal_singular_values(TARGET, decays, 3)
    assert values.shape == (2, 2, 5)
    np.testing.assert_array_equal(values[1, 0], optimal_singular_values(TARGET, 0.5, 3))
    assert optimal_rank(TARGET, decays, 3).shape == (2, 2)
    assert optimal_singular_values(1.5, 0.3, 3).shape == ()


@pytest.mark.parametrize(
    ("values", "decay", "depth", "name"),
    [
        ([1, np.nan], 0.1, 3, "singular_values"),
        ([1, -1], 0.1, 3, "singular_values"),
        ([np.inf], 0.1, 2, "singular_values"),
        ([1.0], -0.1, 2, "weight_decay"),
        ([1.0], np.nan, 2, "weight_decay"),
        ([1.0], 0.1, 0, "depth"),
        ([1.0], 0.1, 2.5, "depth"),
        (1.0, 0.1, 2, "axis"),
    ],
)
def test_invalid_input_is_named(values: ArrayLike, decay: float, depth: int, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        optimal_rank(values, decay, depth)
