"""How strongly a network answers to its input: spectral norms, measured response, alignment of neighbouring layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from werank_core.metrics.rank import Factors
from werank_core.metrics.scaling import scaled_norm


def product_of_spectral_norms(spectra: Sequence[Tensor]) -> Tensor:
    """Πₗ σ₁(Wₗ): the Lipschitz bound of a network with 1-Lipschitz activations (norm layers not counted).

    Args: spectra, the L singular-value vectors (..., m) of `rank.singular_values`, descending; convolutions count
        flattened to (c_out, c_in·k·k).
    Returns: (...), in [0, ∞) float64; NaN for a run with a non-finite weight.
    Raises: ValueError without layers.
    Source: Bartlett, Foster & Telgarsky 2017.
    """
    if not spectra:
        raise ValueError("spectra is empty; give at least one layer.")
    return torch.stack([spectrum[..., 0] for spectrum in spectra]).prod(0)


@torch.no_grad()
def response_sensitivity(function: Callable[[Tensor], Tensor], inputs: Tensor, noise: Tensor) -> Tensor:
    """mean over rows of ‖f(x+e) − f(x)‖/‖e‖, measured along the given noise; samples with e_i = 0 are left out.

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


def edge_sensitivity(representations: Tensor, with_fewer_edges: Tensor) -> Tensor:
    """mean over nodes of ‖f(X, A') − f(X, A)‖/‖f(X, A)‖, in the dtype of the representations.

    Args: representations f(X, A) and those of the graph A' without some of its edges, (..., N, D) each.
    Returns: (...), in [0, ∞).
    Source: ours.
    """
    size = representations.norm(dim=-1).clamp_min(1e-12)
    change: Tensor = (representations - with_fewer_edges).norm(dim=-1) / size
    return change.mean(-1)


def feature_sensitivity(representations: Tensor, with_noisy_features: Tensor, noise_norm: float) -> Tensor:
    """‖f(X+E, A) − f(X, A)‖_F/‖E‖_F, in the dtype of the representations.

    Args: representations f(X, A) and f(X+E, A), (..., N, D) each; noise_norm ‖E‖_F > 0.
    Returns: (...), in [0, ∞).
    Source: ours.
    """
    change: Tensor = (representations - with_noisy_features).flatten(-2).norm(dim=-1)
    return change / noise_norm


def layer_alignment(layer: Factors, next_layer: Factors) -> Tensor:
    """|Vₗ₊₁ᵀ Uₗ|: how the output directions of layer l meet the input directions of layer l+1.

    W_l = U_l S_l V_lᵀ, singular values descending. The identity where neighbouring layers are aligned. Where singular
    values coincide (or are 0) their directions, and so these entries, are defined only up to a rotation.

    Args: `rank.singular_factors` of W_l (..., d_l, d_in) and W_{l+1} (..., d_out, d_l).
    Returns: (..., min(d_out, d_l), min(d_l, d_in)), in [0, 1] float64; NaN where a weight is not finite.
    Raises: ValueError where the two layers do not meet.
    Source: Jing et al. 2022, alignment of adjacent layers.
    """
    outputs, inputs = layer.left.shape[-2], next_layer.right.shape[-1]
    if outputs != inputs:
        raise ValueError(f"layer l has {outputs} outputs but layer l+1 has {inputs} inputs.")
    return (next_layer.right @ layer.left).abs().clamp_max(1)


def layer_alignment_score(layer: Factors, next_layer: Factors, top: int | None = None) -> Tensor:
    """mean diagonal of |Vₗ₊₁ᵀ Uₗ|, see `layer_alignment`: of its first `top` entries, all of them by default.

    Random directions in d dimensions score about 0.8/√d. Directions of vanishing singular values are arbitrary: give
    the numerical rank as `top` where layers have lost rank.

    Args: as `layer_alignment`; top ≥ 1.
    Returns: (...), in [0, 1] float64; 1 where the layers are aligned.
    Source: the scalar is ours.
    """
    diagonal = layer_alignment(layer, next_layer).diagonal(dim1=-2, dim2=-1)
    return diagonal[..., :top].mean(-1)
