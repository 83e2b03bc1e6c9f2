"""Gaussian mixtures: expected cluster variation at the input and through a linear layer; centroid data.

The model: class k with probability π_k, x = μ_k + e, e ~ N(0, Σ_k); isotropic noise is Σ_k = σ² I.
Everything here uses only second moments, so it holds for any noise with mean 0 and covariance Σ_k.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture by its class means (K, d), probabilities (K,) and covariance, (d, d) shared or (K, d, d).

    Raises ValueError where the shapes do not fit, a number is not finite, a covariance is not symmetric or
    the probabilities are negative or do not sum to 1.
    """

    means: Floats
    probabilities: Floats
    covariance: Floats

    def __post_init__(self) -> None:
        classes, dimension = self.means.shape if self.means.ndim == 2 else (0, 0)
        if not (classes and dimension) or self.probabilities.shape != (classes,):
            raise ValueError("means must have shape (K, d) and probabilities shape (K,)")
        if self.covariance.shape not in ((dimension, dimension), (classes, dimension, dimension)):
            raise ValueError("covariance must have shape (d, d) or (K, d, d)")
        if not all(np.all(np.isfinite(part)) for part in (self.means, self.probabilities, self.covariance)):
            raise ValueError("means, probabilities and covariance must be finite")
        if np.any(self.probabilities < 0) or not np.isclose(self.probabilities.sum(), 1):
            raise ValueError("probabilities must be at least 0 and sum to 1")
        if not np.allclose(self.covariance, np.swapaxes(self.covariance, -1, -2)):
            raise ValueError("covariance must be symmetric")


class CentroidData(NamedTuple):
    """The K-sample problem of the centroid loss: class means (..., K, d) and their weights n_k/N (..., K)."""

    means: Floats
    weights: Floats


