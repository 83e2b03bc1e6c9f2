"""What a `rank_collapse` run records: certificate and spectra per layer, collapse of the representations, compression.

Everything takes stacked runs `(R, ...)`, sums over rows in float32 where that is exact enough (see `stationarity`) and
over spectra and representations in float64.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from werank_core.metrics import rank
from werank_core.metrics.class_moments import (
    ClassMoments,
    class_moments,
    neural_collapse_of_moments,
    singular_values_of_moments,
    variation_of_moments,
)
from werank_core.metrics.stationarity import (
    RowSums,
    batch_gradient,
    certificate_of_sums,
    gradient_alignment,
    gradient_rank,
    row_sums,
)
from werank_core.training.loop import Arrays, Values
from werank_core.training.stacked import StackedModel, State, map_runs
from werank_core.training.stacked_mlp import plain_mlp, traced_mlp

TRUNCATION_TOLERANCES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.3, 0.5)
NUMERICAL_TOLERANCE = 1e-2
CERTIFICATE_METRICS = ("certificate_bound", "tcv_bound", "residual_norm", "eigenvalue_cosine", "eigenvalue_ratio")


class LayerRows(NamedTuple):
    """One weight layer seen as a matrix on rows: a convolution has one row for every sample and position.

    Attributes:
        inputs: `(R, N·P, d_in)`; deltas: `(R, N·P, d_out)`, gradients of the single samples' losses with respect to
            the pre-activations.
        positions: P, 1 for a linear layer.
    """

    inputs: Tensor
    deltas: Tensor
    positions: int


class Trace(NamedTuple):
    """One forward and backward pass over the evaluated rows."""

    outputs: Tensor  # (R, N, K)
    objective: Tensor  # (R,)
    representations: Tensor  # (R, N, D): what the classifier sees
    layers: list[LayerRows]


class Summary(NamedTuple):
    """What a record needs of the evaluated rows: summed up block by block, turned into metrics for many runs at once.

    Attributes:
        objective, accuracy: `(R,)` on these rows; predictions: `(R, N)`.
        layers: sums over every layer's rows.
        gradients: of every layer, the gradients of two batches.
        classes, clusters: moments of the penultimate representations.
    """

    objective: Tensor
    accuracy: Tensor
    predictions: Tensor
    layers: list[RowSums]
    gradients: list[tuple[Tensor, Tensor]]
    classes: ClassMoments
    clusters: ClassMoments


def weights_of(state: State) -> State:
    """The weights among stacked parameters, in layer order: no biases, no norms."""
    return {name: p for name, p in state.items() if name.endswith("weight") and p.ndim >= 3}


def sample_losses(outputs: Tensor, labels: Tensor, loss: Literal["cross_entropy", "squared"]) -> Tensor:
    """−log softmax(f(x))_y, or ½ ‖f(x) − e_y‖²: outputs `(R, N, K)`, labels `(R, N)` -> `(R, N)`."""
    if loss == "squared":
        targets = F.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
        return (outputs - targets).square().sum(-1) / 2
    # on a few classes twice as fast as F.cross_entropy, and as stable
    return outputs.logsumexp(-1) - outputs.gather(-1, labels[..., None]).squeeze(-1)


def trace(
    model: StackedModel,
    state: State,
    rows: Tensor,
    labels: Tensor,
    loss: Literal["cross_entropy", "squared"],
    shapes: Sequence[torch.Size],
) -> Trace:
    """Outputs, every layer's input, and the gradients with respect to the pre-activations.

    With BatchNorm the statistics are those of exactly these rows and the gradients go through them.

    Args:
        state: parameters and buffers `(R, ...)`, detached; buffers may be changed: give a copy.
        rows, labels: `(R, N, d)`, `(R, N)`.
        shapes: `StackedModel.preactivation_shapes`.
    """
    probes: Sequence[Tensor] | Sequence[GradientEdge]
    if plain := plain_mlp(model.skeleton):
        outputs, inputs, probes = traced_mlp(plain, state, rows)
    else:
        probes = [rows.new_zeros(*rows.shape[:2], *shape).requires_grad_() for shape in shapes]
        outputs, inputs = map_runs(model.traced, state, probes, rows)
    objective = sample_losses(outputs, labels, loss).mean(-1)
    # Σ_i instead of the mean: the deltas are gradients of single samples' losses
    deltas = torch.autograd.grad(objective.sum() * rows.shape[1], probes)
    layers = [
        _layer_rows(layer, z.detach(), d) for layer, z, d in zip(model.weight_layers, inputs, deltas, strict=True)
    ]
    return Trace(outputs.detach(), objective.detach(), inputs[-1].detach(), layers)


def _layer_rows(layer: nn.Linear | nn.Conv2d, inputs: Tensor, deltas: Tensor) -> LayerRows:
    if isinstance(layer, nn.Linear):
        return LayerRows(inputs, deltas, 1)
    patches = F.unfold(inputs.flatten(0, 1), layer.kernel_size, padding=layer.padding, stride=layer.stride)  # type: ignore[arg-type]
    positions = patches.shape[-1]
    rows = patches.mT.reshape(len(inputs), -1, patches.shape[1])
    return LayerRows(rows, deltas.flatten(3).mT.flatten(1, 2), positions)


def summary(found: Trace, labels: Tensor, clusters: Tensor, num_clusters: int, batch_size: int) -> Summary:
    """A trace summed over its rows.

    Args:
        labels, clusters: `(R, N)`: NC1 to NC4 speak of classes, cluster variation and certificate of clusters.
        batch_size: B; the first 2 B rows give the two batch gradients, at most half of them each.
    """
    classes = class_moments(found.representations, labels, found.outputs.shape[-1])
    predictions = found.outputs.argmax(-1)
    return Summary(
        found.objective,
        _share_correct(found.outputs, predictions, labels),
        predictions,
        [_summed(layer, clusters, num_clusters) for layer in found.layers],
        [_batch_gradients(layer, batch_size) for layer in found.layers],
        classes,
        classes if clusters is labels else class_moments(found.representations, clusters, num_clusters),
    )


def _summed(layer: LayerRows, clusters: Tensor, num_clusters: int) -> RowSums:
    labels = clusters.repeat_interleave(layer.positions, -1) if layer.positions > 1 else clusters
    return row_sums(layer.inputs, layer.deltas, labels, num_clusters)


def _batch_gradients(layer: LayerRows, batch_size: int) -> tuple[Tensor, Tensor]:
    step = min(batch_size, layer.inputs.shape[1] // layer.positions // 2) * layer.positions
    first, second = slice(0, step), slice(step, 2 * step)
    return (
        batch_gradient(layer.deltas[:, first], layer.inputs[:, first]),
        batch_gradient(layer.deltas[:, second], layer.inputs[:, second]),
    )


def joined(parts: Sequence[Any]) -> Any:
    """Summaries of blocks of runs as one: tensors, or lists and tuples of them, along the run axis."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if len(parts) > 1 else first
    fields = [joined(field) for field in zip(*parts, strict=True)]
    return type(first)(*fields) if hasattr(first, "_fields") else fields


