"""Over-smoothing on a graph: how much representations still differ across edges."""

import torch
from torch import Tensor


def dirichlet_energy(representations: Tensor, edge_index: Tensor, degrees: Tensor) -> Tensor:
    """½ Σ_{ij} ‖zᵢ/√(1+dᵢ) − zⱼ/√(1+dⱼ)‖² / N, over directed edges (i, j).

    Equal to tr(Zᵀ(I − Â)Z)/N with Â = D^-1/2 (A + I) D^-1/2; 0 exactly where z_i/√(1 + d_i) is constant on every
    connected part, which is what infinitely many propagations lead to.
    Args: representations (..., N, D); edge_index (2, E) with both directions; degrees (N,) without self-loops.
    Returns: (...), in [0, ∞) float64.
    Source: Cai & Wang 2020, definition 3.1; the division by N is ours.
    """
    scaled = representations.double() / (1 + degrees.to(representations.device).double()).sqrt()[:, None]
    # A block of edges at a time: E x D differences of a large graph do not fit.
    pieces = torch.split(edge_index.to(representations.device), 65_536, dim=1)
    parts = [(scaled[..., block[0], :] - scaled[..., block[1], :]).square().sum((-2, -1)) for block in pieces]
    return torch.stack(parts).sum(0) / (2 * representations.shape[-2])