def isotropic_mixture(means: ArrayLike, noise: float, probabilities: ArrayLike | None = None) -> GaussianMixture:
    """A mixture with Σ_k = σ² I.

    Args:
        means: μ, shape (K, d).
        noise: σ ≥ 0, the standard deviation of each coordinate.
        probabilities: π, shape (K,); None: equal.
    Returns:
        The mixture.
    Raises:
        ValueError: a negative or non-finite noise, or what `GaussianMixture` refuses.
    Source: ours.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    centres = np.atleast_2d(np.asarray(means, dtype=np.float64))
    classes, dimension = centres.shape
    given = np.full(classes, 1 / classes) if probabilities is None else probabilities
    shares = np.asarray(given, dtype=np.float64)
    return GaussianMixture(centres, shares, noise**2 * np.eye(dimension))


def expected_total_cluster_variation(
    mixture: GaussianMixture, weight: ArrayLike | None = None, num_samples: int | None = None
) -> Floats:
    """Expected total cluster variation of x, or of z = W x + b.

    Formula: Σ_k π_k tr(W Σ_k Wᵀ); isotropic: σ²‖W‖_F², and σ² d at the input. For a sample with fixed class
    sizes n_k = π_k N whose class means are estimated from it, n_k becomes n_k − 1: Σ_k (π_k − 1/N) tr(W Σ_k
    Wᵀ), isotropic σ²‖W‖_F² (1 − K/N) with all K classes present. Classes with π_k = 0 do not count.

    Args:
        mixture: the model; for a finite sample give n_k/N as its probabilities.
        weight: W, shape (..., d_out, d); None: the input itself. A product of linear layers is one W.
        num_samples: N for the finite-sample expectation; None: the population value.
    Returns:
        Shape (...), ≥ 0.
    Raises:
        ValueError: a weight of another input dimension, or an N that leaves a class less than one sample.
    Source: TCV is Zangrando et al. (arXiv 2402.03991); its normalisation and these expectations are ours.
    """
    shares = _degrees_of_freedom(mixture, num_samples)
    return np.asarray(np.sum(_traces(mixture, weight) * shares, axis=-1))


def expected_relative_tcv(
    mixture: GaussianMixture, weight: ArrayLike | None = None, num_samples: int | None = None
) -> Floats:
    """Expected relative total cluster variation of x, or of z = W x + b: a ratio of two expectations.

    Formula: T / V with T = `expected_total_cluster_variation` and
    V = (1 − 1/N) Σ_k π_k tr(W Σ_k Wᵀ) + Σ_k π_k ‖W(μ_k − μ)‖², μ = Σ_k π_k μ_k; population: 1/N → 0. The
    expectation of the measured ratio differs from it by O(1/N). NaN where V = 0 (W = 0, or no variation at
    all).

    Args, Raises: as `expected_total_cluster_variation`.
    Returns:
        Shape (...), in [0, 1].
    Source: relative TCV is ours.
    """
    within = expected_total_cluster_variation(mixture, weight, num_samples)
    noise = np.sum(_traces(mixture, weight) * mixture.probabilities, axis=-1)
    kept = 1.0 if num_samples is None else 1 - 1 / num_samples
    total = np.asarray(kept * noise + _between_variation(mixture, weight))
    return np.asarray(np.divide(within, total, out=np.full_like(total, np.nan), where=total > 0))


def centroid_data(inputs: ArrayLike, labels: ArrayLike, num_classes: int) -> CentroidData:
    """The data of the centroid loss: the class means of the inputs, weighted by the share of each class.

    Formula: m_k = (1/n_k) Σ_{i in k} x_i with weight n_k/N. A class without samples gets weight 0 and a mean
    of zeros, so that it adds nothing to a weighted loss.

    Args:
        inputs: x, shape (..., N, d).
        labels: y in 0..K−1, shape (N,) or (..., N).
        num_classes: K.
    Returns:
        `means` (..., K, d) and `weights` (..., K), the weights in [0, 1] with sum 1.
    Raises:
        ValueError: no sample, labels outside 0..K−1, or shapes that do not fit.
    Source: Zangrando et al. (arXiv 2402.03991), the centroid problem; the weights n_k/N are ours.
    """
    samples, classes = np.asarray(inputs, dtype=np.float64), np.asarray(labels)
    if samples.ndim < 2 or classes.ndim < 1 or samples.shape[-2] != classes.shape[-1] or classes.size == 0:
        raise ValueError(f"inputs {samples.shape} and labels {classes.shape} must be (..., N, d) and (..., N)")
    if classes.min() < 0 or classes.max() >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {classes.min()}..{classes.max()}")
    members = (classes[..., None, :] == np.arange(num_classes)[:, None]).astype(np.float64)  # (..., K, N)
    sizes = members.sum(axis=-1)
    means = members @ samples / np.maximum(sizes, 1)[..., None]
    return CentroidData(means, np.broadcast_to(sizes / samples.shape[-2], means.shape[:-1]).copy())


def _degrees_of_freedom(mixture: GaussianMixture, num_samples: int | None) -> Floats:
    """(n_k − 1)/N for each class that has samples, π_k for the population."""
    present = mixture.probabilities > 0
    if num_samples is None:
        return mixture.probabilities
    if num_samples < 1 or np.any(mixture.probabilities[present] * num_samples < 1 - 1e-9):
        raise ValueError(f"num_samples = {num_samples} leaves a class with less than one sample")
    return np.where(present, mixture.probabilities - 1 / num_samples, 0.0)


def _traces(mixture: GaussianMixture, weight: ArrayLike | None) -> Floats:
    """tr(W Σ_k Wᵀ) for each class, shape (..., K); (..., 1) with a shared covariance broadcasts to it."""
    classes, dimension = mixture.means.shape
    covariances = np.broadcast_to(mixture.covariance, (classes, dimension, dimension))
    if weight is None:
        return np.asarray(np.trace(covariances, axis1=-2, axis2=-1))
    matrix = _matching(weight, dimension)
    gram = np.swapaxes(matrix, -1, -2) @ matrix
    return np.asarray(np.einsum("...ij,kij->...k", gram, covariances))


def _between_variation(mixture: GaussianMixture, weight: ArrayLike | None) -> Floats:
    """Σ_k π_k ‖W(μ_k − μ)‖², shape (...)."""
    centred = mixture.means - mixture.probabilities @ mixture.means
    if weight is not None:
        centred = centred @ np.swapaxes(_matching(weight, centred.shape[-1]), -1, -2)  # (..., K, d_out)
    return np.asarray(mixture.probabilities @ np.sum(centred**2, axis=-1)[..., None])[..., 0]


def _matching(weight: ArrayLike, dimension: int) -> Floats:
    matrix = np.asarray(weight, dtype=np.float64)
    if matrix.ndim < 2 or matrix.shape[-1] != dimension:
        raise ValueError(f"weight must have shape (..., d_out, {dimension}), got {matrix.shape}")
    return matrix
