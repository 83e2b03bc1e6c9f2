"""How far representations have collapsed onto their class means: cluster variation, NC1 to NC4, CDNV.

Every quantity is `f(representations (..., N, D), labels (N,) or (..., N), num_classes) -> (...)`, in float64. The class
means are m_k, sizes n_k, the mean over all samples m. Conventions that are ours: covariances weight a class by n_k/N
(equal to the papers' on balanced classes); a class without samples is ignored, that is K is the number of classes
present; a class with one sample has within-class variance 0. Labels outside 0..K−1 and K > N raise a ValueError. A run
with a non-finite representation gives NaN for itself only.
"""

from typing import NamedTuple, Protocol

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from werank_core.metrics.scaling import finite_or_zero


class ClassMeans(Protocol):
    """What the geometry of the class means needs to know; see `class_moments` for the other thing that has it."""

    @property
    def present(self) -> Tensor:
        """(..., K) mask of the classes with samples."""

    @property
    def centred_means(self) -> Tensor:
        """(..., K, D) m_k − m, 0 for absent classes."""

    @property
    def finite(self) -> Tensor:
        """(...) mask of the runs whose representations are finite."""


class _Classes(NamedTuple):
    """Samples and class means of one call, float64; means of absent classes are 0."""

    samples: Tensor  # (..., N, D), broken runs zeroed
    labels: Tensor  # (..., N)
    sizes: Tensor  # (..., K)
    means: Tensor  # (..., K, D)
    finite: Tensor  # (...)

    @property
    def present(self) -> Tensor:
        """(..., K) mask of the classes with samples."""
        return self.sizes > 0

    @property
    def centred_means(self) -> Tensor:
        """(..., K, D) m_k − m, 0 for absent classes."""
        return (self.means - self.samples.mean(-2, keepdim=True)) * self.present[..., None]

    @property
    def within(self) -> Tensor:
        """(..., N, D) z_i − m_{c(i)}."""
        index = self.labels[..., None].expand(*self.labels.shape, self.means.shape[-1])
        return self.samples - self.means.gather(-2, index)


