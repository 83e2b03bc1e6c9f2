"""How far representations have collapsed onto their class means: cluster variation, NC1 to NC4, CDNV.

Every quantity is `f(representations (..., N, D), labels (N,) or (..., N), num_classes) -> (...)`, in float64. The class
means are m_k, sizes n_k, the mean over all samples m, the mean of the class means m̄. Two weightings, for two questions:

- TCV and its relative form weight every SAMPLE the same: they ask how much of the variance lies within classes.
- NC1 to NC3 and CDNV weight every CLASS the same and centre on m̄, as Papyan, Han & Donoho 2020 do: they ask about the
  shape of the class means, so an exact simplex is one whatever the class sizes. NC4 is a share of samples.

Both agree on balanced classes. Ours: a class without samples is ignored, that is K is the number of classes present; a
class with one sample has within-class variance 0. Labels outside 0..K−1 and K > N raise a ValueError. A run with a
non-finite representation gives NaN for itself only, and so does a value beyond float64.
"""

from typing import NamedTuple, Protocol

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from werank_core.metrics.scaling import finite_or_zero, frobenius_norm, scaled_norm, unit_norm, unit_scaled


class ClassMeans(Protocol):
    """What the geometry of the class means needs to know; see `class_moments` for the other thing that has it."""

    @property
    def sizes(self) -> Tensor:
        """(..., K) n_k."""

    @property
    def means(self) -> Tensor:
        """(..., K, D) m_k from any origin and in any unit, the same for all classes; 0 for absent ones."""

    @property
    def finite(self) -> Tensor:
        """(...) mask of the runs whose representations are finite."""


class _Classes(NamedTuple):
    """Samples and class means of one call, float64, seen from the first sample and in units of the largest entry."""

    samples: Tensor  # (..., N, D), broken runs zeroed
    labels: Tensor  # (..., N)
    sizes: Tensor  # (..., K)
    means: Tensor  # (..., K, D)
    origin: Tensor  # (..., 1, D) the first sample
    unit: Tensor  # (...)
    finite: Tensor  # (...)

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
    samples, unit, finite = unit_scaled(representations)
    origin = samples[..., :1, :]
    # from a sample, so that equal samples are exactly 0: the mean of equal numbers may be off by rounding
    samples = samples - origin
    members = torch.nn.functional.one_hot(labels, num_classes).to(samples.dtype)
    sizes = members.sum(-2)
    means = members.mT @ samples / sizes.clamp_min(1)[..., None]
    return _Classes(samples, labels, sizes, means, origin, unit, finite)


def present(classes: ClassMeans) -> Tensor:
    """(..., K) mask of the classes with samples."""
    return classes.sizes > 0


def centred_means(classes: ClassMeans) -> Tensor:
    """(..., K, D) m_k − m̄, m̄ the mean of the class means; 0 for absent classes."""
    here = present(classes)[..., None]
    # from one of them, so that equal means are exactly 0
    first = classes.means.gather(-2, here.long().argmax(-2, keepdim=True).expand_as(classes.means[..., :1, :]))
    shifted = torch.where(here, classes.means - first, 0.0)
    return torch.where(here, shifted - shifted.sum(-2, keepdim=True) / here.sum(-2, keepdim=True), 0.0)


def class_average(classes: ClassMeans, labels: Tensor, values: Tensor) -> Tensor:
    """Mean over the classes of the mean of a class's values: values (..., N) of samples with labels (..., N)."""
    weights = 1 / classes.sizes.clamp_min(1) / present(classes).sum(-1, keepdim=True)
    return (values * weights.gather(-1, labels)).sum(-1)


def masked(classes: ClassMeans, value: Tensor) -> Tensor:
    """A value (...) where the run is finite, NaN elsewhere."""
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
    shown = present(classes) & classes.finite[..., None]
    means = (classes.means + classes.origin) * classes.unit[..., None, None]
    return torch.where(shown[..., None], means, torch.nan)


