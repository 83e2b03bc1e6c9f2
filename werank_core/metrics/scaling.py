"""Matrices and norms over the whole range of float64: squares of 1e160 overflow and those of 1e-170 vanish."""

from typing import NamedTuple

import torch
from torch import Tensor


class ScaledMatrix(NamedTuple):
    """`values` · `unit` is the matrix: entries in (−2, 2) where its dtype needs it; all 0 where it is not finite."""

    values: Tensor  # (..., N, D) float64
    unit: Tensor  # (...) float64, a power of two
    finite: Tensor  # (...) bool

    def restored(self, values: Tensor) -> Tensor:
        """Numbers (..., m) that scale as the matrix does, in its own unit; NaN where it is not finite."""
        return torch.where(self.finite[..., None], values * self.unit[..., None], torch.nan)


def finite_or_zero(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The matrix in float64 with every non-finite batch element zeroed, and the (...) mask of the finite ones.

    LAPACK raises on NaN, and would take the whole batch with it.
    """
    # the largest number carries inf and NaN, and is found ten times faster than isfinite of every entry
    finite = _largest(matrix).isfinite()
    clean = matrix.double()
    return (clean if finite.all() else torch.where(finite[..., None, None], clean, 0.0)), finite


def unit_scaled(matrix: Tensor) -> ScaledMatrix:
    """The matrix in float64, in units of its largest entry rounded down to a power of two, which rounds nothing.

    Squares of smaller dtypes stay within float64: those matrices keep the unit 1.
    Args: matrix (..., N, D).
    """
    clean, finite = finite_or_zero(matrix)
    if matrix.dtype != torch.float64:
        return ScaledMatrix(clean, torch.ones_like(finite, dtype=torch.float64), finite)
    largest = _largest(clean)
    # largest = mantissa · 2^e with the mantissa in [1/2, 1), so this is 2^(e − 1), which is never beyond float64
    unit = torch.where(largest > 0, largest / (2 * torch.frexp(largest).mantissa), 1.0)
    return ScaledMatrix(clean / unit[..., None, None], unit, finite)


def _largest(matrix: Tensor) -> Tensor:
    """max |A| over the last two axes, (...), without another matrix of the absolute values."""
    return torch.maximum(matrix.amax((-2, -1)), -matrix.amin((-2, -1)))


def scaled_norm(values: Tensor) -> Tensor:
    """‖x‖₂ over the last axis, (...) float64, in units of the largest entry; NaN where an entry is not finite."""
    largest = values.abs().amax(-1, keepdim=True)
    unit = torch.where(largest > 0, largest, torch.ones_like(largest))
    norm: Tensor = torch.linalg.vector_norm(values / unit, dim=-1).double() * unit[..., 0].double()
    return norm


def frobenius_norm(matrix: Tensor) -> Tensor:
    """‖A‖_F over the last two axes, (...) float64, summed in the dtype of A; not finite where A is not.

    One pass over A, and another one, scaled, where the sum of the squares has left the range of the dtype.
    """
    flat = matrix.flatten(-2)
    norm = torch.linalg.vector_norm(flat, dim=-1)
    smallest = torch.finfo(norm.dtype).tiny ** 0.5 / torch.finfo(norm.dtype).eps
    ordinary = (norm > smallest) & norm.isfinite()
    return norm.double() if ordinary.all() else torch.where(ordinary, norm.double(), scaled_norm(flat))


def unit_norm(matrix: Tensor) -> Tensor:
    """A/‖A‖_F in float64; NaN for a zero matrix."""
    return matrix.double() / frobenius_norm(matrix.double())[..., None, None]


def finite_or_nan(values: Tensor) -> Tensor:
    """Values (...) with NaN in place of ±∞: what is beyond float64 is not known."""
    return torch.where(values.isfinite(), values, torch.nan)
