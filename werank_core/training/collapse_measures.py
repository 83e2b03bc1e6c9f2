"""What a `rank_collapse` run records: certificate and spectra per layer, collapse of the representations, compression.

Everything takes stacked runs `(R, ...)` and computes in float64, from rows that `collapse_trace` has summed up.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from werank_core.metrics import collapse, rank
from werank_core.metrics.gradients import gradient_alignment, gradient_rank
from werank_core.metrics.stationarity import LAYER_NUMBERS, layer_balance
from werank_core.metrics.tables import layer_numbers, numbers
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


def measures(passes: Passes, decays: Tensor) -> tuple[Values, Arrays]:
    """Everything of every record but losses: certificate, ranks, collapse, accuracies, spectra; decays `(R,)`.

    A block of runs at a time, as their matrices fit.
    """
    size = sum(weight[0].numel() for weight in weights_of(passes.model.parameters).values())
    runs = torch.arange(len(decays), device=decays.device)
    parts = [_of_block(passes, part, decays[part]) for part in torch.split(runs, max(1, MATRIX_NUMBERS // size))]
    values = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
    return values, {key: torch.cat([part[1][key] for part in parts]) for key in parts[0][1]}


def _of_block(passes: Passes, runs: Tensor, decay: Tensor) -> tuple[Values, Arrays]:
    config, found, state = passes.config, passes.summary(runs), passes.model.state(runs)
    weights = list(weights_of(state).values())
    spectra = [rank.singular_values(weight) for weight in weights]
    seen = {"objective": found.objective, "accuracy": found.accuracy} | gradient_metrics(found.gradients)
    seen |= layer_metrics(weights, spectra, found, decay)
    ranks, arrays = representation_metrics(found, weights[-1])
    values = on_rows("train", named_by_clusters(seen | ranks, config.clusters))
    values |= weight_metrics(spectra, config.target_rank) | {"test/accuracy": passes.test_accuracy(state, runs)}
    return values, arrays | {("weight_spectrum", layer): s for layer, s in enumerate(spectra, start=1)}


def is_stationary(values: Values, cosine: float) -> Tensor:
    """`(R,)`: whether every layer satisfies the eigenvalue equation to this cosine, or was emptied by decay.

    The direction of an empty layer is rounding.
    """
    empty = values["weight_norm"] < EMPTY_LAYER
    return ((values["train/eigenvalue_cosine"] > cosine) | empty).all(-1)


# -- layers ---------------------------------------------------------------------------------------------------------


def weight_metrics(spectra: Sequence[Tensor], target_rank: int) -> Values:
    """Rank of every weight from its singular values `(R, m)`, `(R, L)` each."""
    sizes = {"distance_to_rank": target_rank, "weight_norm": 0}
    distances = {name: partial(rank.distance_to_rank, rank=k) for name, k in sizes.items()}
    return layer_numbers(rank.WEIGHT_NUMBERS | distances, spectra)


def layer_metrics(weights: Sequence[Tensor], spectra: Sequence[Tensor], found: Summary, decay: Tensor) -> Values:
    """Cluster variation of every layer's input and the rank certificate, `(R, L)` each.

    The gradient is that of the mean data loss over exactly the summed rows. λ is the number that decays the weights,
    inside the loss or, for AdamW, apart from it: the certificate is algebra and needs no more.

    Args: weights and spectra of every layer, `(R, d_out, d_in)` and `(R, m)`; decay `(R,)`.
    """
    parts = zip(weights, found.layers, spectra, strict=True)
    return layer_numbers(LAYER_NUMBERS, [layer_balance(weight, rows, decay, s) for weight, rows, s in parts])


def gradient_metrics(gradients: Sequence[tuple[Tensor, Tensor]]) -> Values:
    """Rank of the gradient of one batch, and its cosine with the next batch's, `(R, L)` each."""
    return {
        "gradient_rank": torch.stack([gradient_rank(first) for first, _ in gradients], -1),
        "gradient_alignment": torch.stack([gradient_alignment(first, second) for first, second in gradients], -1),
    }


# -- representations ------------------------------------------------------------------------------------------------


def representation_metrics(found: Summary, classifier_weight: Tensor) -> tuple[Values, Arrays]:
    """Rank, cluster variation and NC1 to NC4 of the penultimate representations, `(R,)` each; their spectrum."""
    spectrum = found.spectrum
    sizes = {"measured_rows": found.predictions.shape[-1], "representation_width": classifier_weight.shape[-1]}
    values = {name: torch.full_like(spectrum[:, 0], size) for name, size in sizes.items()}
    values |= numbers(rank.REPRESENTATION_NUMBERS, spectrum)
    values |= numbers(collapse.CLUSTER_NUMBERS, found.clusters) | numbers(collapse.CLASS_NUMBERS, found.classes)
    values["nc3_self_duality"] = collapse.nc3_self_duality(found.classes, classifier_weight)
    values["nc4_agreement"] = collapse.nc4_agreement(found.classes, found.predictions)
    return values, {("representation_spectrum", 0): spectrum}


def named_by_clusters(values: Values, clusters: Literal["labels", "kmeans"]) -> Values:
    """Cluster variation under the name of what its clusters are; NC1 to NC4 are always of the labels."""
    if clusters == "labels":
        return values
    return {KMEANS + name if name in VARIATION_METRICS else name: value for name, value in values.items()}


# -- compression ----------------------------------------------------------------------------------------------------


def truncations(passes: Passes) -> tuple[Values, Arrays]:
    """The test accuracy with every layer cut to its numerical rank, against the parameters a factored layer would keep.

    Kept: Σ min(r(d_out+d_in), d_out·d_in) / Σ d_out·d_in, r the ranks.

    Returns:
        Both at tolerance 0.01, `(R,)`; and the curve `(R, T, 3)`: tolerance, kept share, accuracy.
    """
    runs = torch.arange(len(passes.data.of_run), device=passes.data.of_run.device)
    state = passes.model.state(runs)
    weights = weights_of(state)
    factors = {name: rank.singular_factors(weight) for name, weight in weights.items()}
    points = []
    for tolerance in TRUNCATION_TOLERANCES:
        cut = {
            name: ((f.left * (f.spectrum * (f.spectrum > tolerance * f.spectrum[:, :1]))[:, None]) @ f.right)
            .to(state[name].dtype)
            .view_as(state[name])
            for name, f in factors.items()
        }
        kept = _kept_share(
            [rank.numerical_rank(f.spectrum, tolerance) for f in factors.values()],
            [weight.shape[1:] for weight in weights.values()],
        )
        accuracy = passes.test_accuracy(state | cut, runs)
        points.append(torch.stack([torch.full_like(kept, tolerance), kept, accuracy], -1))
    curve = torch.stack(points, 1)
    chosen = curve[:, TRUNCATION_TOLERANCES.index(NUMERICAL_TOLERANCE)]
    values = {"kept_parameters": chosen[:, 1], "test/truncated_accuracy": chosen[:, 2]}
    return values, {("truncation_curve", 0): curve}


def _kept_share(ranks: Sequence[Tensor], shapes: Sequence[torch.Size]) -> Tensor:
    sizes = [d_out * d_in for d_out, d_in in shapes]
    kept = [(r * (d_out + d_in)).clamp(max=d_out * d_in) for r, (d_out, d_in) in zip(ranks, shapes, strict=True)]
    return torch.stack(kept).sum(0) / sum(sizes)