def total_cluster_variation(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """TCV = (1/N) Σ_k Σ_{i∈k} ‖z_i − m_k‖², the trace of the within-class covariance.

    Returns: (...), in [0, ∞); 0 where every sample sits on its class mean, NaN beyond float64.
    Source: Zangrando et al. 2024; the paper's normalisation is not known to us, 1/N (every sample the same) is ours.
    """
    classes = _classes(representations, labels, num_classes)
    variation = _within_and_total(classes)[0] * classes.unit * classes.unit
    return masked(classes, torch.where(variation.isfinite(), variation, torch.nan))


def relative_tcv(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """TCV / ((1/N) Σ_i ‖z_i − m‖²): the share of the variance that lies within classes.

    Returns: (...), in [0, 1]: 0 is collapse onto the class means, 1 is no class structure; NaN where all samples agree.
    Source: ours; free of scale, so comparable over layers and strengths.
    """
    classes = _classes(representations, labels, num_classes)
    within, total = _within_and_total(classes)
    return masked(classes, within / total)


def nc1(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """tr(S_W pinv(S_B))/K, S_W = (1/K) Σ_k (1/n_k) Σ_{i∈k} (z_i − m_k)(·)ᵀ, S_B = (1/K) Σ_k (m_k − m̄)(m_k − m̄)ᵀ.

    Returns: (...), in [0, ∞); 0 at collapse, and where all class means coincide (pinv(0) = 0).
    Source: Papyan, Han & Donoho 2020, NC1; the paper's classes are balanced, equal weights also in S_W are ours.
    """
    classes = _classes(representations, labels, num_classes)
    return masked(classes, whitened_variation(classes, classes.labels, classes.within))


def whitened_variation(classes: ClassMeans, labels: Tensor, within: Tensor) -> Tensor:
    """`nc1` of class means and of z_i − m_{c(i)} (..., N, D), labels (..., N), in the unit of the means.

    With the rows of M the m_k − m̄, S_B = MᵀM/K, and so tr(S_W pinv(S_B)) = Σ_k (1/n_k) Σ_{i∈k} ‖(z_i − m_k) pinv(M)‖²,
    where singular values of M below 1e-8 of its largest count as 0.
    """
    inverse = torch.linalg.pinv(centred_means(classes), rtol=1e-8)
    return class_average(classes, labels, (within @ inverse).square().sum(-1))


def nc1_quotient(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """tr S_W / tr S_B, S_W and S_B as in `nc1`; r/(1 − r) of the relative TCV r on balanced classes.

    Returns: (...), in [0, ∞]; ∞ where all class means coincide, NaN where all samples do.
    Source: Tirer, Huang & Niles-Weed 2023; equal weights of the classes as in `nc1`.
    """
    classes = _classes(representations, labels, num_classes)
    within = class_average(classes, classes.labels, classes.within.square().sum(-1))
    between = centred_means(classes).square().sum(-1).sum(-1) / present(classes).sum(-1)
    return masked(classes, within / between)


def _pairs(classes: ClassMeans) -> Tensor:
    """(..., K, K) mask of the ordered pairs of different classes that both have samples."""
    here = present(classes)
    return here[..., :, None] & here[..., None, :] & ~torch.eye(here.shape[-1], dtype=torch.bool, device=here.device)


def _mean_over(mask: Tensor, values: Tensor) -> Tensor:
    """Mean of a (..., K, K) table over a mask; NaN where the mask is empty."""
    mean: Tensor = torch.where(mask, values, 0.0).sum((-2, -1)) / mask.sum((-2, -1))
    return mean


def cdnv(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Class-distance normalised variance: mean over pairs a ≠ b of (v_a + v_b)/(2 ‖m_a − m_b‖²), every pair the same.

    v_k = (1/n_k) Σ_{i∈k} ‖z_i − m_k‖².
    Returns: (...), in [0, ∞]; ∞ where two means coincide, NaN for fewer than two classes.
    Source: Galanti, György & Hutter 2021.
    """
    classes = _classes(representations, labels, num_classes)
    squares = classes.within.square().sum(-1)
    variance = torch.zeros_like(classes.sizes).scatter_add(-1, classes.labels, squares) / classes.sizes.clamp_min(1)
    gaps = classes.means[..., :, None, :] - classes.means[..., None, :, :]
    quotient = (variance[..., :, None] + variance[..., None, :]) / (2 * gaps.square().sum(-1))
    return masked(classes, _mean_over(_pairs(classes), quotient))


def nc2_equinorm(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """std_k ‖m_k − m̄‖ / mean_k ‖m_k − m̄‖ (standard deviation with 1/K), every class the same.

    Returns: (...), in [0, √(K−1)]; NaN where all class means coincide.
    Source: Papyan, Han & Donoho 2020, NC2 (equinorm).
    """
    return equinorm(_classes(representations, labels, num_classes))


def equinorm(classes: ClassMeans) -> Tensor:
    """`nc2_equinorm` of class means (..., K, D)."""
    norms = scaled_norm(centred_means(classes))
    count = present(classes).sum(-1)
    mean = norms.sum(-1) / count
    deviation = (norms - mean[..., None]) * present(classes)
    return masked(classes, (deviation.square().sum(-1) / count).sqrt() / mean)


def nc2_equiangular(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """mean over pairs a ≠ b of |cos(m_a − m̄, m_b − m̄) + 1/(K−1)|: the angles of a simplex, every pair the same.

    Returns: (...), in [0, 1 + 1/(K−1)]; NaN for fewer than two classes or a class mean equal to m̄.
    Source: Papyan, Han & Donoho 2020, NC2 (maximal-angle equiangularity; equal angles alone would be its spread).
    """
    return equiangularity(_classes(representations, labels, num_classes))


def equiangularity(classes: ClassMeans) -> Tensor:
    """`nc2_equiangular` of class means (..., K, D)."""
    centred = centred_means(classes)
    directions = centred / scaled_norm(centred)[..., None]
    target = 1 / (present(classes).sum(-1).double() - 1)
    excess = (directions @ directions.mT + target[..., None, None]).abs()
    return masked(classes, _mean_over(_pairs(classes), excess))


def nc3_self_duality(representations: Tensor, labels: Tensor, num_classes: int, classifier_weight: Tensor) -> Tensor:
    """‖W/‖W‖_F − M/‖M‖_F‖_F, M the (K, D) matrix of m_k − m̄; rows of absent classes are left out of both.

    Args: classifier_weight (..., K, D), row k scoring class k.
    Returns: (...), in [0, 2]: 0 where classifier and class means agree up to one scale; NaN where W or M is zero.
    Raises: ValueError for a classifier of another shape.
    Source: Papyan, Han & Donoho 2020, NC3.
    """
    return self_duality(_classes(representations, labels, num_classes), classifier_weight)


def self_duality(classes: ClassMeans, classifier_weight: Tensor) -> Tensor:
    """`nc3_self_duality` of class means (..., K, D) and a classifier of that shape."""
    if classifier_weight.shape[-2:] != classes.means.shape[-2:]:
        expected, found = tuple(classes.means.shape[-2:]), tuple(classifier_weight.shape[-2:])
        raise ValueError(f"classifier_weight has shape {found}; classes and features ask for {expected}.")
    weight = torch.where(present(classes)[..., None], classifier_weight.double(), 0.0)
    return masked(classes, frobenius_norm(unit_norm(weight) - unit_norm(centred_means(classes))))


def nc4_agreement(representations: Tensor, labels: Tensor, num_classes: int, predictions: Tensor) -> Tensor:
    """Share of samples whose predicted class is that of the nearest class mean, arg min_k ‖z_i − m_k‖.

    Args: predictions (N,) or (..., N), the classifier's class of each sample.
    Returns: (...), in [0, 1], every sample the same; a tie goes to the smaller class number.
    Source: Papyan, Han & Donoho 2020, NC4 (there the share of disagreement).
    """
    classes = _classes(representations, labels, num_classes)
    distances = torch.cdist(classes.samples, classes.means, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = torch.where(present(classes)[..., None, :], distances, torch.inf).argmin(-1)
    return masked(classes, (nearest == predictions).double().mean(-1))


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
