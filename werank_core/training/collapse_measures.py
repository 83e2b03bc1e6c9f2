"""What a `rank_collapse` run records: certificate and spectra per layer, collapse of the representations, compression.

Everything takes stacked runs `(R, ...)`, sums over rows in float32 where that is exact enough (see `stationarity`) and
over spectra and representations in float64.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from werank_core.metrics import rank
from werank_core.metrics.class_moments import (
    class_moments,
    neural_collapse_of_moments,
    singular_values_of_moments,
    variation_of_moments,
)
from werank_core.metrics.stationarity import (
    RankCertificate,
    batch_gradient,
    gradient_alignment,
    gradient_rank,
    rank_certificate,
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
        weight: `(R, d_out, d_in)`; inputs: `(R, N·P, d_in)`; deltas: `(R, N·P, d_out)`, gradients of the single
            samples' losses with respect to the pre-activations.
        positions: P, 1 for a linear layer.
    """

    weight: Tensor
    inputs: Tensor
    deltas: Tensor
    positions: int


class Trace(NamedTuple):
    """One forward and backward pass over the evaluated rows."""

    outputs: Tensor  # (R, N, K)
    objective: Tensor  # (R,)
    representations: Tensor  # (R, N, D): what the classifier sees
    layers: list[LayerRows]


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
    if plain := plain_mlp(model.skeleton):
        outputs, inputs, probes = traced_mlp(plain, state, rows)
    else:
        probes = [rows.new_zeros(*rows.shape[:2], *shape).requires_grad_() for shape in shapes]
        outputs, inputs = map_runs(model.traced, state, probes, rows)
    objective = sample_losses(outputs, labels, loss).mean(-1)
    # Σ_i instead of the mean: the deltas are gradients of single samples' losses
    deltas = torch.autograd.grad(objective.sum() * rows.shape[1], probes)
    layers = [
        _layer_rows(layer, state[name], z.detach(), d)
        for layer, name, z, d in zip(model.weight_layers, weights_of(model.parameters), inputs, deltas, strict=True)
    ]
    return Trace(outputs.detach(), objective.detach(), inputs[-1].detach(), layers)


def _layer_rows(layer: nn.Linear | nn.Conv2d, weight: Tensor, inputs: Tensor, deltas: Tensor) -> LayerRows:
    if isinstance(layer, nn.Linear):
        return LayerRows(weight, inputs, deltas, 1)
    patches = F.unfold(inputs.flatten(0, 1), layer.kernel_size, padding=layer.padding, stride=layer.stride)  # type: ignore[arg-type]
    positions = patches.shape[-1]
    rows = patches.mT.reshape(len(inputs), -1, patches.shape[1])
    return LayerRows(weight.flatten(2), rows, deltas.flatten(3).mT.flatten(1, 2), positions)


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


def certificates(
    layers: Sequence[LayerRows], spectra: Sequence[Tensor], clusters: Tensor, target_rank: int, decay: Tensor
) -> list[RankCertificate]:
    """The rank certificate of every layer; the gradient is that of the mean data loss over exactly these rows.

    Args:
        clusters: `(R, N)`; decay: `(R,)`.
    """
    return [
        rank_certificate(
            layer.weight,
            layer.inputs,
            layer.deltas,
            clusters.repeat_interleave(layer.positions, -1) if layer.positions > 1 else clusters,
            target_rank,
            decay,
            num_samples=clusters.shape[-1],
            singular_values=spectrum,
        )
        for layer, spectrum in zip(layers, spectra, strict=True)
    ]


def certificate_metrics(found: Sequence[RankCertificate], *, coupled: bool) -> Values:
    """Cluster variation of every layer's input and, with coupled decay, the certificate, `(R, L)` each."""
    names = {"layer_tcv": "relative_tcv", "layer_absolute_tcv": "total_cluster_variation"}
    if coupled:
        names |= {name: name for name in CERTIFICATE_METRICS} | {"certificate_bound": "first_bound"}
    return {name: torch.stack([getattr(one, field) for one in found], -1) for name, field in names.items()}


def gradient_metrics(layers: Sequence[LayerRows], batch_size: int) -> Values:
    """Rank of the gradient of one batch, and its cosine with the next batch's, `(R, L)` each.

    Args:
        batch_size: B; the first 2 B evaluated rows are used, at most half of them each.
    """
    ranks, alignments = [], []
    for layer in layers:
        step = min(batch_size, layer.inputs.shape[1] // layer.positions // 2) * layer.positions
        parts = [slice(0, step), slice(step, 2 * step)]
        first, second = (batch_gradient(layer.deltas[:, part], layer.inputs[:, part]) for part in parts)
        ranks.append(gradient_rank(first))
        alignments.append(gradient_alignment(first, second))
    return {"gradient_rank": torch.stack(ranks, -1), "gradient_alignment": torch.stack(alignments, -1)}


# -- representations ------------------------------------------------------------------------------------------------


def representation_metrics(found: Trace, labels: Tensor, clusters: Tensor, target_rank: int) -> tuple[Values, Arrays]:
    """Rank, cluster variation and NC1 to NC4 of the penultimate representations, `(R,)` each; their spectrum.

    Args:
        labels, clusters: `(R, N)`: NC1 to NC4 speak of classes, cluster variation of clusters.
    """
    moments = class_moments(found.representations, labels, found.outputs.shape[-1])
    of_clusters = moments if clusters is labels else class_moments(found.representations, clusters, target_rank)
    spectrum = singular_values_of_moments(moments)
    values = {
        "effective_rank": rank.effective_rank_of_spectrum(spectrum),
        "numerical_rank": rank.numerical_rank_of_spectrum(spectrum),
        "stable_rank": rank.stable_rank_of_spectrum(spectrum),
    }
    values |= variation_of_moments(of_clusters)
    values |= neural_collapse_of_moments(moments, found.layers[-1].weight, found.outputs.argmax(-1))
    return values, {("representation_spectrum", 0): spectrum}


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of correct predictions `(R,)`; NaN for a run whose outputs are not finite."""
    share = (outputs.argmax(-1) == labels).double().mean(-1)
    return torch.where(outputs.isfinite().flatten(1).all(-1), share, torch.nan)


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
