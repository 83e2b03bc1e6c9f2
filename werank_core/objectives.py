"""Self-supervised losses on the embeddings of two views of the same rows, for one run or a batch of runs.

Every function maps `(..., B, D)` embeddings to `(...)` losses; gradients flow to whatever requires them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from werank_core.autograd import with_kept_signature

# Under the root of a standard deviation, as the authors' codes have it. Each meets the variance of embeddings: a loss
# knows their scale where the variance is not far above it.
VICREG_EPSILON = 1e-4
BARLOW_EPSILON = 1e-5

# Objectives that do not change when the same vector is added to every embedding of both views. That may be all a bias
# does: in the last layer, and in any other for a unit whose activation is on one side for all rows. Its gradient is 0
# then, and Adam makes full steps of the rounding of it. Networks of these objectives have no biases.
SHIFT_INVARIANT = frozenset({"vicreg", "barlow_twins"})

# Products of one block of runs: what stays in a core's cache until it is used; on a GPU few launches count, and memory.
CACHE_ELEMENTS = 2**17
DEVICE_ELEMENTS = 2**27


@with_kept_signature
class _InfoNCE(torch.autograd.Function):
    """mean_i [logsumexp_j s_ij - s_ii], with its gradient taken at once, while the products s_ij are in the cache.

    ∂L/∂q_i = (Σ_j p_ij k_j - k_i)/B and ∂L/∂k_j = (Σ_i p_ij q_i - q_j)/B need one pass of exponentials, and only they
    are kept: nothing of size B x B. Symmetric: the mean with the transposed problem, on the same products.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
        rows = queries.shape[-2]
        flat = queries.reshape(-1, *queries.shape[-2:]), keys.reshape(-1, *keys.shape[-2:])
        block = max(1, (CACHE_ELEMENTS if queries.device.type == "cpu" else DEVICE_ELEMENTS) // rows**2)
        parts = [_infonce_block(q, k, symmetric) for q, k in zip(*(torch.split(x, block) for x in flat), strict=True)]
        loss, to_queries, to_keys = (torch.cat(part) for part in zip(*parts, strict=True))
        return loss.view(queries.shape[:-2]), to_queries.view_as(queries), to_keys.view_as(keys)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        to_queries, to_keys = ctx.saved_tensors
        scale = gradients[0][..., None, None]
        return scale * to_queries, scale * to_keys, None


def _infonce_block(queries: Tensor, keys: Tensor, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Loss `(b,)` and its gradients `(b, B, D)` for a few runs."""
    logits = queries @ keys.mT
    log_sum, probabilities = _softmax_with_log_sum(logits, -1)
    if symmetric:
        other_log_sum, other = _softmax_with_log_sum(logits, -2)
        log_sum, probabilities = (log_sum + other_log_sum) / 2, probabilities.add_(other).div_(2)
    rows = queries.shape[-2]
    loss = (log_sum - logits.diagonal(dim1=-2, dim2=-1)).mean(-1)
    return loss, (probabilities @ keys - keys) / rows, (probabilities.mT @ queries - queries) / rows


def _softmax_with_log_sum(logits: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """log Σ exp and softmax along an axis: the largest probability is 1/Σ exp(s - top), so one pass of exponentials."""
    probabilities = torch.softmax(logits, dim=dim)
    return logits.amax(dim) - probabilities.amax(dim).log(), probabilities


def infonce(
    view_1: Tensor, view_2: Tensor, temperature: float, *, normalize: bool = True, symmetric: bool = True
) -> Tensor:
    """InfoNCE: a row of view 1 must find its partner among all rows of view 2.

    L = mean_i [ log Σ_j exp(z_i·z'_j / τ) - z_i·z'_i / τ ]; symmetric: the mean of both directions.

    Args:
        view_1, view_2: embeddings `(..., B, D)`.
        temperature: τ > 0.
        normalize: put every embedding on the unit sphere first (SimCLR); off in the classic toy cases.
        symmetric: also let view 2 find view 1.

    Returns:
        Loss `(...)`, at least 0 when normalised rows are distinct.

    Source: van den Oord et al. 2018; Chen et al. 2020. Differs from SimCLR's NT-Xent: negatives come from the other
    view only, not from both (ours, as in Jing et al. 2022).
    """
    if normalize:
        view_1, view_2 = F.normalize(view_1, dim=-1), F.normalize(view_2, dim=-1)
    loss: Tensor = _InfoNCE.apply(view_1 / temperature, view_2, symmetric)[0]  # type: ignore[no-untyped-call]
    return loss


@with_kept_signature
class _LogSumExp(torch.autograd.Function):
    """log Σ_j exp(q_i·k_j) over all keys, leaving out key i itself where asked, some rows at a time.

    Only (chunk, M) similarities exist at once; the backward pass computes them again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(queries: Tensor, keys: Tensor, own_key: int, chunk: int) -> Tensor:
        starts = range(0, queries.shape[-2], chunk)
        return torch.cat([_similarities(queries, keys, own_key, s, chunk).logsumexp(-1) for s in starts], -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        queries, keys, ctx.own_key, ctx.chunk = inputs
        ctx.save_for_backward(queries, keys, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, keys, log_sum = ctx.saved_tensors
        to_keys, to_queries = torch.zeros_like(keys), []
        for start in range(0, queries.shape[-2], ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            similarities = _similarities(queries, keys, ctx.own_key, start, ctx.chunk)
            weighted = (similarities - log_sum[..., rows, None]).exp() * gradients[0][..., rows, None]
            to_queries.append(weighted @ keys)
            to_keys = to_keys + weighted.mT @ queries[..., rows, :]
        return torch.cat(to_queries, -2), to_keys, None, None


def _similarities(queries: Tensor, keys: Tensor, own_key: int, start: int, chunk: int) -> Tensor:
    """Rows start..start + chunk of q_i·k_j; −∞ where j = i + own_key, nothing of the kind when own_key is negative."""
    block = queries[..., start : start + chunk, :] @ keys.mT
    if own_key < 0:
        return block
    rows = torch.arange(start, start + block.shape[-2], device=block.device)[:, None] + own_key
    return block.masked_fill(torch.arange(block.shape[-1], device=block.device) == rows, -torch.inf)


def grace(view_1: Tensor, view_2: Tensor, temperature: float, *, chunk: int = 1024) -> Tensor:
    """GRACE: a node must find its partner among all nodes of the other view and all others of its own.

    ℓ(u_i, v_i) = log[ Σ_j e^{cos(u_i, v_j)/τ} + Σ_{j≠i} e^{cos(u_i, u_j)/τ} ] − cos(u_i, v_i)/τ, meaned over nodes and
    both directions. No (N, N) matrix is kept: at most `chunk` rows of similarities exist at once.

    Args:
        view_1, view_2: embeddings `(..., N, D)`.
        temperature: τ > 0.

    Returns:
        Loss `(...)`, at least 0.

    Source: Zhu et al. 2020, eqs. 1-2.
    """
    one, two = F.normalize(view_1, dim=-1), F.normalize(view_2, dim=-1)
    partner = (one * two).sum(-1) / temperature
    losses = []
    for own, other in ((one, two), (two, one)):
        keys = torch.cat([other, own], -2)
        log_sum: Tensor = _LogSumExp.apply(own / temperature, keys, own.shape[-2], chunk)  # type: ignore[no-untyped-call]
        losses.append((log_sum - partner).mean(-1))
    return torch.stack(losses).mean(0)


def byol(prediction: Tensor, target: Tensor) -> Tensor:
    """BYOL's regression loss of one direction: 2 - 2 cos(q, y), meaned over rows.

    Args:
        prediction: predictor output of the online network `(..., B, D)`.
        target: embeddings of the target network `(..., B, D)`; the caller detaches them.

    Returns:
        Loss `(...)` in [0, 4].

    Source: Grill et al. 2020, eq. 2.
    """
    return (2 - 2 * F.cosine_similarity(prediction, target, dim=-1)).mean(-1)


@with_kept_signature
class _MeanCosine(torch.autograd.Function):
    """Mean over rows of cos(q, y), with the gradient of q in two passes over the embeddings instead of ten."""

    generate_vmap_rule = True

    @staticmethod
    def forward(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        squared = prediction.square().sum(-1, keepdim=True).clamp_min(1e-16)
        # a root each: the product of two squared norms leaves float32 for embeddings of length 1e10
        scale = squared.rsqrt() * target.square().sum(-1, keepdim=True).clamp_min(1e-16).rsqrt()
        cosine = (prediction * target).sum(-1, keepdim=True) * scale
        return cosine.mean((-2, -1)), scale, cosine / squared

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, *output[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        prediction, target, scale, radial = ctx.saved_tensors
        share = (gradients[0] / prediction.shape[-2])[..., None, None]
        return torch.addcmul(target * (share * scale), prediction, -share * radial), None


def mean_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """(1/N) Σ_i cos(q_i, y_i), differentiable in the prediction alone: what BGRL maximises.

    Args:
        prediction: predictor output of the online network `(..., N, D)`.
        target: representations of the target network `(..., N, D)`, never differentiated.

    Returns:
        `(...)` in [-1, 1]; rows of zeros count as 0.

    Source: Thakoor et al. 2022, eq. 1 (there once a direction).
    """
    mean: Tensor = _MeanCosine.apply(prediction, target.detach())[0]  # type: ignore[no-untyped-call]
    return mean


def vicreg(
    view_1: Tensor,
    view_2: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Tensor:
    """VICReg: invariance + variance + covariance.

    L = λ·mean‖z - z'‖²/D + μ/2·Σ_views mean_d max(0, 1 - √(Var_d + ε)) + ν·Σ_views Σ_{d≠e} C_de²/D.

    Args:
        view_1, view_2: embeddings `(..., B, D)`, B >= 2.

    Returns:
        Loss `(...)`, at least 0.

    Source: Bardes et al. 2022, eqs. 1-6 with ε = 1e-4. The 1/2 before the variance term follows their code.
    """
    invariance = (view_1 - view_2).square().mean((-2, -1))
    variance = (_variance_hinge(view_1) + _variance_hinge(view_2)) / 2
    covariance = _off_diagonal_covariance(view_1) + _off_diagonal_covariance(view_2)
    return invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance


def _variance_hinge(z: Tensor) -> Tensor:
    return torch.relu(1 - (z.var(-2) + VICREG_EPSILON).sqrt()).mean(-1)


def _off_diagonal_covariance(z: Tensor) -> Tensor:
    z = z - z.mean(-2, keepdim=True)
    covariance = z.mT @ z / (z.shape[-2] - 1)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    return (covariance.square().sum((-2, -1)) - diagonal.square().sum(-1)) / z.shape[-1]


def barlow_twins(view_1: Tensor, view_2: Tensor, *, redundancy_weight: float = 0.0051) -> Tensor:
    """Barlow Twins: the cross-correlation matrix of the views becomes the identity.

    L = Σ_d (1 - C_dd)² + λ Σ_{d≠e} C_de², C the correlation over the batch.

    Args:
        view_1, view_2: embeddings `(..., B, D)`, B >= 2.

    Returns:
        Loss `(...)`, at least 0.

    Source: Zbontar et al. 2021, eqs. 1-2; dimensions are standardised as by their BatchNorm, biased variance and
    ε = 1e-5 under the root. ε decides results: with 1e-4 ReLU encoders on digits end with 40 instead of 47 dimensions.
    """
    correlation = _standardized(view_1).mT @ _standardized(view_2) / view_1.shape[-2]
    diagonal = correlation.diagonal(dim1=-2, dim2=-1)
    on = (1 - diagonal).square().sum(-1)
    off = correlation.square().sum((-2, -1)) - diagonal.square().sum(-1)
    return on + redundancy_weight * off


def _standardized(z: Tensor) -> Tensor:
    centred = z - z.mean(-2, keepdim=True)
    return centred / (centred.square().mean(-2, keepdim=True) + BARLOW_EPSILON).sqrt()