def _checked_labels(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    rows = representations.shape[-2]
    if num_classes > rows:
        raise ValueError(f"num_classes is {num_classes}, more than the {rows} samples; use at most one class a sample.")
    if labels.shape[-1] != rows:
        raise ValueError(f"labels has {labels.shape[-1]} entries for {rows} samples; give one label a sample.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels reach from {labels.min()} to {labels.max()}; they must lie in 0..{num_classes - 1}.")
    return labels.long().expand(representations.shape[:-1])


def _classes(representations: Tensor, labels: Tensor, num_classes: int) -> _Classes:
    labels = _checked_labels(representations, labels, num_classes)
    samples, finite = finite_or_zero(representations)
    members = torch.nn.functional.one_hot(labels, num_classes).to(samples.dtype)
    sizes = members.sum(-2)
    means = members.mT @ samples / sizes.clamp_min(1)[..., None]
    return _Classes(samples, labels, sizes, means, finite)


def _masked(classes: ClassMeans, value: Tensor) -> Tensor:
    return torch.where(classes.finite, value, torch.nan)


def _within_and_total(classes: _Classes) -> tuple[Tensor, Tensor]:
    within = classes.within.square().sum(-1).mean(-1)
    deviation = classes.samples - classes.samples.mean(-2, keepdim=True)
    return within, deviation.square().sum(-1).mean(-1)


def class_means(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """m_k = (1/n_k) Σ_{i∈k} z_i.

    Returns: (..., K, D) float64; NaN for a class without samples and for a non-finite run.
    Raises: ValueError for K > N or labels outside 0..K−1.
    """
    classes = _classes(representations, labels, num_classes)
    shown = classes.present & classes.finite[..., None]
    return torch.where(shown[..., None], classes.means, torch.nan)


def total_cluster_variation(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """TCV = (1/N) Σ_k Σ_{i∈k} ‖z_i − m_k‖², the trace of the within-class covariance.

    Returns: (...), in [0, ∞); 0 where every sample sits on its class mean.
    Source: Zangrando et al. 2024; the paper's normalisation is not known to us, 1/N is ours.
    """
    classes = _classes(representations, labels, num_classes)
    return _masked(classes, _within_and_total(classes)[0])


def relative_tcv(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """TCV / ((1/N) Σ_i ‖z_i − m‖²): the share of the variance that lies within classes.

    Returns: (...), in [0, 1]: 0 is collapse onto the class means, 1 is no class structure; NaN where all samples agree.
    Source: ours; free of scale, so comparable over layers and strengths.
    """
    classes = _classes(representations, labels, num_classes)
    within, total = _within_and_total(classes)
    return _masked(classes, within / total)


def nc1(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """tr(S_W pinv(S_B))/K, S_W = (1/N) Σ (z_i − m_{c(i)})(·)ᵀ, S_B = Σ_k (n_k/N)(m_k − m)(m_k − m)ᵀ.

    Computed from the factor B = [√(n_k/N)(m_k − m)], S_B = BᵀB: tr(S_W pinv(S_B)) = (1/N) ‖(Z − M) pinv(B)‖_F²,
    where singular values of B below 1e-8 of its largest count as 0.
    Returns: (...), in [0, ∞); 0 at collapse, and where all class means coincide (pinv(0) = 0).
    Source: Papyan, Han & Donoho 2020, NC1; class weights n_k/N are ours.
    """
    classes = _classes(representations, labels, num_classes)
    share = (classes.sizes / classes.labels.shape[-1]).sqrt()
    inverse = torch.linalg.pinv(share[..., None] * classes.centred_means, rtol=1e-8)
    trace = (classes.within @ inverse).square().sum(-1).mean(-1)
    return _masked(classes, trace / classes.present.sum(-1))


def nc1_quotient(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """tr S_W / tr S_B, which is r/(1 − r) of the relative TCV r.

    Returns: (...), in [0, ∞]; ∞ where all class means coincide, NaN where all samples do.
    Source: Tirer, Huang & Niles-Weed 2023; class weights n_k/N are ours.
    """
    classes = _classes(representations, labels, num_classes)
    share = classes.sizes / classes.labels.shape[-1]
    between = (share * classes.centred_means.square().sum(-1)).sum(-1)
    return _masked(classes, classes.within.square().sum(-1).mean(-1) / between)


def _pairs(present: Tensor) -> Tensor:
    """(..., K, K) mask of the ordered pairs of different classes that both have samples."""
    both = present[..., :, None] & present[..., None, :]
    return both & ~torch.eye(present.shape[-1], dtype=torch.bool, device=present.device)


def _mean_over(mask: Tensor, values: Tensor) -> Tensor:
    """Mean of a (..., K, K) table over a mask; NaN where the mask is empty."""
    mean: Tensor = torch.where(mask, values, 0.0).sum((-2, -1)) / mask.sum((-2, -1))
    return mean


def cdnv(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Class-distance normalised variance: mean over pairs a ≠ b of (v_a + v_b)/(2 ‖m_a − m_b‖²).

    v_k = (1/n_k) Σ_{i∈k} ‖z_i − m_k‖².
    Returns: (...), in [0, ∞]; ∞ where two means coincide, NaN for fewer than two classes.
    Source: Galanti, György & Hutter 2021.
    """
    classes = _classes(representations, labels, num_classes)
    squares = classes.within.square().sum(-1)
    variance = torch.zeros_like(classes.sizes).scatter_add(-1, classes.labels, squares) / classes.sizes.clamp_min(1)
    gaps = classes.means[..., :, None, :] - classes.means[..., None, :, :]
    quotient = (variance[..., :, None] + variance[..., None, :]) / (2 * gaps.square().sum(-1))
    return _masked(classes, _mean_over(_pairs(classes.present), quotient))


def nc2_equinorm(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """std_k ‖m_k − m‖ / mean_k ‖m_k − m‖ (standard deviation with 1/K).

    Returns: (...), in [0, √(K−1)]; NaN where all class means coincide.
    Source: Papyan, Han & Donoho 2020, NC2 (equinorm).
    """
    return equinorm(_classes(representations, labels, num_classes))


def equinorm(classes: ClassMeans) -> Tensor:
    """`nc2_equinorm` of class means (..., K, D)."""
    norms = classes.centred_means.norm(dim=-1)
    count = classes.present.sum(-1)
    mean = norms.sum(-1) / count
    deviation = (norms - mean[..., None]) * classes.present
    return _masked(classes, (deviation.square().sum(-1) / count).sqrt() / mean)


def nc2_equiangular(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """mean over pairs a ≠ b of |cos(m_a − m, m_b − m) + 1/(K−1)|: the angles of a simplex.

    Returns: (...), in [0, 1 + 1/(K−1)]; NaN for fewer than two classes or a class mean equal to m.
    Source: Papyan, Han & Donoho 2020, NC2 (maximal-angle equiangularity; equal angles alone would be its spread).
    """
    return equiangularity(_classes(representations, labels, num_classes))


def equiangularity(classes: ClassMeans) -> Tensor:
    """`nc2_equiangular` of class means (..., K, D)."""
    directions = classes.centred_means / classes.centred_means.norm(dim=-1, keepdim=True)
    target = 1 / (classes.present.sum(-1) - 1)
    excess = (directions @ directions.mT + target[..., None, None]).abs()
    return _masked(classes, _mean_over(_pairs(classes.present), excess))


def nc3_self_duality(representations: Tensor, labels: Tensor, num_classes: int, classifier_weight: Tensor) -> Tensor:
    """‖W/‖W‖_F − M/‖M‖_F‖_F, M the (K, D) matrix of m_k − m; rows of absent classes are left out of both.

    Args: classifier_weight (..., K, D), row k scoring class k.
    Returns: (...), in [0, 2]: 0 where classifier and class means agree up to one scale; NaN where W or M is zero.
    Raises: ValueError for a classifier of another shape.
    Source: Papyan, Han & Donoho 2020, NC3.
    """
    return self_duality(_classes(representations, labels, num_classes), classifier_weight)


def self_duality(classes: ClassMeans, classifier_weight: Tensor) -> Tensor:
    """`nc3_self_duality` of class means (..., K, D) and a classifier of that shape."""
    if classifier_weight.shape[-2:] != classes.centred_means.shape[-2:]:
        expected, found = tuple(classes.centred_means.shape[-2:]), tuple(classifier_weight.shape[-2:])
        raise ValueError(f"classifier_weight has shape {found}; classes and features ask for {expected}.")
    weight = torch.where(classes.present[..., None], classifier_weight.double(), 0.0)
    gap = _unit(weight) - _unit(classes.centred_means)
    return _masked(classes, gap.square().sum((-2, -1)).sqrt())


def _unit(matrix: Tensor) -> Tensor:
    unit: Tensor = matrix / matrix.square().sum((-2, -1), keepdim=True).sqrt()
    return unit


def nc4_agreement(representations: Tensor, labels: Tensor, num_classes: int, predictions: Tensor) -> Tensor:
    """Share of samples whose predicted class is that of the nearest class mean, arg min_k ‖z_i − m_k‖.

    Args: predictions (N,) or (..., N), the classifier's class of each sample.
    Returns: (...), in [0, 1]; a tie goes to the smaller class number.
    Source: Papyan, Han & Donoho 2020, NC4 (there the share of disagreement).
    """
    classes = _classes(representations, labels, num_classes)
    distances = torch.cdist(classes.samples, classes.means, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = torch.where(classes.present[..., None, :], distances, torch.inf).argmin(-1)
    return _masked(classes, (nearest == predictions).double().mean(-1))


def cluster_labels(representations: Tensor, num_clusters: int, seed: int) -> Tensor:
    """Cluster of each sample by k-means with K given, for data without labels; the numbering is arbitrary.

    Args: representations (..., N, D); seed of the initialisation (best of 10 by inertia).
    Returns: (..., N) int64 on the same device, in 0..K−1; all 0 for a non-finite run.
    Raises: ValueError for K < 1 or K > N.
    """
    rows = representations.shape[-2]
    if not 1 <= num_clusters <= rows:
        raise ValueError(f"num_clusters is {num_clusters}; {rows} samples allow 1..{rows}.")
    clean, finite = finite_or_zero(representations.detach().cpu())
    labels = torch.zeros(clean.shape[:-1], dtype=torch.long)
    for run in finite.nonzero():
        kmeans = KMeans(num_clusters, n_init=10, random_state=seed)
        labels[tuple(run)] = torch.from_numpy(kmeans.fit_predict(clean[tuple(run)].numpy())).long()
    return labels.to(representations.device)
