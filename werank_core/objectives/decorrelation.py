"""Objectives that decorrelate the dimensions of embeddings: VICReg and Barlow Twins."""

import torch
from torch import Tensor

# Under the root of a standard deviation, as the authors' codes have it. Each meets the variance of embeddings: a loss
# knows their scale where the variance is not far above it.
VICREG_EPSILON = 1e-4
BARLOW_EPSILON = 1e-5


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
