"""How strongly a network answers to its input: spectral norms, measured response, alignment of neighbouring layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from werank_core.metrics.rank import singular_values
from werank_core.metrics.scaling import scaled_norm, unit_scaled


def product_of_spectral_norms(weights: Sequence[Tensor]) -> Tensor:
    """Π_l σ₁(W_l): the Lipschitz bound of a network with 1-Lipschitz activations (norm layers not counted).

    Args: weights, L matrices (..., d_out, d_in), convolutions flattened to (c_out, c_in·k·k).
    Returns: (...), in [0, ∞) float64; NaN for a run with a non-finite weight.
    Raises: ValueError without weights.
    Source: Bartlett, Foster & Telgarsky 2017.
    """
    if not weights:
        raise ValueError("weights is empty; give at least one layer.")
    return torch.stack([singular_values(weight)[..., 0] for weight in weights]).prod(0)


@torch.no_grad()
def response_sensitivity(function: Callable[[Tensor], Tensor], inputs: Tensor, noise: Tensor) -> Tensor:
    """mean_i ‖f(x_i + e_i) − f(x_i)‖/‖e_i‖, measured along the given noise; samples with e_i = 0 are left out.

    Never above the Lipschitz constant of f on the segment. f is called twice and must not draw at random.

    Args: function (..., N, d) -> (..., N, D), leading axes = stacked runs; inputs and noise (..., N, d),
        images flattened.
    Returns: (...), in [0, ∞) float64; NaN where f is not finite or all noise is zero.
    Raises: ValueError where noise and inputs differ in shape.
    """
    if noise.shape != inputs.shape:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; the inputs have {tuple(inputs.shape)}.")
    response = function(inputs + noise).double() - function(inputs).double()
    size = scaled_norm(noise.double())
    moved = size > 0
    ratio = torch.where(moved, scaled_norm(response) / torch.where(moved, size, 1.0), 0.0)
    mean: Tensor = ratio.sum(-1) / moved.sum(-1)
    return mean


def layer_alignment(weight: Tensor, next_weight: Tensor) -> Tensor:
    """|V_{l+1}ᵀ U_l|: how the output directions of layer l meet the input directions of layer l+1.

    W_l = U_l S_l V_lᵀ, singular values descending. The identity where neighbouring layers are aligned. Where singular
    values coincide (or are 0) their directions, and so these entries, are defined only up to a rotation.

    Args: weight W_l (..., d_l, d_in), next_weight W_{l+1} (..., d_out, d_l).
    Returns: (..., min(d_out, d_l), min(d_l, d_in)), in [0, 1] float64; NaN where a weight is not finite.
    Raises: ValueError where the two layers do not meet.
    Source: Jing et al. 2022, alignment of adjacent layers.
    """
    if weight.shape[-2] != next_weight.shape[-1]:
        raise ValueError(f"layer l has {weight.shape[-2]} outputs but layer l+1 has {next_weight.shape[-1]} inputs.")
    clean, _, finite = unit_scaled(weight)
    next_clean, _, next_finite = unit_scaled(next_weight)
    outputs = torch.linalg.svd(clean, full_matrices=False).U
    inputs = torch.linalg.svd(next_clean, full_matrices=False).Vh
    alignment = (inputs @ outputs).abs().clamp_max(1)
    return torch.where((finite & next_finite)[..., None, None], alignment, torch.nan)


def layer_alignment_score(weight: Tensor, next_weight: Tensor, top: int | None = None) -> Tensor:
    """Mean of the first `top` diagonal entries of `layer_alignment`, equally weighted; all of them by default.

    Random directions in d dimensions score about 0.8/√d. Directions of vanishing singular values are arbitrary: give
    the numerical rank as `top` where layers have lost rank.

    Args: weight (..., d_l, d_in), next_weight (..., d_out, d_l); top ≥ 1.
    Returns: (...), in [0, 1] float64; 1 where the layers are aligned.
    Source: the scalar is ours.
    """
    diagonal = layer_alignment(weight, next_weight).diagonal(dim1=-2, dim2=-1)
    return diagonal[..., :top].mean(-1)
