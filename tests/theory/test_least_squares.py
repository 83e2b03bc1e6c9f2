"""Least squares on data against scikit-learn, numerical minimisation and the definition of the loss."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

from werank_core.theory.deep_linear import optimal_singular_values
from werank_core.theory.gaussian_mixture import centroid_data
from werank_core.theory.least_squares import Floats, ridge_weight, whitened_inputs, whitened_target

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(60, 4)) @ RNG.normal(size=(4, 4)) + 0.5
LABELS = np.arange(60) % 3
TARGETS = np.eye(3)[LABELS]


def data_loss(weight: Floats, inputs: Floats, targets: Floats, sample_weights: Floats) -> float:
    return float(0.5 * np.sum(sample_weights * np.sum((inputs @ weight.T - targets) ** 2, axis=1)))


@pytest.mark.parametrize("sample_weights", [None, RNG.uniform(0.1, 2, size=60)])
def test_ridge_weight_agrees_with_scikit_learn(sample_weights: Floats | None) -> None:
    shares = np.full(60, 1 / 60) if sample_weights is None else sample_weights / sample_weights.sum()
    fit = Ridge(alpha=0.2, fit_intercept=False).fit(INPUTS, TARGETS, sample_weight=shares)
    assert ridge_weight(INPUTS, TARGETS, 0.2, sample_weights) == pytest.approx(fit.coef_, rel=1e-8)


def test_ridge_weight_without_decay_is_the_least_norm_solution() -> None:
    wide = RNG.normal(size=(3, 6))
    assert ridge_weight(wide, TARGETS[:3], 0) == pytest.approx((np.linalg.pinv(wide) @ TARGETS[:3]).T, abs=1e-8)


@pytest.mark.parametrize("sample_weights", [None, RNG.uniform(0.1, 2, size=60)])
def test_loss_on_white_inputs_is_the_matrix_loss_up_to_a_constant(sample_weights: Floats | None) -> None:
    shares = np.full(60, 1 / 60) if sample_weights is None else sample_weights / sample_weights.sum()
    white = whitened_inputs(INPUTS, sample_weights)
    target = whitened_target(white, TARGETS, sample_weights)
    gaps = [
        data_loss(weight, white, TARGETS, shares) - 0.5 * np.sum((weight - target) ** 2)
        for weight in RNG.normal(size=(5, 3, 4))
    ]
    assert gaps == pytest.approx([gaps[0]] * 5, abs=1e-10)


def test_two_layers_trained_on_white_data_reach_the_closed_form() -> None:
    white = whitened_inputs(INPUTS)
    expected = optimal_singular_values(np.linalg.svd(whitened_target(white, TARGETS), compute_uv=False), 0.15, 2)

    def loss(flat: Floats) -> float:
        first, second = flat[:16].reshape(4, 4), flat[16:].reshape(3, 4)
        return data_loss(second @ first, white, TARGETS, np.full(60, 1 / 60)) + 0.075 * np.sum(flat**2)

    fit = minimize(loss, RNG.normal(size=28) * 0.5, method="BFGS", options={"gtol": 1e-7})
    found = np.linalg.svd(fit.x[16:].reshape(3, 4) @ fit.x[:16].reshape(4, 4), compute_uv=False)
    assert found == pytest.approx(expected, abs=1e-4)


def test_centroid_minimiser_is_the_full_one_without_noise_and_moves_with_it() -> None:
    means = RNG.normal(size=(3, 4))
    noise = RNG.normal(size=(60, 4))
    distances = []
    for scale in (0, 0.1, 1.0):
        inputs = means[LABELS] + scale * noise
        centroids = centroid_data(inputs, LABELS, 3)
        full = ridge_weight(inputs, TARGETS, 0.1)
        distances.append(np.linalg.norm(full - ridge_weight(centroids.means, np.eye(3), 0.1, centroids.weights)))
    assert distances[0] < 1e-12 < distances[1] < distances[2]


def test_losses_of_data_and_centroids_differ_by_half_the_output_variation() -> None:
    centroids = centroid_data(INPUTS, LABELS, 3)
    weight = RNG.normal(size=(3, 4))
    within = (INPUTS - centroids.means[LABELS]) @ weight.T
    gap = data_loss(weight, INPUTS, TARGETS, np.full(60, 1 / 60)) - data_loss(
        weight, centroids.means, np.eye(3), centroids.weights
    )
    assert gap == pytest.approx(0.5 * np.mean(np.sum(within**2, axis=1)))


def test_invalid_input_is_refused() -> None:
    with pytest.raises(ValueError, match="white"):
        whitened_target(INPUTS, TARGETS)
    with pytest.raises(ValueError, match="full rank"):
        whitened_inputs(INPUTS[:3])
    with pytest.raises(ValueError, match="rows"):
        ridge_weight(INPUTS, TARGETS[:5], 0.1)
    with pytest.raises(ValueError, match="weight_decay"):
        ridge_weight(INPUTS, TARGETS, -0.1)
    with pytest.raises(ValueError, match="sample_weights"):
        ridge_weight(INPUTS, TARGETS, 0.1, -np.ones(60))
    with pytest.raises(ValueError, match="finite"):
        ridge_weight(INPUTS * np.nan, TARGETS, 0.1)
