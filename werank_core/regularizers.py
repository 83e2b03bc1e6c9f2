"""Penalties on weight matrices and how their strength is spread over layers: pure functions of tensors.

Every penalty maps `(..., d_out, d_in) -> (...)`, so a stacked batch of runs and a single layer use the same code,
under `vmap` and `grad` too. G is a Gram matrix of W, and `gram` says which: `output` W Wᵀ (d_out × d_out; what follows
from penalties on the covariance, Cov(W x) = W Cov(x) Wᵀ), `input` WᵀW (d_in × d_in; the WERank paper's letters read
with PyTorch's W), or the `smaller` of the two (ours, the default). Which one the paper means is not known to us, and it
decides results: the larger Gram matrix has |d_out − d_in| more eigenvalues, all 0, so ‖G − I‖_F cannot fall below
√|d_out − d_in|, and in the unsquared norm this floor shrinks the gradient. Squared norms differ by a constant only.

A matrix with a non-finite entry has a penalty that is not finite, raises nothing and leaves the other matrices of the
batch untouched.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from werank_core.autograd import with_kept_signature

Gram = Literal["smaller", "output", "input"]

GRAMS: tuple[Gram, ...] = get_args(Gram)
SCHEDULES = ("uniform", "last", "first", "linear")


# From this many rows on, a Gram matrix is computed in blocks of rows.
BLOCKED_ROWS = 256


def _gram(rows: Tensor) -> Tensor:
    """M Mᵀ (..., m, m); of a large one only the blocks on and below the diagonal, five eighths of the work."""
    if rows.shape[-2] < BLOCKED_ROWS:
        return rows @ rows.mT
    gram = rows.new_empty(*rows.shape[:-1], rows.shape[-2])
    stop = 0
    for part in rows.chunk(4, dim=-2):
        start, stop = stop, stop + part.shape[-2]
        below = part @ rows[..., :stop, :].mT
        gram[..., start:stop, :stop] = below
        gram[..., :start, start:stop] = below[..., :start].mT
    return gram


@with_kept_signature
class _GramResidual(torch.autograd.Function):
    """E = G − I with the closed-form gradient (Ē + Ēᵀ) W for W Wᵀ, W (Ē + Ēᵀ) for WᵀW.

    One product backward where autograd needs two (it does not know that G is symmetric). With Ē = 2E this is the
    textbook 4 W (WᵀW − I) of the squared norm. The backward pass is itself differentiable.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(weight: Tensor, of_output: bool) -> Tensor:
        gram = _gram(weight if of_output else weight.mT)
        return gram - torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.of_output = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        symmetric = grad_outputs[0] + grad_outputs[0].mT
        return symmetric @ weight if ctx.of_output else weight @ symmetric, None


def gram_residual(weight: Tensor, gram: Gram = "smaller") -> Tensor:
    """G − I for a Gram matrix G of W.

    Args: weight (..., d_out, d_in).
    Returns: (..., m, m), m the size of G; zero exactly where W has orthonormal rows (W Wᵀ) or columns (WᵀW).
    Raises: ValueError for an unknown gram.
    Source: Bansal, Chen & Wang 2018; the choice of side is ours.
    """
    residual: Tensor = _GramResidual.apply(weight, _side(weight, gram) == "output")  # type: ignore[no-untyped-call]
    return residual


def _side(weight: Tensor, gram: Gram) -> Gram:
    """`output` or `input`: which Gram matrix is meant for a weight of this shape."""
    if gram not in GRAMS:
        raise ValueError(f"gram {gram!r} is unknown; choose one of {', '.join(GRAMS)}.")
    smaller: Gram = "output" if weight.shape[-2] <= weight.shape[-1] else "input"
    return smaller if gram == "smaller" else gram


def extra_zeros(weight: Tensor, gram: Gram) -> int:
    """Eigenvalues of G that are 0 for any weight of this shape (..., d_out, d_in): |d_out − d_in| for the larger one.

    G has the eigenvalues of the smaller Gram matrix and these; G − I has −1 there. Norms of G − I follow from that.
    """
    d_out, d_in = weight.shape[-2:]
    return max(0, d_out - d_in if _side(weight, gram) == "output" else d_in - d_out)


