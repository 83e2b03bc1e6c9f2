"""The batch gradient of one layer, from its inputs and pre-activation gradients; its rank and its alignment.

The conventions (leading axes, weight sharing, BatchNorm, float64) are those of `stationarity`.
"""

import torch
from torch import Tensor

from werank_core.metrics.rank import singular_values
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
    """Numerical rank of a batch gradient; `gradient_rank_bound` says what it cannot exceed.

    Formula: #{j : s_j > tolerance · s_1}. 0 for a zero gradient, NaN for a non-finite one.

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
    values = singular_values(gradient) if tolerance < GRAM_TOLERANCE else _scaled_singular_values(gradient)
    rank = (values > tolerance * values.amax(-1, keepdim=True)).sum(dim=-1).double()
    return torch.where(values.isnan().any(dim=-1), torch.nan, rank)


def _scaled_singular_values(matrix: Tensor) -> Tensor:
    """s_j by the smaller Gram matrix, in units of max|A| or so and half the time of an SVD; NaN where not finite."""
    scaled = unit_scaled(matrix if matrix.shape[-2] <= matrix.shape[-1] else matrix.mT)
    eigenvalues = torch.linalg.eigvalsh(scaled.values @ scaled.values.mT)
    return torch.where(scaled.finite[..., None], eigenvalues.clamp(min=0).sqrt(), torch.nan)


def gradient_rank_bound(d_out: int, d_in: int, batch_size: int, uses_per_sample: int = 1) -> int:
    """Largest possible rank of a batch gradient: min(d_out, d_in, B · uses), uses = positions of one weight.

    Source: Zangrando et al. (arXiv 2402.03991): one outer product for each sample and use.
    """
    return min(d_out, d_in, batch_size * uses_per_sample)


def gradient_alignment(first: Tensor, second: Tensor) -> Tensor:
    """Cosine between two gradients of one layer, e.g. of two batches or of two moments of training.

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


def sample_count(deltas: Tensor, inputs: Tensor, num_samples: int | None) -> int:
    """N of the factor 1/N. Raises ValueError where rows do not pair up or there are none."""
    if deltas.ndim < 2 or inputs.ndim < 2 or deltas.shape[-2] != inputs.shape[-2] or inputs.shape[-2] == 0:
        raise ValueError(
            f"deltas {tuple(deltas.shape)} and inputs {tuple(inputs.shape)} must be (..., N, d), one N ≥ 1"
        )
    count = inputs.shape[-2] if num_samples is None else num_samples
    if count < 1:
        raise ValueError(f"num_samples must be at least 1, got {count}")
    return count


def check_same_matrix(first: Tensor, second: Tensor) -> None:
    """Raises ValueError unless both are (..., d_out, d_in) with equal last two axes."""
    if first.ndim < 2 or first.shape[-2:] != second.shape[-2:]:
        raise ValueError(f"matrices of one shape are needed, got {tuple(first.shape)} and {tuple(second.shape)}")


def inner_product(first: Tensor, second: Tensor) -> Tensor:
    """Σ_ij A_ij B_ij, shape (...)."""
    return (first * second).sum(dim=(-2, -1))
