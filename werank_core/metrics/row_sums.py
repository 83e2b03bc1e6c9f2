"""A layer's rows summed up: all that the rank certificate (see `stationarity`) needs of its inputs and deltas.

The conventions (leading axes, weight sharing, BatchNorm, float64) are those of `stationarity`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.scaling import frobenius_norm, scaled_norm


class RowSums(NamedTuple):
    """Everything of a layer that sums over rows, in float64.

    Attributes:
        products: Σ d_i (z_i − m_{c(i)})ᵀ, (..., d_out, d_in).
        class_deltas: Σ_{i in k} d_i, (..., K, d_out).
        means: m_k, (..., K, d_in); sizes: n_k, (..., K).
        scatter_norm: (Σ ‖z_i − m_{c(i)}‖²)^½, (...); delta_norm: (Σ ‖d_i‖²)^½, (...).
    """

    products: Tensor
    class_deltas: Tensor
    means: Tensor
    sizes: Tensor
    scatter_norm: Tensor
    delta_norm: Tensor

    def gradient(self, num_samples: int) -> Tensor:
        """(1/N) Σ d_i z_iᵀ, the layer's gradient of the mean loss, (..., d_out, d_in)."""
        return (self.products + self.class_deltas.mT @ self.means) / num_samples

    @property
    def relative_scatter(self) -> Tensor:
        """Σ ‖z_i − m_{c(i)}‖² / Σ ‖z_i − m‖², the denominator from the class means; NaN for 0/0."""
        share = self.sizes / self.sizes.sum(-1, keepdim=True)
        centred = self.means - (share[..., None] * self.means).sum(-2, keepdim=True)
        between_norm = frobenius_norm(self.sizes.sqrt()[..., None] * centred)
        return (self.scatter_norm / torch.hypot(self.scatter_norm, between_norm)).square()


def row_sums(inputs: Tensor, deltas: Tensor, labels: Tensor, num_classes: int) -> RowSums:
    """One pass over the N rows, in their own dtype: float64 copies of them would cost more than all the arithmetic.

    Whatever m_k and the class sums of d are rounded to, the certificate compares the SAME numbers on both sides:
    Σ d_i z_iᵀ is put together as products + class_deltasᵀ means, so that what is left of it after the products has rank
    K exactly, and the first inequality holds to float64 round-off even for float32 rows.

    Args, Raises: as `rank_certificate`.
    """
    dtype = torch.promote_types(inputs.dtype, deltas.dtype)
    samples, errors = inputs.to(dtype), deltas.to(dtype)
    members = _membership(labels, inputs, num_classes).to(dtype)
    sizes = members.sum(dim=-2)
    means = members.mT @ samples / sizes.clamp(min=1)[..., None]
    scatter = (members @ -means).add_(samples)
    norms = [frobenius_norm(rows) for rows in (scatter, errors)]
    products, class_deltas = errors.mT @ scatter, members.mT @ errors
    sizes = sizes.double().expand(means.shape[:-1])
    return RowSums(products.double(), class_deltas.double(), means.double(), sizes, norms[0], norms[1])


def joined_row_sums(parts: Sequence[RowSums]) -> RowSums:
    """The sums over all rows from those over parts of them, whose class means differ.

    With n, m of all rows and n', m' of a part: Σ d (z − m)ᵀ = Σ d (z − m')ᵀ + Σ_k (Σ_{i in k} d_i) (m'_k − m_k)ᵀ and
    Σ ‖z − m‖² = Σ ‖z − m'‖² + Σ_k n'_k ‖m'_k − m_k‖², added up over the parts.
    """
    if len(parts) == 1:
        return parts[0]
    each = RowSums(*(torch.stack(field) for field in zip(*parts, strict=True)))
    sizes = each.sizes.sum(0)
    means = (each.sizes[..., None] * each.means).sum(0) / sizes.clamp(min=1)[..., None]
    gaps = each.means - means
    gap_norms = frobenius_norm(each.sizes.sqrt()[..., None] * gaps)
    return RowSums(
        products=(each.products + each.class_deltas.mT @ gaps).sum(0),
        class_deltas=each.class_deltas.sum(0),
        means=means,
        sizes=sizes,
        scatter_norm=scaled_norm(torch.cat([each.scatter_norm, gap_norms]).movedim(0, -1)),
        delta_norm=scaled_norm(each.delta_norm.movedim(0, -1)),
    )


def _membership(labels: Tensor, inputs: Tensor, num_classes: int) -> Tensor:
    """One-hot labels, shape (..., N, K), bool."""
    if labels.ndim < 1 or labels.shape[-1] != inputs.shape[-2]:
        raise ValueError(f"labels {tuple(labels.shape)} must have one entry per row of inputs {tuple(inputs.shape)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {int(labels.min())}..{int(labels.max())}")
    return (labels[..., None] == torch.arange(num_classes, device=labels.device)).to(inputs.device)
