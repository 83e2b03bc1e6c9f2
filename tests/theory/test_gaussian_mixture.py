"""Expectations of the Gaussian mixture against Monte Carlo, and centroid data against plain averages."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from werank_core.theory.gaussian_mixture import (
    Floats,
    GaussianMixture,
    centroid_data,
    expected_relative_tcv,
    expected_total_cluster_variation,
    isotropic_mixture,
)

SIZES = np.array([4, 6, 10])
LABELS = np.repeat(np.arange(3), SIZES)
TOTAL = int(SIZES.sum())
RNG = np.random.default_rng(1)
MEANS = RNG.normal(size=(3, 5))
WEIGHT = RNG.normal(size=(2, 5))
FACTORS = RNG.normal(size=(3, 5, 5)) * 0.5
REPEATS = 4000


def measured(samples: Floats) -> tuple[Floats, Floats]:
    """TCV and total variation of each of many data sets (M, N, d), written out with loops over classes."""
    within = np.zeros(len(samples))
    for part in (samples[:, k == LABELS] for k in range(3)):
        within += np.sum((part - part.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2))
    total = np.sum((samples - samples.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2))
    return within / TOTAL, total / TOTAL


def assert_within_four_standard_errors(values: Floats, expected: Floats) -> None:
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("general", [False, True])
def test_expectations_match_monte_carlo(weight: Floats | None, general: bool) -> None:
    noise = np.random.default_rng(2).normal(size=(REPEATS, TOTAL, 5))
    if general:
        samples = MEANS[LABELS] + np.einsum("mni,nji->mnj", noise, FACTORS[LABELS])
        mixture = GaussianMixture(MEANS, SIZES / TOTAL, FACTORS @ np.swapaxes(FACTORS, 1, 2))
    else:
        samples, mixture = MEANS[LABELS] + 0.7 * noise, isotropic_mixture(MEANS, 0.7, SIZES / TOTAL)
    within, total = measured(samples if weight is None else samples @ weight.T)
    expected = expected_total_cluster_variation(mixture, weight, TOTAL)
    assert_within_four_standard_errors(within, expected)
    assert_within_four_standard_errors(total, expected / expected_relative_tcv(mixture, weight, TOTAL))
    assert expected_relative_tcv(mixture, weight, TOTAL) == pytest.approx((within / total).mean(), abs=0.02)


def test_isotropic_formulas() -> None:
    mixture = isotropic_mixture(MEANS, 0.7, SIZES / TOTAL)
    assert expected_total_cluster_variation(mixture) == pytest.approx(0.49 * 5)
    assert expected_total_cluster_variation(mixture, WEIGHT) == pytest.approx(0.49 * np.sum(WEIGHT**2))
    finite = expected_total_cluster_variation(mixture, WEIGHT, TOTAL)
    assert finite == pytest.approx(0.49 * np.sum(WEIGHT**2) * (1 - 3 / TOTAL))


def test_finite_sample_expectation_approaches_the_population() -> None:
    mixture = isotropic_mixture(MEANS, 0.7)
    for expectation in (expected_total_cluster_variation, expected_relative_tcv):
        assert expectation(mixture, WEIGHT, 3 * 10**8) == pytest.approx(expectation(mixture, WEIGHT), rel=1e-7)


def test_relative_tcv_lies_between_no_noise_and_no_signal() -> None:
    assert expected_relative_tcv(isotropic_mixture(MEANS, 0)) == 0
    assert expected_relative_tcv(isotropic_mixture(np.ones((3, 5)), 0.3)) == pytest.approx(1)
    assert np.isnan(expected_relative_tcv(isotropic_mixture(MEANS, 0.3), np.zeros((2, 5))))
    values = [float(expected_relative_tcv(isotropic_mixture(MEANS, noise))) for noise in (0.1, 0.5, 2)]
    assert values == sorted(values)


def test_weights_may_be_stacked() -> None:
    mixture = GaussianMixture(MEANS, SIZES / TOTAL, FACTORS @ np.swapaxes(FACTORS, 1, 2))
    weights = RNG.normal(size=(2, 4, 3, 5))
    for expectation in (expected_total_cluster_variation, expected_relative_tcv):
        stacked = expectation(mixture, weights, TOTAL)
        assert stacked.shape == (2, 4)
        assert stacked[1, 2] == pytest.approx(float(expectation(mixture, weights[1, 2], TOTAL)))


def test_an_empty_class_does_not_count() -> None:
    padded = isotropic_mixture(np.vstack([MEANS, np.full((1, 5), 9)]), 0.7, np.append(SIZES, 0) / TOTAL)
    plain = isotropic_mixture(MEANS, 0.7, SIZES / TOTAL)
    assert expected_relative_tcv(padded, WEIGHT, TOTAL) == pytest.approx(
        float(expected_relative_tcv(plain, WEIGHT, TOTAL))
    )


def test_centroid_data_are_class_averages_with_an_empty_class_weightless() -> None:
    inputs = RNG.normal(size=(2, TOTAL, 5))
    centroids = centroid_data(inputs, LABELS, 4)
    assert centroids.means.shape == (2, 4, 5)
    assert centroids.weights.tolist() == [[0.2, 0.3, 0.5, 0]] * 2
    for k in range(3):
        assert centroids.means[:, k] == pytest.approx(inputs[:, k == LABELS].mean(axis=1))
    assert np.all(centroids.means[:, 3] == 0)
    own_labels = centroid_data(inputs, np.stack([LABELS, LABELS[::-1]]), 4)
    assert own_labels.means[1, 0] == pytest.approx(inputs[1, LABELS[::-1] == 0].mean(axis=0))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: isotropic_mixture(MEANS, -1), "noise"),
        (lambda: isotropic_mixture(MEANS, 1, [0.5, 0.6, 0.2]), "probabilities"),
        (lambda: isotropic_mixture(MEANS, 1, [0.5, 0.5]), "probabilities"),
        (lambda: isotropic_mixture(MEANS * np.nan, 1), "finite"),
        (lambda: GaussianMixture(MEANS, SIZES / TOTAL, np.eye(4)), "covariance"),
        (lambda: GaussianMixture(MEANS, SIZES / TOTAL, np.triu(np.ones((5, 5)))), "symmetric"),
        (lambda: expected_relative_tcv(isotropic_mixture(MEANS, 1), np.ones((2, 4))), "weight"),
        (lambda: expected_relative_tcv(isotropic_mixture(MEANS, 1), None, 2), "num_samples"),
        (lambda: centroid_data(MEANS, [0, 1, 3], 3), "labels"),
        (lambda: centroid_data(MEANS, [0, 1], 3), "labels"),
    ],
)
def test_invalid_input_is_named(build: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        build()


def test_theory_can_be_drawn_without_torch() -> None:
    code = (
        "import sys, werank_core.theory.deep_linear, werank_core.theory.gaussian_mixture, "
        "werank_core.theory.least_squares; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
