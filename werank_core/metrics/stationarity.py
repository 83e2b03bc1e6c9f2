"""Stationarity of a layer under weight decay, and the certificate that ties its rank to its input clusters.

Setting: loss L₀ + (λ/2) Σ_l ‖W_l‖_F², L₀ the mean over N samples. For one layer, z_i is the input for sample
i and d_i the gradient of sample i's loss (NOT divided by N) with respect to the layer's pre-activation W z_i
+ b, so that ∇_W L₀ = (1/N) Σ_i d_i z_iᵀ. Automatic differentiation of the MEAN loss gives d_i / N: multiply
by N.

What the arguments may be:
- Leading axes are stacked runs (or layers of one shape) and broadcast: inputs (N, d_in) shared by all runs
  fit
  deltas (R, N, d_out). No operation crosses them; a run with NaN gives NaN for itself only. All is returned in
  float64 and computed in it, except that `row_sums` sums over the N rows in the dtype they come in.
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

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.collapse import relative_tcv, total_cluster_variation
from werank_core.metrics.gradients import check_same_matrix, inner_product
from werank_core.metrics.rank import distance_to_rank, singular_values
from werank_core.metrics.row_sums import RowSums
from werank_core.metrics.scaling import finite_or_nan, frobenius_norm, unit_norm


class LayerBalance(NamedTuple):
    """One layer between weight decay and data: all that its certificate and gauges are made of, float64.

    With W the weight, ∇L₀ its gradient of the mean data loss, R = λW + ∇L₀, and G = (1/N) Σ_i d_i (z_i − m_{c(i)})ᵀ the
    part of the gradient that comes from the scatter of the inputs around their class means.

    Attributes:
        spectrum: singular values of W, (..., m); rows: what was summed over the rows.
        weight_norm: ‖W‖_F; gradient_norm: ‖∇L₀‖_F; descent: ⟨W, −∇L₀⟩/‖W‖_F, NaN for W = 0; (...) each.
        residual_norm: ‖R‖_F; within_norm: ‖G‖_F, (...) each.
        weight_decay: λ, (...), NaN for 0.
    """

    spectrum: Tensor
    rows: RowSums
    weight_norm: Tensor
    gradient_norm: Tensor
    descent: Tensor
    residual_norm: Tensor
    within_norm: Tensor
    weight_decay: Tensor

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.rows.means.shape[-2]


def layer_balance(
    weight: Tensor, rows: RowSums, weight_decay: Tensor | float, spectrum: Tensor | None = None
) -> LayerBalance:
    """The balance of a layer at any point of training.

    A non-finite number in a run gives NaN in that run only, in everything that it enters.

    Args:
        weight: W, shape (..., d_out, d_in).
        rows: `row_sums` of the layer's inputs and deltas.
        weight_decay: λ ≥ 0, a number or shape (...).
        spectrum: singular values of W, shape (..., min(d_out, d_in)), where the caller has them; None: computed here.
    Raises:
        ValueError: a weight of another shape than the rows ask for.
    """
    check_same_matrix(weight, rows.products)
    matrix, gradient = weight.double(), rows.gradient
    decay = torch.as_tensor(weight_decay, dtype=torch.float64, device=weight.device)
    norms = (
        frobenius_norm(matrix),
        frobenius_norm(gradient),
        -inner_product(unit_norm(matrix), gradient),
        frobenius_norm(decay[..., None, None] * matrix + gradient),
        frobenius_norm(rows.products) / rows.num_samples,
        torch.where(decay > 0, decay, torch.nan),
    )
    spectrum = singular_values(matrix) if spectrum is None else spectrum
    return LayerBalance(spectrum, rows, *(finite_or_nan(norm) for norm in norms))


def residual_norm(layer: LayerBalance) -> Tensor:
    """‖λWₗ + ∇L₀‖_F, the gradient of the penalised loss: 0 at a stationary point.

    Returns: (...), ≥ 0.
    Source: Zangrando et al. (arXiv 2402.03991), stationarity condition.
    """
    return layer.residual_norm


def eigenvalue_cosine(layer: LayerBalance) -> Tensor:
    """cos(Wₗ, −∇L₀): how far the eigenvalue equation λW = −∇L₀ holds in direction; 1 at a stationary point with λ > 0.

    Formula: ⟨W, −∇L₀⟩ / (‖W‖_F ‖∇L₀‖_F). Below about 0.99 the theory does not apply yet. NaN where W or the gradient is
    exactly 0 (a layer that weight decay has emptied).

    Returns: (...), in [−1, 1].
    Source: Zangrando et al. (arXiv 2402.03991), eigenvalue equation; the gauge is ours.
    """
    return (layer.descent / layer.gradient_norm).clamp(-1, 1)


def eigenvalue_ratio(layer: LayerBalance) -> Tensor:
    """⟨Wₗ, −∇L₀⟩/‖Wₗ‖²: the λ that the weights themselves show, equal to λ at a stationary point.

    Returns: (...); NaN where W is exactly 0.
    Source: as `eigenvalue_cosine`.
    """
    return finite_or_nan(layer.descent / layer.weight_norm)


def certificate_bound(layer: LayerBalance) -> Tensor:
    """(‖gₗ‖_F + ‖rₗ‖_F)/λ ≥ distance to rank K of the weight, at any point of training.

    With R = λW + ∇L₀ and G as in `LayerBalance`, λW = R − G − (K outer products): the rest of the gradient,
    (1/N) Σ_k (Σ_{i in k} d_i) m_kᵀ, has rank ≤ K. There is no unknown constant, and nothing to be violated: see the
    module's docstring for what this does and does not show. A class with one sample adds 0 to G; classes without
    samples only make the certificate weaker than it could be.

    Returns: (...), ≥ 0; NaN for λ = 0 (undefined, not infinite).
    Source: ours, after Zangrando et al. (arXiv 2402.03991).
    """
    return finite_or_nan((layer.within_norm + layer.residual_norm) / layer.weight_decay)


def tcv_bound(layer: LayerBalance) -> Tensor:
    """(RMS‖dᵢ‖·√TCVₗ + ‖rₗ‖_F)/λ ≥ certificate, by Cauchy and Schwarz.

    TCV = (1/N) Σ_i ‖z_i − m_{c(i)}‖² of the layer's input. With weight sharing both RMS and TCV sum over positions and
    divide by the number of samples.

    Returns: (...), ≥ 0; NaN for λ = 0.
    Source: as `certificate_bound`.
    """
    rows = layer.rows
    scatter = rows.delta_norm * (rows.scatter_norm / rows.num_samples)
    return finite_or_nan((scatter + layer.residual_norm) / layer.weight_decay)


def certificate_tightness(layer: LayerBalance) -> Tensor:
    """distance to rank K / certificate: near 0 the bound says little.

    Returns: (...), in [0, 1]; NaN where both are 0, and for min(d_out, d_in) ≤ K, where the distance is always 0.
    Source: ours.
    """
    bound = certificate_bound(layer)
    if layer.num_clusters >= layer.spectrum.shape[-1]:
        return torch.full_like(bound, torch.nan)
    return finite_or_nan(distance_to_rank(layer.spectrum, layer.num_clusters) / bound)


# -- what is recorded, by its name in the vocabulary -------------------------------------------------------------------

LAYER_NUMBERS: dict[str, Callable[[LayerBalance], Tensor]] = {
    "layer_tcv": lambda layer: relative_tcv(layer.rows),
    "layer_absolute_tcv": lambda layer: total_cluster_variation(layer.rows),
    "certificate_bound": certificate_bound,
    "tcv_bound": tcv_bound,
    "certificate_tightness": certificate_tightness,
    "residual_norm": residual_norm,
    "eigenvalue_cosine": eigenvalue_cosine,
    "eigenvalue_ratio": eigenvalue_ratio,
}
