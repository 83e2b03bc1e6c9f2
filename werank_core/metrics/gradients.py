"""The batch gradient of one layer, from its inputs and pre-activation gradients; its rank and its alignment.

The conventions (leading axes, weight sharing, BatchNorm, float64) are those of `stationarity`.
"""

import torch
from torch import Tensor

from werank_core.metrics.rank import gram_singular_values, numerical_rank, singular_values
from werank_core.metrics.row_sums import sample_count
from werank_core.metrics.scaling import unit_norm, unit_scaled

GRAM_TOLERANCE = 1e-6  # relative to s₁: above it sⱼ² is far from the rounding of a float64 Gram matrix


def batch_gradient(deltas: Tensor, inputs: Tensor, num_samples: int | None = None) -> Tensor:
    """Gradient of the mean loss with respect to the layer's weight, without weight decay.

    Formula: (1/N) Σ_i d_i z_iᵀ.

    Args:
        deltas: d, shape (..., N, d_out), gradients of the single samples' losses (not divided by N).
        inputs: z, shape (..., N, d_in).
        num_samples: N of the factor 1/N where the rows are (sample, position) pairs; None: the number of
            rows.
    Returns:
        Shape (..., d_out, d_in), float64, summed over rows in their own dtype.
    Raises:
        ValueError: row counts that differ, or a `num_samples` below 1.
    Source: the chain rule; see the module's docstring for weight sharing and BatchNorm.
    """
    count = sample_count(deltas, inputs, num_samples)
    dtype = torch.promote_types(deltas.dtype, inputs.dtype)
    return (deltas.to(dtype).mT @ inputs.to(dtype)).double() / count


def gradient_rank(gradient: Tensor, tolerance: float = 1e-5) -> Tensor:
    """Numerical rank of a batch gradient, at most min(d_out, d_in, B); with weight sharing B times uses per sample.

    Formula: #{σᵢ > tolerance · σ₁}, #{σᵢ > 1e-5 · σ₁} by default. 0 for a zero gradient, NaN for a non-finite one.

    Args:
        gradient: shape (..., d_out, d_in), without weight decay (λW has full rank in general).
        tolerance: relative; the default lies above float32 round-off in a sum over a batch. Ours.
    Returns:
        Shape (...), whole numbers in [0, min(d_out, d_in)] as float64, so that NaN has a place.
    Raises:
        ValueError: a negative tolerance.
    Source: Zangrando et al. (arXiv 2402.03991): batch gradients have low rank; the tolerance is ours.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0, got {tolerance}")
    if tolerance < GRAM_TOLERANCE:
        return numerical_rank(singular_values(gradient), tolerance)
    scaled = unit_scaled(gradient if gradient.shape[-2] >= gradient.shape[-1] else gradient.mT)
    return numerical_rank(scaled.restored(gram_singular_values(scaled.values)), tolerance)


def gradient_alignment(first: Tensor, second: Tensor) -> Tensor:
    """cos between the gradients of two batches, or of two moments of training, for one layer.

    Formula: ⟨A, B⟩ / (‖A‖_F ‖B‖_F). NaN where one of them is exactly 0.

    Args:
        first: A, shape (..., d_out, d_in).
        second: B, shape (..., d_out, d_in).
    Returns:
        Shape (...), in [−1, 1].
    Raises:
        ValueError: different matrix shapes.
    Source: Zangrando et al. (arXiv 2402.03991) follow gradient alignment; the plain cosine is ours.
    """
    check_same_matrix(first, second)
    return inner_product(unit_norm(first), unit_norm(second)).clamp(-1, 1)


def check_same_matrix(first: Tensor, second: Tensor) -> None:
    """Raises ValueError unless both are (..., d_out, d_in) with equal last two axes."""
    if first.ndim < 2 or first.shape[-2:] != second.shape[-2:]:
        raise ValueError(f"matrices of one shape are needed, got {tuple(first.shape)} and {tuple(second.shape)}")


def inner_product(first: Tensor, second: Tensor) -> Tensor:
    """Σ_ij A_ij B_ij, shape (...)."""
    return (first * second).sum(dim=(-2, -1))
