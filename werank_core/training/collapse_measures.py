"""What a `rank_collapse` run records: certificate and spectra per layer, collapse of the representations, compression.

Everything takes stacked runs `(R, ...)` and computes in float64, from rows that `collapse_trace` has summed up.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from werank_core.metrics import rank
from werank_core.metrics.class_moments import (
    neural_collapse_of_moments,
    singular_values_of_moments,
    variation_of_moments,
)
from werank_core.metrics.gradients import gradient_alignment, gradient_rank
from werank_core.metrics.scaling import finite_or_zero
from werank_core.metrics.stationarity import certificate_of_sums
from werank_core.training.collapse_trace import Passes, Summary
from werank_core.training.loop import Arrays, Values
from werank_core.training.recorder import on_rows
from werank_core.training.stacked import weights_of
from werank_core.vocabulary import KMEANS, VARIATION_METRICS

TRUNCATION_TOLERANCES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.3, 0.5)
NUMERICAL_TOLERANCE = 1e-2
EMPTY_LAYER = 1e-6
# Numbers in the weights of the runs whose matrices are measured together.
MATRIX_NUMBERS = 2**22
CERTIFICATE_METRICS = {
    "layer_tcv": "relative_tcv",
    "layer_absolute_tcv": "total_cluster_variation",
    "certificate_bound": "first_bound",
    "tcv_bound": "tcv_bound",
    "certificate_tightness": "tightness",
    "residual_norm": "residual_norm",
    "eigenvalue_cosine": "eigenvalue_cosine",
    "eigenvalue_ratio": "eigenvalue_ratio",
}


def measures(passes: Passes, decays: Tensor) -> tuple[Values, Arrays]:
    """Everything of every record but losses: certificate, ranks, collapse, accuracies, spectra; decays `(R,)`.

    A block of runs at a time, as their matrices fit.
    """
    numbers = sum(weight[0].numel() for weight in weights_of(passes.model.parameters).values())
    runs = torch.arange(len(decays), device=decays.device)
    parts = [_of_block(passes, part, decays[part]) for part in torch.split(runs, max(1, MATRIX_NUMBERS // numbers))]
    values = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
    return values, {key: torch.cat([part[1][key] for part in parts]) for key in parts[0][1]}


def _of_block(passes: Passes, runs: Tensor, decay: Tensor) -> tuple[Values, Arrays]:
    config, found, state = passes.config, passes.summary(runs), passes.model.state(runs)
    weights = list(weights_of(state).values())
    spectra = weight_spectra(weights)
    seen = {"objective": found.objective, "accuracy": found.accuracy} | gradient_metrics(found.gradients)
    seen |= certificate_metrics(weights, spectra, found, decay)
    ranks, arrays = representation_metrics(found, weights[-1])
    values = on_rows("train", named_by_clusters(seen | ranks, config.clusters))
    values |= spectrum_metrics(spectra, config.target_rank) | {"test/accuracy": passes.test_accuracy(state, runs)}
    return values, arrays | {("weight_spectrum", layer): s for layer, s in enumerate(spectra, start=1)}


def is_stationary(values: Values, cosine: float) -> Tensor:
    """`(R,)`: whether every layer satisfies the eigenvalue equation to this cosine, or was emptied by decay.

    The direction of an empty layer is rounding.
    """
    empty = values["weight_norm"] < EMPTY_LAYER
    return ((values["train/eigenvalue_cosine"] > cosine) | empty).all(-1)


# -- layers ---------------------------------------------------------------------------------------------------------


def weight_spectra(weights: Sequence[Tensor]) -> list[Tensor]:
    """Singular values of every weight `(R, d_out, d_in)`, descending, float64."""
    return [rank.singular_values(weight) for weight in weights]


def spectrum_metrics(spectra: Sequence[Tensor], target_rank: int) -> Values:
    """Rank of every weight, `(R, L)` each."""
    return {
        "weight_effective_rank": torch.stack([rank.effective_rank_of_spectrum(s) for s in spectra], -1),
        "weight_stable_rank": torch.stack([rank.stable_rank_of_spectrum(s) for s in spectra], -1),
        "weight_numerical_rank": torch.stack([rank.numerical_rank_of_spectrum(s) for s in spectra], -1),
        "distance_to_rank": torch.stack([rank.distance_to_rank_of_spectrum(s, target_rank) for s in spectra], -1),
        "weight_norm": torch.stack([rank.distance_to_rank_of_spectrum(s, 0) for s in spectra], -1),
    }


def certificate_metrics(weights: Sequence[Tensor], spectra: Sequence[Tensor], found: Summary, decay: Tensor) -> Values:
    """Cluster variation of every layer's input and the rank certificate, `(R, L)` each.

    The gradient is that of the mean data loss over exactly the summed rows. λ is the number that decays the weights,
    inside the loss or, for AdamW, apart from it: the certificate is algebra and needs no more.

    Args: weights and spectra of every layer, `(R, d_out, d_in)` and `(R, m)`; decay `(R,)`.
    """
    num_samples = found.predictions.shape[-1]
    certificates = [
        certificate_of_sums(weight, sums, decay, num_samples, spectrum)
        for weight, sums, spectrum in zip(weights, found.layers, spectra, strict=True)
    ]
    return {
        name: torch.stack([getattr(one, field) for one in certificates], -1)
        for name, field in CERTIFICATE_METRICS.items()
    }


def gradient_metrics(gradients: Sequence[tuple[Tensor, Tensor]]) -> Values:
    """Rank of the gradient of one batch, and its cosine with the next batch's, `(R, L)` each."""
    return {
        "gradient_rank": torch.stack([gradient_rank(first) for first, _ in gradients], -1),
        "gradient_alignment": torch.stack([gradient_alignment(first, second) for first, second in gradients], -1),
    }


