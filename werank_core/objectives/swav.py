"""SwAV: each view predicts to which prototypes the other view is assigned."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SINKHORN_ITERATIONS = 3
SINKHORN_EPSILON = 0.05


def swav(view_1: Tensor, view_2: Tensor, prototypes: Tensor, *, temperature: float = 0.1) -> Tensor:
    """SwAV: −½ mean_i [Σ_k q_ik log p'_ik + Σ_k q'_ik log p_ik].

    p_i = softmax(z_i·c_k / τ) over unit embeddings z and unit prototypes c; q the balanced assignments of the same view
    (`assignments`), not differentiated.

    Args:
        view_1, view_2: embeddings `(..., B, D)`.
        prototypes: `(..., K, D)`, rows of any length above 0.
        temperature: τ > 0.

    Returns:
        Loss `(...)`, at least 0.

    Source: Caron et al. 2020, eqs. 1-3. Differs from their code: prototypes are put on the sphere inside the loss, move
    from the first step on, and there is no queue.
    """
    units = F.normalize(prototypes, dim=-1).mT
    scores = [F.normalize(view, dim=-1) @ units for view in (view_1, view_2)]
    codes = [assignments(score) for score in scores]
    logs = [(score / temperature).log_softmax(-1) for score in scores]
    return -((codes[0] * logs[1]).sum(-1) + (codes[1] * logs[0]).sum(-1)).mean(-1) / 2


def assignments(scores: Tensor) -> Tensor:
    """Assignment of B rows to K prototypes, every prototype getting nearly the same share: Sinkhorn-Knopp, 3 rounds.

    Q ∝ exp(S/ε), ε = 0.05, scaled in turn to B/K a column and to 1 a row.

    Args:
        scores: `(..., B, K)`; never differentiated.

    Returns:
        `(..., B, K)`, rows sum to 1.

    Source: Caron et al. 2020, section 3 and appendix; computed from logarithms (ours).
    """
    logs = scores.detach() / SINKHORN_EPSILON
    share = math.log(scores.shape[-2] / scores.shape[-1])
    for _ in range(SINKHORN_ITERATIONS):
        logs = logs - torch.logsumexp(logs, -2, keepdim=True) + share
        logs = logs - torch.logsumexp(logs, -1, keepdim=True)
    return logs.exp()
