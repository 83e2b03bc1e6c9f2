"""Stationarity of a layer under weight decay, and the certificate that ties its rank to its input clusters.

Setting: loss L₀ + (λ/2) Σ_l ‖W_l‖_F², L₀ the mean over N samples. For one layer, z_i is the input for sample
i and d_i the gradient of sample i's loss (NOT divided by N) with respect to the layer's pre-activation W z_i
+ b, so that ∇_W L₀ = (1/N) Σ_i d_i z_iᵀ. Automatic differentiation of the MEAN loss gives d_i / N: multiply
by N.

What the arguments may be:
- Leading axes are stacked runs (or layers of one shape) and broadcast: inputs (N, d_in) shared by all runs
  fit
  deltas (R, N, d_out). No operation crosses them; a run with NaN gives NaN for itself only. All is returned in
  float64 and computed in it, except that `rank_certificate` sums over the N rows in the dtype they come in.
- Weight sharing (convolution): pass every (sample, position) pair as a row, (..., N·P, d_in), labels
  repeated P
  times, W as (c_out, c_in·k·k), and `num_samples` = N. The gradient is (1/N) Σ_i Σ_p d_ip z_ipᵀ; the class
  mean is taken over samples AND positions, so what is left after subtracting it is still a sum of K outer
  products and the certificate keeps its rank K. (Means for each class and position would leave rank K·P.)
- BatchNorm: d_i must be the total derivative, through the batch statistics of that forward pass. With the
  batch as
  the sample this is what automatic differentiation gives in train mode, and ∇_W L₀ = (1/N) Σ d_i z_iᵀ still
  holds: train-mode statistics of exactly these N samples, or eval mode with fixed ones; never a mixture.
- Biases and normalisation parameters are not penalised and do not enter.
- λ > 0 may be any number: the certificate is algebra. Only where λ is coupled L2 and nothing but L₀ and it is in
  the loss does training drive R = λW + ∇L₀ to 0 and so the bound to what the clusters leave. Decoupled decay (AdamW)
  has another fixed point, and so has a loss with a further penalty: the bound holds there and stays wide.

What the certificate is worth: it is the triangle inequality and holds for ANY matrices in place of W and the gradient,
so that it is never exceeded says nothing about theory or code. What has content is that the gradient is the right one
(tests hold it against float64 autograd of the mean loss), how tight the bound is (distance / bound), and whether it is
informative, that is below ‖W‖_F, which bounds the distance without any of this.

Source: Zangrando et al. (arXiv 2402.03991): the eigenvalue equation λW = −∇L₀ and rank against cluster
variation. The certificate with the explicit residual, and every normalisation, are ours.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.gradients import (
    batch_gradient,
    check_same_matrix,
    gradient_alignment,
    gradient_rank,
    gradient_rank_bound,
    inner_product,
    sample_count,
)
from werank_core.metrics.rank import distance_to_rank_of_spectrum
from werank_core.metrics.rank import singular_values as exact_singular_values
from werank_core.metrics.row_sums import RowSums, row_sums
from werank_core.metrics.scaling import frobenius_norm, unit_norm

__all__ = [
    "RankCertificate",
    "batch_gradient",
    "certificate_of_sums",
    "eigenvalue_cosine",
    "eigenvalue_ratio",
    "gradient_alignment",
    "gradient_rank",
    "gradient_rank_bound",
    "rank_certificate",
    "residual_norm",
    "stationarity_residual",
    "within_cluster_gradient",
]


class RankCertificate(NamedTuple):
    """One layer's distance to rank K with its two bounds, and the stationarity gauges; every field (...)."""

    distance: Tensor
    first_bound: Tensor
    tcv_bound: Tensor
    weight_norm: Tensor
    residual_norm: Tensor
    within_gradient_norm: Tensor
    eigenvalue_cosine: Tensor
    eigenvalue_ratio: Tensor
    total_cluster_variation: Tensor
    relative_tcv: Tensor
    tightness: Tensor


