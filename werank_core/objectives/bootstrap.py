"""Objectives without negatives: a predictor regresses onto embeddings that are not differentiated."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from werank_core.autograd import with_kept_signature

Pair = tuple[Tensor, Tensor]


def byol(predictions: Pair, targets: Pair, *, symmetric: bool = True) -> Tensor:
    """BYOL: ‖q/‖q‖ - y'/‖y'‖‖² = 2 - 2 cos(q, y'), meaned over rows.

    Args:
        predictions: of the online network, view 1 and view 2, `(..., B, D)`.
        targets: embeddings y of the target network; the caller detaches them.
        symmetric: also let view 2 predict view 1, and take the mean of both.

    Returns:
        Loss `(...)` in [0, 4].

    Source: Grill et al. 2020, eq. 2 (there the sum of both directions).
    """
    loss = _regression(predictions[0], targets[1])
    return (loss + _regression(predictions[1], targets[0])) / 2 if symmetric else loss


def _regression(prediction: Tensor, target: Tensor) -> Tensor:
    return (2 - 2 * F.cosine_similarity(prediction, target, dim=-1)).mean(-1)


def bgrl(predictions: Pair, targets: Pair) -> Tensor:
    """BGRL: 2 - cos(q, y') - cos(q', y), meaned over rows.

    Args: as `byol`; targets are never differentiated.

    Returns:
        Loss `(...)` in [0, 4].

    Source: Thakoor et al. 2022, eq. 1, which maximises the sum of the cosines.
    """
    return 2 - mean_cosine(predictions[0], targets[1]) - mean_cosine(predictions[1], targets[0])


def simsiam(predictions: Pair, targets: Pair) -> Tensor:
    """SimSiam: -(cos(q, z') + cos(q', z))/2, meaned over rows; BYOL whose target is the network itself.

    Args:
        predictions: `(..., B, D)` of view 1 and view 2.
        targets: the embeddings z of the same network, never differentiated.

    Returns:
        Loss `(...)` in [-1, 1].

    Source: Chen and He 2021, eqs. 1-4.
    """
    return -(mean_cosine(predictions[0], targets[1]) + mean_cosine(predictions[1], targets[0])) / 2


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
    """(1/N) Σ_i cos(q_i, y_i), differentiable in the prediction alone.

    Args:
        prediction: predictor output of the online network `(..., N, D)`.
        target: representations of the target network `(..., N, D)`, never differentiated.

    Returns:
        `(...)` in [-1, 1]; rows of zeros count as 0.

    Source: Thakoor et al. 2022, eq. 1 (there once a direction).
    """
    mean: Tensor = _MeanCosine.apply(prediction, target.detach())[0]  # type: ignore[no-untyped-call]
    return mean
