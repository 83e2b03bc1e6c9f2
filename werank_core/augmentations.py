"""How two views of the same rows are made."""

import torch
from torch import Tensor


def augmented_dimensions(dimension: int, fraction: float) -> Tensor:
    """Mask `(dimension,)` of 0 and 1: 1 on the trailing `fraction` of the dimensions, which get the noise.

    Source: Jing et al. 2022, strong augmentation in a subspace; fraction 1 is the isotropic case.
    """
    mask = torch.zeros(dimension)
    count = round(fraction * dimension)
    mask[dimension - count :] = 1.0
    return mask


def noisy_views(rows: Tensor, noise: Tensor, strength: Tensor, mask: Tensor) -> Tensor:
    """Two views `x + strength · mask · ε` of the same rows.

    Args:
        rows: `(..., B, d)`.
        noise: standard normal ε of both views `(..., 2, B, d)`.
        strength: standard deviation, broadcast against `(..., 2, B, d)`.
        mask: `(d,)` of 0 and 1.

    Returns:
        `(..., 2, B, d)`.
    """
    return rows.unsqueeze(-3) + noise * (mask * strength)