def _finite_or_zero(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix with every non-finite batch element zeroed, (...) mask of finite elements: LAPACK raises on NaN."""
    finite = torch.isfinite(matrix).all(-1).all(-1)
    return torch.where(finite[..., None, None], matrix, torch.zeros_like(matrix)), finite


def _nan_where_not(finite: Tensor, value: Tensor) -> Tensor:
    return torch.where(finite, value, torch.full_like(value, torch.nan))


def werank_penalty(weight: Tensor, gram: Gram = "smaller") -> Tensor:
    """‖G − I‖_F, not squared: the WERank term.

    The gradient is 2 W (WᵀW − I)/‖G − I‖_F, and 0 at G = I, where the norm has a kink. For the larger G the norm is
    √(‖smaller G − I‖_F² + |d_out − d_in|): no kink, and a gradient that fades as W becomes orthonormal.
    Args: weight (..., d_out, d_in).
    Returns: (...), in [√|d_out − d_in|, ∞) for the larger G, else in [0, ∞); √m at W = 0.
    Source: Saheb Pasand et al. 2024 (WERank).
    """
    zeros = extra_zeros(weight, gram)
    norm: Tensor = torch.linalg.matrix_norm(gram_residual(weight))
    return (norm.square() + zeros).sqrt() if zeros else norm


def soft_orthogonality_penalty(weight: Tensor, gram: Gram = "smaller") -> Tensor:
    """‖G − I‖_F² (SO), gradient 4 W (WᵀW − I) whichever G it is.

    Gradient flow of α · SO moves each singular value by ds/dt = −4 α s (s² − 1): s = 1 attracts, s = 0 repels.
    Args: weight (..., d_out, d_in).
    Returns: (...), in [|d_out − d_in|, ∞) for the larger G, else in [0, ∞); m at W = 0.
    Source: Bansal, Chen & Wang 2018 (there on WᵀW).
    """
    zeros = extra_zeros(weight, gram)
    squared = gram_residual(weight).square().sum((-2, -1))
    return squared + zeros if zeros else squared


def double_soft_orthogonality_penalty(weight: Tensor) -> Tensor:
    """‖WᵀW − I‖_F² + ‖WWᵀ − I‖_F² (DSO) = 2 ‖G − I‖_F² + |d_out − d_in|.

    The larger Gram matrix has the eigenvalues of the smaller one and |d_out − d_in| zeros, each of which adds 1.
    Args: weight (..., d_out, d_in).
    Returns: (...), in [|d_out − d_in|, ∞).
    Source: Bansal, Chen & Wang 2018.
    """
    floor = abs(weight.shape[-2] - weight.shape[-1])
    return 2 * soft_orthogonality_penalty(weight) + floor


def mutual_coherence_penalty(weight: Tensor, gram: Gram = "smaller") -> Tensor:
    """max_ij |G − I|_ij (MC); at a tie the subgradient is shared equally, at G = I it is 0.

    Entries of one Gram matrix do not follow from the other: here the larger one is computed, at its cost.
    Args: weight (..., d_out, d_in).
    Returns: (...), in [0, ∞).
    Source: Bansal, Chen & Wang 2018.
    """
    return gram_residual(weight, gram).abs().amax((-2, -1))


def srip_penalty(weight: Tensor, gram: Gram = "smaller") -> Tensor:
    """‖G − I‖₂ = max_i |λ_i(G) − 1|, the spectral norm (SRIP); its subgradient at G = I is 0.

    For the larger G at least 1: below, its zero eigenvalues are the farthest from 1 and the gradient is 0.
    Exact by eigenvalues, where the paper runs two steps of power iteration; not squared, where the authors' code adds
    the square ‖G − I‖₂².
    Args: weight (..., d_out, d_in).
    Returns: (...), in [1, ∞) for the larger G, else in [0, ∞); NaN for a non-finite matrix.
    Source: Bansal, Chen & Wang 2018.
    """
    residual, finite = _finite_or_zero(gram_residual(weight))
    norm = torch.linalg.eigvalsh(residual).abs().amax(-1)
    return _nan_where_not(finite, norm.clamp_min(1) if extra_zeros(weight, gram) else norm)


def spectral_norm_penalty(weight: Tensor) -> Tensor:
    """σ_max(W)²/2, gradient σ₁ u₁ v₁ᵀ (a subgradient when the largest singular value is not unique).

    Args: weight (..., d_out, d_in).
    Returns: (...), in [0, ∞); NaN for a non-finite matrix.
    Source: Yoshida & Miyato 2017.
    """
    residual, finite = _finite_or_zero(gram_residual(weight))
    largest = (torch.linalg.eigvalsh(residual)[..., -1] + 1).clamp_min(0)  # σ₁² = λ_max(G − I) + 1
    return _nan_where_not(finite, largest / 2)


def nuclear_norm_penalty(weight: Tensor) -> Tensor:
    """Σ σ_i(W), gradient U Vᵀ; at zero singular values one of the subgradients, with spectral norm at most 1.

    Args: weight (..., d_out, d_in).
    Returns: (...), in [0, ∞); NaN for a non-finite matrix.
    Source: Fazel 2002 (the convex envelope of rank).
    """
    finite_weight, finite = _finite_or_zero(weight)
    return _nan_where_not(finite, torch.linalg.svdvals(finite_weight).sum(-1))


def weight_decay_penalty(weight: Tensor) -> Tensor:
    """‖W‖_F²/2: with the half, strength λ adds exactly λ W to the gradient (coupled L2).

    Args: weight (..., d_out, d_in).
    Returns: (...), in [0, ∞).
    """
    return weight.square().sum((-2, -1)) / 2


# Penalties made of one G − I: they also take `gram`.
GRAM_PENALTIES: dict[str, Callable[..., Tensor]] = {
    "werank": werank_penalty,
    "soft_orthogonality": soft_orthogonality_penalty,
    "mutual_coherence": mutual_coherence_penalty,
    "srip": srip_penalty,
}

PENALTIES: dict[str, Callable[..., Tensor]] = {
    **GRAM_PENALTIES,
    "double_soft_orthogonality": double_soft_orthogonality_penalty,
    "spectral_norm": spectral_norm_penalty,
    "nuclear_norm": nuclear_norm_penalty,
    "weight_decay": weight_decay_penalty,
}


def weight_matrix(weight: Tensor) -> Tensor:
    """One layer's weight as a matrix: (d_out, d_in) as it is, (c_out, c_in, k, ...) as (c_out, c_in·k·…).

    Takes ONE run's weight: three axes are a 1-d convolution here, never a stack of matrices (use it inside `vmap`).
    Raises: ValueError for fewer than two axes: biases, norms and PReLU slopes are never penalised.
    """
    if weight.ndim < 2:
        raise ValueError(f"weight has {weight.ndim} axes; a penalty needs a matrix or a convolution kernel.")
    return weight.flatten(1)


def layer_weights(schedule: str | Sequence[float], num_layers: int) -> tuple[float, ...]:
    """w_l of α_l = α · w_l: how a strength is spread over layers l = 1..L (first = closest to the input).

    `uniform` 1; `last` 1 on layer L only; `first` 1 on layer 1 only; `linear` l/L; or the weights themselves.
    Returns: (L,) floats.
    Raises: ValueError for an unknown schedule or a list whose length is not num_layers.
    """
    if not isinstance(schedule, str):
        if len(schedule) != num_layers:
            raise ValueError(f"layer weights has {len(schedule)} values; give one for each of the {num_layers} layers.")
        return tuple(float(weight) for weight in schedule)
    layers = range(1, num_layers + 1)
    match schedule:
        case "uniform":
            return tuple(1.0 for _ in layers)
        case "last":
            return tuple(float(layer == num_layers) for layer in layers)
        case "first":
            return tuple(float(layer == 1) for layer in layers)
        case "linear":
            return tuple(layer / num_layers for layer in layers)
    raise ValueError(f"layer schedule {schedule!r} is unknown; choose one of {', '.join(SCHEDULES)} or a list.")


def total_penalty(
    weights: Sequence[Tensor], penalty: str, layer_weights: Sequence[float], gram: Gram = "smaller"
) -> Tensor:
    """Σ_l w_l · penalty(W_l); the caller multiplies by the strength. Layers of weight 0 are not computed.

    Args: weights, L matrices (..., d_out, d_in), convolutions through `weight_matrix`; penalty, a key of `PENALTIES`;
        gram, for those in `GRAM_PENALTIES`.
    Returns: (...); zero where there is nothing to penalise.
    Raises: ValueError for an unknown penalty or gram, no layer, or a number of weights other than L.
    """
    if penalty not in PENALTIES:
        raise ValueError(f"penalty {penalty!r} is unknown; choose one of {', '.join(PENALTIES)}.")
    if not weights or len(weights) != len(layer_weights):
        raise ValueError(f"layer weights has {len(layer_weights)} values for {len(weights)} layers; give one a layer.")
    groups: dict[torch.Size, list[tuple[Tensor, float]]] = {}
    for weight, w in zip(weights, layer_weights, strict=True):
        if w:
            groups.setdefault(weight.shape, []).append((weight, w))
    value = partial(PENALTIES[penalty], gram=gram) if penalty in GRAM_PENALTIES else PENALTIES[penalty]
    terms = [_weighted_penalty(group, value) for group in groups.values()]
    return torch.stack(terms).sum(0) if terms else weights[0].new_zeros(weights[0].shape[:-2])


def _weighted_penalty(group: Sequence[tuple[Tensor, float]], penalty: Callable[[Tensor], Tensor]) -> Tensor:
    """Σ w · penalty(W) over layers of equal shape, as one batch: on small layers the calls cost more than the sums."""
    if len(group) == 1:
        weight, w = group[0]
        return w * penalty(weight)
    values = penalty(torch.stack([weight for weight, _ in group]))
    if any(w != 1 for _, w in group):
        # numbers, not a tensor of them: a GPU would wait for its copy
        values = torch.stack([w * value for value, (_, w) in zip(values, group, strict=True)])
    return values.sum(0)
