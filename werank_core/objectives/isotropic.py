"""Objectives that ask embeddings to be like N(0, I): by their covariance, or by their whole distribution."""

import math

import torch
from torch import Tensor

KNOTS = 17
LARGEST_FREQUENCY = 3.0


def weak_sigreg(view_1: Tensor, view_2: Tensor, *, isotropy_weight: float = 0.05) -> Tensor:
    """Weak-SIGReg: invariance, and the covariance of the embeddings at the identity.

    L = (1 − λ)·mean‖z − z'‖²/4D + λ/2·Σ_views ‖Cov(z) − I‖_F, Cov divided by B − 1.

    WERank's twin on data: with Cov(x) = I and z = W x the second term is ‖W Wᵀ − I‖_F.

    Args:
        view_1, view_2: embeddings `(..., B, D)`, B >= 2.
        isotropy_weight: λ in [0, 1].

    Returns:
        Loss `(...)`, at least 0.

    Source: the second moment alone of what SIGReg asks for; invariance and weights as there (ours).
    """
    apart = (_distance_to_identity(view_1) + _distance_to_identity(view_2)) / 2
    return (1 - isotropy_weight) * _invariance(view_1, view_2) + isotropy_weight * apart


def sigreg(view_1: Tensor, view_2: Tensor, directions: Tensor, *, isotropy_weight: float = 0.05) -> Tensor:
    """SIGReg (LeJEPA): invariance, and embeddings that are N(0, I) along random directions.

    L = (1 − λ)·mean‖z − z'‖²/4D + λ·mean over views and a of B·∫ |φ_a(t) − e^{−t²/2}|² e^{−t²/2} dt,
    φ_a(t) = mean_i e^{i t a·z_i} the empirical characteristic function along a, the integral over [−3, 3] by the
    trapezoidal rule.

    Args:
        view_1, view_2: embeddings `(..., B, D)`.
        directions: `(..., D, M)`, columns a of any length above 0; new ones in every step.
        isotropy_weight: λ in [0, 1].

    Returns:
        Loss `(...)`, at least 0.

    Source: Balestriero and LeCun 2025 (arXiv 2511.08544), Epps-Pulley statistic with 17 knots on [0, 3] as in their
    code; their λ is 0.02 to 0.05.
    """
    units = directions / directions.norm(dim=-2, keepdim=True)
    apart = (_distance_to_normal(view_1 @ units) + _distance_to_normal(view_2 @ units)) / 2
    return (1 - isotropy_weight) * _invariance(view_1, view_2) + isotropy_weight * apart


def _invariance(view_1: Tensor, view_2: Tensor) -> Tensor:
    """Mean over views, rows and dimensions of (z − mean of both views)²."""
    return (view_1 - view_2).square().mean((-2, -1)) / 4


def _distance_to_identity(z: Tensor) -> Tensor:
    """‖Cov(z) − I‖_F; its gradient is 0 where that is 0."""
    centred = z - z.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / (z.shape[-2] - 1)
    gap = covariance - torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    distance: Tensor = torch.linalg.matrix_norm(gap)
    return distance


def _distance_to_normal(projections: Tensor) -> Tensor:
    """Mean over the last axis of B·∫ |φ(t) − e^{−t²/2}|² e^{−t²/2} dt of `(..., B, M)`; even in t, so twice t >= 0."""
    step = LARGEST_FREQUENCY / (KNOTS - 1)
    total = torch.zeros_like(projections[..., 0, :])
    for knot in range(KNOTS):
        t = knot * step
        normal = math.exp(-(t**2) / 2)
        angles = t * projections
        gap = (angles.cos().mean(-2) - normal).square() + angles.sin().mean(-2).square()
        total = total + (step if knot in (0, KNOTS - 1) else 2 * step) * normal * gap
    return projections.shape[-2] * total.mean(-1)
