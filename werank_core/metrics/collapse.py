"""How far representations have collapsed onto their class means: cluster variation, NC1 to NC4, CDNV.

`class_moments` reads the rows once, in float64; every quantity is a number of the moments, (...) with leading axes for
stacked runs. The class means are m_k, sizes n_k, the mean over all samples m, the mean of the class means m̄. Two
weightings, for two questions:

- TCV and its relative form weight every SAMPLE the same: they ask how much of the variance lies within classes.
- NC1 to NC3 and CDNV weight every CLASS the same and centre on m̄, as Papyan, Han & Donoho 2020 do: they ask about the
  shape of the class means, so an exact simplex is one whatever the class sizes. NC4 is a share of samples.

Both agree on balanced classes. Ours: a class without samples is ignored, that is K is the number of classes present; a
class with one sample has within-class variance 0. A run with a non-finite representation gives NaN for itself only, and
so does a value beyond float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from werank_core.metrics.row_sums import RowSums
from werank_core.metrics.scaling import (
    finite_or_nan,
    finite_or_zero,
    frobenius_norm,
    scaled_norm,
    unit_norm,
    unit_scaled,
)


class ClassMoments(NamedTuple):
    """What the numbers need of labelled rows, float64, seen from the first row and in units; NaN for a broken run.

    Attributes:
        sizes: (..., K) n_k.
        means: (..., K, D) m_k; 0 for a class without samples.
        variances: (..., K) v_k = (1/n_k) Σ_{i∈k} ‖z_i − m_k‖².
        whitened: (..., K) the same of (z_i − m_k) pinv(M), the rows of M being m_k − m̄: measured by the class means.
        nearest: (..., N) class whose mean is nearest to each row; of a broken run it means nothing.
        origin: (..., 1, D) the first row; unit: (...), see `scaling.unit_scaled`.
    """

    sizes: Tensor
    means: Tensor
    variances: Tensor
    whitened: Tensor
    nearest: Tensor
    origin: Tensor
    unit: Tensor

    @property
    def present(self) -> Tensor:
        """(..., K) mask of the classes with samples."""
        return self.sizes > 0

    @property
    def centred(self) -> Tensor:
        """(..., K, D) m_k − m̄."""
        return _centred(self.means, self.present)

    def mean_over_pairs(self, values: Tensor) -> Tensor:
        """Mean of a (..., K, K) table over the ordered pairs of different classes that have samples, NaN without."""
        alike = torch.eye(self.sizes.shape[-1], dtype=torch.bool, device=self.sizes.device)
        pairs = self.present[..., :, None] & self.present[..., None, :] & ~alike
        mean: Tensor = torch.where(pairs, values, 0.0).sum((-2, -1)) / pairs.sum((-2, -1))
        return mean

    @property
    def num_samples(self) -> Tensor:
        """(...) N."""
        return self.sizes.sum(-1)

    @property
    def scatter_norm(self) -> Tensor:
        """(...) (Σ_i ‖z_i − m_{c(i)}‖²)^½."""
        return (self.sizes * self.variances).sum(-1).sqrt()


Clusters = ClassMoments | RowSums
"""What has a cluster variation: representations, or the inputs of a layer."""


def class_moments(representations: Tensor, labels: Tensor, num_classes: int) -> ClassMoments:
    """The moments of representations (..., N, D) with labels (N,) or (..., N) in 0..K−1.

    Raises: ValueError for another number of labels than rows, or labels outside 0..K−1.
    """
    labels = _checked_labels(representations, labels, num_classes)
    samples, unit, finite = unit_scaled(representations)
    # from a sample, so that equal samples are exactly 0: the mean of equal numbers may be off by rounding
    origin = samples[..., :1, :].clone()
    samples.sub_(origin)
    # rows of all runs and classes below one another: adding them up beats a float64 product with K columns
    *runs, rows, width = samples.shape
    first_class = num_classes * torch.arange(labels.numel() // rows, device=labels.device)
    of_rows = (labels.reshape(-1, rows) + first_class[:, None]).flatten()
    sizes = torch.bincount(of_rows, minlength=len(first_class) * num_classes).to(samples.dtype)
    means = _class_averages(samples.reshape(-1, width), of_rows, sizes)
    scatter = means.index_select(0, of_rows).view_as(samples)
    sizes, means = sizes.view(*runs, num_classes), means.view(*runs, num_classes, width)
    # ‖z − m‖² = ‖z‖² − 2 (z·m − ‖m‖²/2)
    offsets = torch.where(sizes > 0, means.square().sum(-1) / 2, torch.inf)
    nearest = (samples @ means.mT).sub_(offsets[..., None, :]).argmax(-1)
    torch.sub(samples, scatter, out=scatter)
    whitened = scatter @ torch.linalg.pinv(_centred(means, sizes > 0), rtol=1e-8)
    # norms, because squares of all entries would be one more matrix of the size of the rows
    norms = [torch.linalg.vector_norm(part, dim=-1).flatten() for part in (scatter, whitened)]
    squares = torch.stack(norms, -1).square_()
    spreads = _class_averages(squares, of_rows, sizes.flatten()).view(*runs, num_classes, 2)
    known = torch.where(finite, 1.0, torch.nan)
    variances, whitened = (spreads * known[..., None, None]).unbind(-1)
    return ClassMoments(sizes, means * known[..., None, None], variances, whitened, nearest, origin, unit * known)


def _class_averages(values: Tensor, classes: Tensor, sizes: Tensor) -> Tensor:
    """(classes, d) means of rows of values (rows, d); 0 for a class without rows."""
    sums = values.new_zeros(len(sizes), values.shape[-1]).index_add_(0, classes, values)
    return sums / sizes.clamp(min=1)[:, None]


def _checked_labels(representations: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    rows = representations.shape[-2]
    if labels.shape[-1] != rows:
        raise ValueError(f"labels has {labels.shape[-1]} entries for {rows} samples; give one label a sample.")
    least, most = torch.stack(labels.aminmax()).tolist()
    if least < 0 or most >= num_classes:
        raise ValueError(f"labels reach from {least} to {most}; they must lie in 0..{num_classes - 1}.")
    return labels.long().expand(representations.shape[:-1])


def _centred(means: Tensor, present: Tensor) -> Tensor:
    """(..., K, D) m_k − m̄, m̄ the mean of the class means; 0 for absent classes."""
    here = present[..., None]
    # from one of them, so that equal means are exactly 0
    first = means.gather(-2, here.long().argmax(-2, keepdim=True).expand_as(means[..., :1, :]))
    shifted = torch.where(here, means - first, 0.0)
    return torch.where(here, shifted - shifted.sum(-2, keepdim=True) / here.sum(-2, keepdim=True), 0.0)


# -- numbers --------------------------------------------------------------------------------------------------------


def class_means(moments: ClassMoments) -> Tensor:
    """m_k = (1/n_k) Σ_{i∈k} z_i.

    Returns: (..., K, D) float64; NaN for a class without samples and for a non-finite run.
    """
    means = (moments.means + moments.origin) * moments.unit[..., None, None]
    return torch.where(moments.present[..., None], means, torch.nan)


def total_cluster_variation(clusters: Clusters) -> Tensor:
    """TCV = (1/N) Σₖ Σ_{i∈k} ‖zᵢ − mₖ‖², the trace of the within-class covariance.

    Returns: (...), in [0, ∞); 0 where every sample sits on its class mean, NaN beyond float64.
    Source: Zangrando et al. 2024; the paper's normalisation is not known to us, 1/N (every sample the same) is ours.
    """
    return finite_or_nan((clusters.scatter_norm / clusters.num_samples.sqrt() * clusters.unit).square())


def relative_tcv(clusters: Clusters) -> Tensor:
    """TCV / ((1/N) Σ ‖zᵢ − m‖²): the share of the variance that lies within classes.

    The denominator is put together from TCV and the n_k ‖m_k − m‖².

    Returns: (...), in [0, 1]: 0 is collapse onto the class means, 1 is no class structure; NaN where all samples agree.
    Source: ours; free of scale, so comparable over layers and strengths.
    """
    share = clusters.sizes / clusters.sizes.sum(-1, keepdim=True)
    centred = clusters.means - (share[..., None] * clusters.means).sum(-2, keepdim=True)
    between_norm = frobenius_norm(clusters.sizes.sqrt()[..., None] * centred)
    return (clusters.scatter_norm / torch.hypot(clusters.scatter_norm, between_norm)).square()


def nc1(moments: ClassMoments) -> Tensor:
    """tr(S_W pinv(S_B))/K, S_W = (1/K) Σ_k (1/n_k) Σ_{i∈k} (z_i − m_k)(·)ᵀ, S_B = (1/K) Σ_k (m_k − m̄)(m_k − m̄)ᵀ.

    With the rows of M the m_k − m̄, S_B = MᵀM/K, and so tr(S_W pinv(S_B)) = Σ_k (1/n_k) Σ_{i∈k} ‖(z_i − m_k) pinv(M)‖²,
    where singular values of M below 1e-8 of its largest count as 0.

    Returns: (...), in [0, ∞); 0 at collapse, and where all class means coincide (pinv(0) = 0).
    Source: Papyan, Han & Donoho 2020, NC1; the paper's classes are balanced, equal weights also in S_W are ours.
    """
    return moments.whitened.sum(-1) / moments.present.sum(-1)


def nc1_quotient(moments: ClassMoments) -> Tensor:
    """tr S_W / tr S_B, S_W and S_B as in `nc1`; r/(1 − r) of the relative TCV r on balanced classes.

    Returns: (...), in [0, ∞]; ∞ where all class means coincide, NaN where all samples do.
    Source: Tirer, Huang & Niles-Weed 2023; equal weights of the classes as in `nc1`.
    """
    return moments.variances.sum(-1) / moments.centred.square().sum((-2, -1))


def cdnv(moments: ClassMoments) -> Tensor:
    """Class-distance normalised variance: mean over class pairs of (v_a + v_b)/(2‖m_a − m_b‖²), every pair the same.

    v_k = (1/n_k) Σ_{i∈k} ‖z_i − m_k‖².
    Returns: (...), in [0, ∞]; ∞ where two means coincide, NaN for fewer than two classes.
    Source: Galanti, György & Hutter 2021.
    """
    gaps = moments.means[..., :, None, :] - moments.means[..., None, :, :]
    variances = moments.variances[..., :, None] + moments.variances[..., None, :]
    return moments.mean_over_pairs(variances / (2 * gaps.square().sum(-1)))


def nc2_equinorm(moments: ClassMoments) -> Tensor:
    """std/mean of the norms ‖mₖ − m̄‖ (standard deviation with 1/K), every class the same.

    Returns: (...), in [0, √(K−1)]; NaN where all class means coincide.
    Source: Papyan, Han & Donoho 2020, NC2 (equinorm).
    """
    norms = scaled_norm(moments.centred)
    count = moments.present.sum(-1)
    mean = norms.sum(-1) / count
    deviation = (norms - mean[..., None]) * moments.present
    return (deviation.square().sum(-1) / count).sqrt() / mean


def nc2_equiangular(moments: ClassMoments) -> Tensor:
    """mean |cos + 1/(K−1)| of pairs mₖ − m̄: the angles of a simplex, every pair the same.

    Returns: (...), in [0, 1 + 1/(K−1)]; NaN for fewer than two classes or a class mean equal to m̄.
    Source: Papyan, Han & Donoho 2020, NC2 (maximal-angle equiangularity; equal angles alone would be its spread).
    """
    centred = moments.centred
    directions = centred / scaled_norm(centred)[..., None]
    target = 1 / (moments.present.sum(-1).double() - 1)
    return moments.mean_over_pairs((directions @ directions.mT + target[..., None, None]).abs())


def nc3_self_duality(moments: ClassMoments, classifier_weight: Tensor) -> Tensor:
    """‖W/‖W‖ − M/‖M‖‖_F, M of mₖ − m̄, both norms Frobenius; rows of absent classes are left out of both.

    Args: classifier_weight (..., K, D), row k scoring class k.
    Returns: (...), in [0, 2]: 0 where classifier and class means agree up to one scale; NaN where W or M is zero.
    Raises: ValueError for a classifier of another shape.
    Source: Papyan, Han & Donoho 2020, NC3.
    """
    if classifier_weight.shape[-2:] != moments.means.shape[-2:]:
        expected, found = tuple(moments.means.shape[-2:]), tuple(classifier_weight.shape[-2:])
        raise ValueError(f"classifier_weight has shape {found}; classes and features ask for {expected}.")
    weight = torch.where(moments.present[..., None], classifier_weight.double(), 0.0)
    return frobenius_norm(unit_norm(weight) - unit_norm(moments.centred))


def nc4_agreement(moments: ClassMoments, predictions: Tensor) -> Tensor:
    """share of samples where classifier and nearest class mean agree, arg min_k ‖z_i − m_k‖.

    Args: predictions (N,) or (..., N), the classifier's class of each sample.
    Returns: (...), in [0, 1], every sample the same; a tie goes to the smaller class number.
    Source: Papyan, Han & Donoho 2020, NC4 (there the share of disagreement).
    """
    agreement = (moments.nearest == predictions).double().mean(-1)
    return torch.where(moments.unit.isnan(), torch.nan, agreement)


# -- what is recorded, by its name in the vocabulary -------------------------------------------------------------------

CLUSTER_NUMBERS: dict[str, Callable[[Clusters], Tensor]] = {
    "total_cluster_variation": total_cluster_variation,
    "relative_tcv": relative_tcv,
}
CLASS_NUMBERS: dict[str, Callable[[ClassMoments], Tensor]] = {
    "nc1": nc1,
    "nc1_quotient": nc1_quotient,
    "cdnv": cdnv,
    "nc2_equinorm": nc2_equinorm,
    "nc2_equiangular": nc2_equiangular,
}


# -- clusters of rows without labels --------------------------------------------------------------------------------


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
