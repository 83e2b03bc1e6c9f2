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
        num_samples: N, (...): fewer than rows where a weight is shared.
    """

    products: Tensor
    class_deltas: Tensor
    means: Tensor
    sizes: Tensor
    scatter_norm: Tensor
    delta_norm: Tensor
    num_samples: Tensor

    @property
    def gradient(self) -> Tensor:
        """(1/N) Σ d_i z_iᵀ, the layer's gradient of the mean loss, (..., d_out, d_in)."""
        return (self.products + self.class_deltas.mT @ self.means) / self.num_samples[..., None, None]

    @property
    def unit(self) -> Tensor:
        """1: the rows are summed as they are."""
        return torch.ones_like(self.num_samples)


def row_sums(
    inputs: Tensor, deltas: Tensor, labels: Tensor, num_classes: int, num_samples: int | None = None
) -> RowSums:
    """One pass over the N rows, in their own dtype: float64 copies of them would cost more than all the arithmetic.

    Whatever m_k and the class sums of d are rounded to, the certificate compares the SAME numbers on both sides:
    Σ d_i z_iᵀ is put together as products + class_deltasᵀ means, so that what is left of it after the products has rank
    K exactly, and the first inequality holds to float64 round-off even for float32 rows.

    Args:
        inputs: z, shape (..., N, d_in).
        deltas: d, shape (..., N, d_out), gradients of the single samples' losses (not divided by N).
        labels: c in 0..K−1, shape (N,) or (..., N).
        num_classes: K ≥ 1.
        num_samples: N of the factor 1/N where the rows are (sample, position) pairs; None: the number of rows.
    Raises:
        ValueError: shapes that do not fit, labels outside 0..K−1, or a `num_samples` below 1.
    """
    count = sample_count(deltas, inputs, num_samples)
    dtype = torch.promote_types(inputs.dtype, deltas.dtype)
    samples, errors = inputs.to(dtype), deltas.to(dtype)
    members = _membership(labels, inputs, num_classes).to(dtype)
    sizes = members.sum(dim=-2)
    means = members.mT @ samples / sizes.clamp(min=1)[..., None]
    scatter = (members @ -means).add_(samples)
    scatter_norm, delta_norm = frobenius_norm(scatter), frobenius_norm(errors)
    sizes = sizes.double().expand(means.shape[:-1])
    return RowSums(
        products=(errors.mT @ scatter).double(),
        class_deltas=(members.mT @ errors).double(),
        means=means.double(),
        sizes=sizes,
        scatter_norm=scatter_norm,
        delta_norm=delta_norm,
        num_samples=torch.full_like(sizes[..., 0], count),
    )


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
        num_samples=each.num_samples.sum(0),
    )


def sample_count(deltas: Tensor, inputs: Tensor, num_samples: int | None) -> int:
    """N of the factor 1/N. Raises ValueError where rows do not pair up or there are none."""
    if deltas.ndim < 2 or inputs.ndim < 2 or deltas.shape[-2] != inputs.shape[-2] or inputs.shape[-2] == 0:
        raise ValueError(
            f"deltas {tuple(deltas.shape)} and inputs {tuple(inputs.shape)} must be (..., N, d), one N ≥ 1"
        )
    count = inputs.shape[-2] if num_samples is None else num_samples
    if count < 1:
        raise ValueError(f"num_samples must be at least 1, got {count}")
    return count


def _membership(labels: Tensor, inputs: Tensor, num_classes: int) -> Tensor:
    """One-hot labels, shape (..., N, K), bool."""
    if labels.ndim < 1 or labels.shape[-1] != inputs.shape[-2]:
        raise ValueError(f"labels {tuple(labels.shape)} must have one entry per row of inputs {tuple(inputs.shape)}")
    least, most = torch.stack(labels.aminmax()).tolist()
    if least < 0 or most >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {least}..{most}")
    return (labels[..., None] == torch.arange(num_classes, device=labels.device)).to(inputs.device)