# -- layers ---------------------------------------------------------------------------------------------------------


def weight_spectra(weights: Sequence[Tensor]) -> list[Tensor]:
    """Singular values of every weight `(R, d_out, d_in)`, descending, float64."""
    return [rank.singular_values(weight.double()) for weight in weights]


def spectrum_metrics(spectra: Sequence[Tensor], target_rank: int) -> Values:
    """Rank of every weight, `(R, L)` each."""
    return {
        "weight_effective_rank": torch.stack([rank.effective_rank_of_spectrum(s) for s in spectra], -1),
        "weight_stable_rank": torch.stack([rank.stable_rank_of_spectrum(s) for s in spectra], -1),
        "weight_numerical_rank": torch.stack([rank.numerical_rank_of_spectrum(s) for s in spectra], -1),
        "distance_to_rank": torch.stack([rank.distance_to_rank_of_spectrum(s, target_rank) for s in spectra], -1),
    }


def certificate_metrics(
    weights: Sequence[Tensor], spectra: Sequence[Tensor], found: Summary, decay: Tensor, *, coupled: bool
) -> Values:
    """Cluster variation of every layer's input and, with coupled decay, the rank certificate, `(R, L)` each.

    The gradient is that of the mean data loss over exactly the summed rows.

    Args: weights and spectra of every layer, `(R, d_out, d_in)` and `(R, m)`; decay `(R,)`.
    """
    num_samples = found.predictions.shape[-1]
    certificates = [
        certificate_of_sums(weight, sums, decay, num_samples, spectrum)
        for weight, sums, spectrum in zip(weights, found.layers, spectra, strict=True)
    ]
    names = {"layer_tcv": "relative_tcv", "layer_absolute_tcv": "total_cluster_variation"}
    if coupled:
        names |= {name: name for name in CERTIFICATE_METRICS} | {"certificate_bound": "first_bound"}
    return {name: torch.stack([getattr(one, field) for one in certificates], -1) for name, field in names.items()}


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
    }
    values |= variation_of_moments(found.clusters)
    values |= neural_collapse_of_moments(found.classes, classifier_weight, found.predictions)
    return values, {("representation_spectrum", 0): spectrum}


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of correct predictions `(R,)`; NaN for a run whose outputs are not finite."""
    return _share_correct(outputs, outputs.argmax(-1), labels)


def _share_correct(outputs: Tensor, predictions: Tensor, labels: Tensor) -> Tensor:
    share = (predictions == labels).double().mean(-1)
    return torch.where(outputs.abs().amax((-2, -1)).isfinite(), share, torch.nan)


# -- compression ----------------------------------------------------------------------------------------------------


def truncations(model: StackedModel, state: State, test_accuracy: Callable[[State], Tensor]) -> tuple[Values, Arrays]:
    """Accuracy with every layer cut to its numerical rank, against the parameters a factored layer would keep.

    A layer of rank r keeps min(r (d_out + d_in), d_out · d_in) numbers.

    Args:
        test_accuracy: of parameters and buffers `(R, ...)` -> `(R,)`.
    Returns:
        Both at tolerance 0.01, `(R,)`; and the curve `(R, T, 3)`: tolerance, kept share, accuracy.
    """
    names = weights_of(model.parameters)
    factors = {
        name: torch.linalg.svd(rank.finite_or_zero(state[name].flatten(2))[0], full_matrices=False) for name in names
    }
    points = []
    for tolerance in TRUNCATION_TOLERANCES:
        ranks = {name: tolerance * factors[name].S[:, :1] < factors[name].S for name in names}
        cut = {
            name: ((f.U * (f.S * ranks[name])[:, None]) @ f.Vh).to(state[name].dtype).view_as(state[name])
            for name, f in factors.items()
        }
        kept = _kept_share(
            [ranks[name].sum(-1) for name in names], [state[name].flatten(2).shape[1:] for name in names]
        )
        points.append(torch.stack([torch.full_like(kept, tolerance), kept, test_accuracy(state | cut)], -1))
    curve = torch.stack(points, 1)
    chosen = curve[:, TRUNCATION_TOLERANCES.index(NUMERICAL_TOLERANCE)]
    return {"kept_parameters": chosen[:, 1], "truncated_accuracy": chosen[:, 2]}, {("truncation_curve", 0): curve}


def _kept_share(ranks: Sequence[Tensor], shapes: Sequence[torch.Size]) -> Tensor:
    sizes = [d_out * d_in for d_out, d_in in shapes]
    kept = [
        (r * (d_out + d_in)).clamp(max=d_out * d_in).double() for r, (d_out, d_in) in zip(ranks, shapes, strict=True)
    ]
    return torch.stack(kept).sum(0) / sum(sizes)