# -- representations ------------------------------------------------------------------------------------------------


def representation_metrics(found: Summary, classifier_weight: Tensor) -> tuple[Values, Arrays]:
    """Rank, cluster variation and NC1 to NC4 of the penultimate representations, `(R,)` each; their spectrum."""
    spectrum = singular_values_of_moments(found.classes)
    values = {
        "effective_rank": rank.effective_rank_of_spectrum(spectrum),
        "numerical_rank": rank.numerical_rank_of_spectrum(spectrum),
        "stable_rank": rank.stable_rank_of_spectrum(spectrum),
        "measured_rows": torch.full_like(spectrum[:, 0], found.predictions.shape[-1]),
        "representation_width": torch.full_like(spectrum[:, 0], spectrum.shape[-1]),
    }
    values |= variation_of_moments(found.clusters)
    values |= neural_collapse_of_moments(found.classes, classifier_weight, found.predictions)
    return values, {("representation_spectrum", 0): spectrum}


def named_by_clusters(values: Values, clusters: Literal["labels", "kmeans"]) -> Values:
    """Cluster variation under the name of what its clusters are; NC1 to NC4 are always of the labels."""
    if clusters == "labels":
        return values
    return {KMEANS + name if name in VARIATION_METRICS else name: value for name, value in values.items()}


# -- compression ----------------------------------------------------------------------------------------------------


def truncations(passes: Passes) -> tuple[Values, Arrays]:
    """Accuracy with every layer cut to its numerical rank, against the parameters a factored layer would keep.

    A layer of rank r keeps min(r (d_out + d_in), d_out · d_in) numbers.

    Returns:
        Both at tolerance 0.01, `(R,)`; and the curve `(R, T, 3)`: tolerance, kept share, accuracy.
    """
    runs = torch.arange(len(passes.data.of_run), device=passes.data.of_run.device)
    state = passes.model.state(runs)
    weights = weights_of(state)
    names = list(weights)
    factors = {n: torch.linalg.svd(finite_or_zero(weight)[0], full_matrices=False) for n, weight in weights.items()}
    points = []
    for tolerance in TRUNCATION_TOLERANCES:
        ranks = {name: tolerance * factors[name].S[:, :1] < factors[name].S for name in names}
        cut = {
            name: ((f.U * (f.S * ranks[name])[:, None]) @ f.Vh).to(state[name].dtype).view_as(state[name])
            for name, f in factors.items()
        }
        kept = _kept_share([ranks[name].sum(-1) for name in names], [weights[name].shape[1:] for name in names])
        accuracy = passes.test_accuracy(state | cut, runs)
        points.append(torch.stack([torch.full_like(kept, tolerance), kept, accuracy], -1))
    curve = torch.stack(points, 1)
    chosen = curve[:, TRUNCATION_TOLERANCES.index(NUMERICAL_TOLERANCE)]
    values = {"kept_parameters": chosen[:, 1], "test/truncated_accuracy": chosen[:, 2]}
    return values, {("truncation_curve", 0): curve}


def _kept_share(ranks: Sequence[Tensor], shapes: Sequence[torch.Size]) -> Tensor:
    sizes = [d_out * d_in for d_out, d_in in shapes]
    kept = [
        (r * (d_out + d_in)).clamp(max=d_out * d_in).double() for r, (d_out, d_in) in zip(ranks, shapes, strict=True)
    ]
    return torch.stack(kept).sum(0) / sum(sizes)