def stationarity_residual(weight: Tensor, gradient: Tensor, weight_decay: Tensor | float) -> Tensor:
    """Gradient of the penalised loss: 0 at a stationary point.

    Formula: R = λW + ∇_W L₀.

    Args:
        weight: W, shape (..., d_out, d_in).
        gradient: ∇_W L₀ without weight decay, shape (..., d_out, d_in).
        weight_decay: λ ≥ 0, a number or shape (...).
    Returns:
        Shape (..., d_out, d_in), float64.
    Raises:
        ValueError: weight and gradient of different matrix shapes.
    Source: Zangrando et al. (arXiv 2402.03991), stationarity condition.
    """
    check_same_matrix(weight, gradient)
    return _strength(weight_decay, weight)[..., None, None] * weight.double() + gradient.double()


def residual_norm(weight: Tensor, gradient: Tensor, weight_decay: Tensor | float) -> Tensor:
    """Frobenius norm of `stationarity_residual`; same arguments. Returns shape (...), ≥ 0."""
    return frobenius_norm(stationarity_residual(weight, gradient, weight_decay))


def eigenvalue_cosine(weight: Tensor, gradient: Tensor) -> Tensor:
    """How far the eigenvalue equation λW = −∇L₀ holds in direction: 1 at a stationary point with λ > 0.

    Formula: ⟨W, −∇L₀⟩ / (‖W‖_F ‖∇L₀‖_F). Below about 0.99 the theory does not apply yet. NaN where W or the
    gradient is exactly 0 (a layer that weight decay has emptied).

    Args:
        weight: W, shape (..., d_out, d_in).
        gradient: ∇_W L₀ without weight decay, shape (..., d_out, d_in).
    Returns:
        Shape (...), in [−1, 1].
    Raises:
        ValueError: weight and gradient of different matrix shapes.
    Source: Zangrando et al. (arXiv 2402.03991), eigenvalue equation; the gauge is ours.
    """
    return gradient_alignment(weight, -gradient)


def eigenvalue_ratio(weight: Tensor, gradient: Tensor) -> Tensor:
    """The λ that the weights themselves show: equal to λ at a stationary point.

    Formula: ⟨W, −∇L₀⟩ / ‖W‖_F². NaN where W is exactly 0.

    Args, Raises: as `eigenvalue_cosine`.
    Returns:
        Shape (...).
    Source: as `eigenvalue_cosine`.
    """
    check_same_matrix(weight, gradient)
    return inner_product(unit_norm(weight), -gradient.double()) / frobenius_norm(weight.double())


def within_cluster_gradient(
    deltas: Tensor, inputs: Tensor, labels: Tensor, num_classes: int, num_samples: int | None = None
) -> Tensor:
    """The part of the batch gradient that comes from the scatter of the inputs around their class means.

    Formula: G = (1/N) Σ_i d_i (z_i − m_{c(i)})ᵀ. The rest, (1/N) Σ_k (Σ_{i in k} d_i) m_kᵀ, has rank ≤ K.

    Args:
        deltas: d, shape (..., N, d_out).
        inputs: z, shape (..., N, d_in).
        labels: c in 0..K−1, shape (N,) or (..., N).
        num_classes: K.
        num_samples: as in `batch_gradient`.
    Returns:
        Shape (..., d_out, d_in), float64. 0 where every class sits on one point.
    Raises:
        ValueError: shapes that do not fit, or labels outside 0..K−1.
    Source: Zangrando et al. (arXiv 2402.03991) centre by class; the explicit matrix is ours.
    """
    count = sample_count(deltas, inputs, num_samples)
    return row_sums(inputs.double(), deltas.double(), labels, num_classes).products / count


