"""Collapse and rank of representations from their class moments: one float64 pass over the rows for all of them.

Each number is that of `collapse` and `rank`, which are the definitions; here the rows are read once. Worth it where a
record wants all of them and D is small beside N.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.collapse import equiangularity, equinorm, self_duality


class ClassMoments(NamedTuple):
    """Second moments of labelled rows, float64; K classes, absent ones with size and mean 0.

    Attributes:
        sizes: (..., K) n_k.
        means: (..., K, D) m_k.
        within: (..., D, D) Σ_i (z_i − m_{c(i)})(z_i − m_{c(i)})ᵀ.
        nearest: (..., N) class whose mean is nearest to each row.
        finite: (...) whether the rows are; other fields of such a run mean nothing.
    """

    sizes: Tensor
    means: Tensor
    within: Tensor
    nearest: Tensor
    finite: Tensor

    @property
    def present(self) -> Tensor:
        """(..., K) mask of the classes with samples."""
        return self.sizes > 0

    @property
    def centred_means(self) -> Tensor:
        """(..., K, D) m_k − m, 0 for absent classes."""
        share = self.sizes / self.sizes.sum(-1, keepdim=True)
        return (self.means - (share[..., None] * self.means).sum(-2, keepdim=True)) * self.present[..., None]

    @property
    def between(self) -> Tensor:
        """(..., K, D) √n_k (m_k − m): a factor of the between-class scatter."""
        return self.sizes.sqrt()[..., None] * self.centred_means


def class_moments(representations: Tensor, labels: Tensor, num_classes: int) -> ClassMoments:
    """The moments of representations (..., N, D) with labels (..., N) in 0..K−1."""
    # a sum is finite exactly where all is (rows that overflow float64 aside), and costs one pass
    finite = representations.sum((-2, -1), dtype=torch.float64).isfinite()
    samples = representations.double()
    if not finite.all():
        samples = torch.where(finite[..., None, None], samples, 0.0)
    classes = torch.arange(num_classes, device=labels.device)
    members = (labels[..., None] == classes).to(samples.dtype)
    sizes = members.sum(-2)
    means = members.mT @ samples / sizes.clamp(min=1)[..., None]
    # ‖z − m‖² = ‖z‖² − 2 (z·m − ‖m‖²/2)
    scores = samples @ means.mT - (means.square().sum(-1) / 2)[..., None, :]
    nearest = scores.masked_fill((sizes == 0)[..., None, :], -torch.inf).argmax(-1)
    scatter = samples.sub_(members @ means) if samples is not representations else samples - members @ means
    return ClassMoments(sizes, means, scatter.mT @ scatter, nearest, finite)


def singular_values_of_moments(moments: ClassMoments) -> Tensor:
    """Singular values of the uncentred rows Z, from ZᵀZ = within + Σ n_k m_k m_kᵀ.

    Returns: (..., D), descending, ≥ 0, absolute error about 1e-8 · s₁; NaN for a run that is not finite.
    """
    weighted = moments.sizes.sqrt()[..., None] * moments.means
    eigenvalues = torch.linalg.eigvalsh(moments.within + weighted.mT @ weighted).flip(-1)
    floor = eigenvalues.shape[-1] * torch.finfo(torch.float64).eps * eigenvalues[..., :1]
    values = torch.where(eigenvalues > floor, eigenvalues, 0.0).sqrt()
    return torch.where(moments.finite[..., None], values, torch.nan)


def variation_of_moments(moments: ClassMoments) -> dict[str, Tensor]:
    """Total cluster variation and relative TCV, (...) each."""
    within = moments.within.diagonal(dim1=-2, dim2=-1).sum(-1)
    total = within + moments.between.square().sum((-2, -1))
    values = {"total_cluster_variation": within / moments.sizes.sum(-1), "relative_tcv": within / total}
    return {name: torch.where(moments.finite, value, torch.nan) for name, value in values.items()}


def neural_collapse_of_moments(
    moments: ClassMoments, classifier_weight: Tensor, predictions: Tensor
) -> dict[str, Tensor]:
    """NC1 to NC4, (...) each.

    Args: classifier_weight (..., K, D); predictions (..., N), the classifier's classes.
    """
    inverse = torch.linalg.pinv(moments.between, rtol=1e-8)
    trace = (inverse.mT @ moments.within @ inverse).diagonal(dim1=-2, dim2=-1).sum(-1)
    agreement = (moments.nearest == predictions).double().mean(-1)
    return {
        "nc1": torch.where(moments.finite, trace / moments.present.sum(-1), torch.nan),
        "nc2_equinorm": equinorm(moments),
        "nc2_equiangular": equiangularity(moments),
        "nc3_self_duality": self_duality(moments, classifier_weight),
        "nc4_agreement": torch.where(moments.finite, agreement, torch.nan),
    }
