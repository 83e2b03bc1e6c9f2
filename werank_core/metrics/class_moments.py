"""Collapse and rank of representations from their class moments: one float64 pass over the rows for all of them.

Each number is that of `collapse` and `rank`, which are the definitions; here the rows are read once. Worth it where a
record wants all of them and D is small beside N.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.collapse import equiangularity, equinorm, masked, self_duality, whitened_variation
from werank_core.metrics.scaling import unit_scaled


class ClassMoments(NamedTuple):
    """Second moments of labelled rows, float64, from the first row and in units; K classes, absent ones 0.

    Attributes:
        sizes: (..., K) n_k.
        means: (..., K, D) m_k.
        within: (..., D, D) Σ_i (z_i − m_{c(i)})(z_i − m_{c(i)})ᵀ.
        whitened: (...) NC1, the within-class covariance measured by the class means.
        nearest: (..., N) class whose mean is nearest to each row.
        origin: (..., 1, D) the first row; unit: (...), see `scaling.unit_scaled`.
        finite: (...) whether the rows are; other fields of such a run mean nothing.
    """

    sizes: Tensor
    means: Tensor
    within: Tensor
    whitened: Tensor
    nearest: Tensor
    origin: Tensor
    unit: Tensor
    finite: Tensor

    @property
    def between(self) -> Tensor:
        """(..., K, D) √n_k (m_k − m), m the mean over all samples: a factor of the between-class scatter."""
        share = self.sizes / self.sizes.sum(-1, keepdim=True)
        return self.sizes.sqrt()[..., None] * (self.means - (share[..., None] * self.means).sum(-2, keepdim=True))


class _Means(NamedTuple):
    """Sizes and means of the classes, before their moments."""

    sizes: Tensor
    means: Tensor
    finite: Tensor


def class_moments(representations: Tensor, labels: Tensor, num_classes: int) -> ClassMoments:
    """The moments of representations (..., N, D) with labels (..., N) in 0..K−1."""
    samples, unit, finite = unit_scaled(representations)
    origin = samples[..., :1, :].clone()
    samples.sub_(origin)
    labels = labels.long().expand(samples.shape[:-1])
    sizes, means, of_rows = _class_means(samples, labels, num_classes)
    # ‖z − m‖² = ‖z‖² − 2 (z·m − ‖m‖²/2)
    offsets = torch.where(sizes > 0, means.square().sum(-1) / 2, torch.inf)
    nearest = (samples @ means.mT).sub_(offsets[..., None, :]).argmax(-1)
    scatter = torch.sub(samples, of_rows, out=of_rows)
    whitened = whitened_variation(_Means(sizes, means, finite), labels, scatter)
    return ClassMoments(sizes, means, scatter.mT @ scatter, whitened, nearest, origin, unit, finite)


def _class_means(samples: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """n_k (..., K), m_k (..., K, D) and m_{c(i)} (..., N, D): adding rows up beats a float64 product with K columns."""
    *runs, rows, width = samples.shape
    stacked = labels.reshape(-1, rows)
    number = (stacked + num_classes * torch.arange(len(stacked), device=labels.device)[:, None]).flatten()
    sizes = torch.bincount(number, minlength=len(stacked) * num_classes).to(samples.dtype)
    sums = samples.new_zeros(len(sizes), width).index_add_(0, number, samples.reshape(-1, width))
    means = sums / sizes.clamp(min=1)[:, None]
    of_rows = means.index_select(0, number).view_as(samples)
    return sizes.view(*runs, num_classes), means.view(*runs, num_classes, width), of_rows


def singular_values_of_moments(moments: ClassMoments) -> Tensor:
    """Singular values of the uncentred rows Z, from ZᵀZ = within + Σ n_k m_k m_kᵀ.

    Returns: (..., D), descending, ≥ 0, absolute error about 1e-8 · s₁; NaN for a run that is not finite.
    """
    weighted = moments.sizes.sqrt()[..., None] * (moments.means + moments.origin)
    eigenvalues = torch.linalg.eigvalsh(moments.within + weighted.mT @ weighted).flip(-1)
    floor = eigenvalues.shape[-1] * torch.finfo(torch.float64).eps * eigenvalues[..., :1]
    values = torch.where(eigenvalues > floor, eigenvalues, 0.0).sqrt() * moments.unit[..., None]
    return torch.where(moments.finite[..., None], values, torch.nan)


def variation_of_moments(moments: ClassMoments) -> dict[str, Tensor]:
    """Total cluster variation and relative TCV, (...) each."""
    within = moments.within.diagonal(dim1=-2, dim2=-1).sum(-1)
    total = within + moments.between.square().sum((-2, -1))
    variation = within / moments.sizes.sum(-1) * moments.unit * moments.unit
    return {
        "total_cluster_variation": masked(moments, torch.where(variation.isfinite(), variation, torch.nan)),
        "relative_tcv": masked(moments, within / total),
    }


def neural_collapse_of_moments(
    moments: ClassMoments, classifier_weight: Tensor, predictions: Tensor
) -> dict[str, Tensor]:
    """NC1 to NC4, (...) each.

    Args: classifier_weight (..., K, D); predictions (..., N), the classifier's classes.
    """
    agreement = (moments.nearest == predictions).double().mean(-1)
    return {
        "nc1": masked(moments, moments.whitened),
        "nc2_equinorm": equinorm(moments),
        "nc2_equiangular": equiangularity(moments),
        "nc3_self_duality": self_duality(moments, classifier_weight),
        "nc4_agreement": masked(moments, agreement),
    }