def rank_certificate(
    weight: Tensor,
    inputs: Tensor,
    deltas: Tensor,
    labels: Tensor,
    num_classes: int,
    weight_decay: Tensor | float,
    *,
    num_samples: int | None = None,
    singular_values: Tensor | None = None,
) -> RankCertificate:
    """Distance of a weight matrix to rank K with two upper bounds, at any point of training.

    Formula: with R = λW + ∇L₀ and the within-cluster gradient G, λW = R − G − (K outer products), so

        distance = (Σ_{j>K} s_j²)^½ ≤ (‖G‖_F + ‖R‖_F)/λ ≤ (RMS_i‖d_i‖ · √TCV + ‖R‖_F)/λ,

    TCV = (1/N) Σ_i ‖z_i − m_{c(i)}‖² of the layer's input. With weight sharing both RMS and TCV sum over
    positions and divide by the number of samples. There is no unknown constant, and nothing to be violated: see
    the module's docstring for what this does and does not show. Tightness is distance over the first bound.

    Edge cases: λ = 0 gives NaN bounds and tightness (undefined, not infinite). min(d_out, d_in) ≤ K gives
    distance exactly 0 by definition, and a tightness of NaN: such a bound says nothing. A non-finite number in a
    run gives NaN in that run only, in every field it enters (of all arguments only W enters the distance). A class
    with one sample adds 0 to G and TCV; classes without samples only make the certificate weaker than it could be.

    Args:
        weight: W, shape (..., d_out, d_in).
        inputs: z, shape (..., N, d_in).
        deltas: d, shape (..., N, d_out), gradients of the single samples' losses (not divided by N).
        labels: c in 0..K−1, shape (N,) or (..., N).
        num_classes: K ≥ 1.
        weight_decay: λ ≥ 0, a number or shape (...).
        num_samples: as in `batch_gradient`.
        singular_values: s of W in descending order, shape (..., min(d_out, d_in)), where the caller has them
            already in float64; None: computed here.
    Returns:
        `RankCertificate`, every field of shape (...), float64. distance, bounds, norms and TCV ≥ 0; the relative TCV of
        the input in [0, 1], NaN where nothing varies; tightness in [0, 1], NaN where distance and bound are both 0.
    Raises:
        ValueError: shapes that do not fit, or labels outside 0..K−1.
    Source: ours, after Zangrando et al. (arXiv 2402.03991).
    """
    count = sample_count(deltas, inputs, num_samples)
    return certificate_of_sums(
        weight, row_sums(inputs, deltas, labels, num_classes), weight_decay, count, singular_values
    )


def certificate_of_sums(
    weight: Tensor,
    sums: RowSums,
    weight_decay: Tensor | float,
    num_samples: int,
    singular_values: Tensor | None = None,
) -> RankCertificate:
    """`rank_certificate`, its rows summed up already; arguments and result as there."""
    check_same_matrix(weight, sums.products)
    matrix, decay = weight.double(), _strength(weight_decay, weight)
    gradient = sums.gradient(num_samples)
    residual = frobenius_norm(decay[..., None, None] * matrix + gradient)
    decay = torch.where(decay > 0, decay, torch.nan)
    within_norm = frobenius_norm(sums.products) / num_samples
    descent = -inner_product(unit_norm(matrix), gradient)
    norm = frobenius_norm(matrix)
    spectrum = exact_singular_values(matrix) if singular_values is None else singular_values
    rank = sums.means.shape[-2]
    distance = distance_to_rank_of_spectrum(spectrum, rank)
    first_bound = (within_norm + residual) / decay
    certificate = RankCertificate(
        distance=distance.expand_as(residual),
        first_bound=first_bound,
        tcv_bound=(sums.delta_norm * (sums.scatter_norm / num_samples) + residual) / decay,
        weight_norm=norm.expand_as(residual),
        residual_norm=residual,
        within_gradient_norm=within_norm.expand_as(residual),
        eigenvalue_cosine=(descent / frobenius_norm(gradient)).clamp(-1, 1),
        eigenvalue_ratio=descent / norm,
        total_cluster_variation=(sums.scatter_norm / num_samples**0.5).square().expand_as(residual),
        relative_tcv=sums.relative_scatter.expand_as(residual),
        tightness=distance / first_bound if rank < spectrum.shape[-1] else torch.full_like(residual, torch.nan),
    )
    return RankCertificate(*(torch.where(field.isfinite(), field, torch.nan) for field in certificate))


def _strength(weight_decay: Tensor | float, weight: Tensor) -> Tensor:
    return torch.as_tensor(weight_decay, dtype=torch.float64, device=weight.device)
