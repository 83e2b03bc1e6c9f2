"""Objectives with negatives: a row finds its partner among all rows, of the other view or of both."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from werank_core.autograd import with_kept_signature

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
