"""The evaluated rows of a `rank_collapse` record: one forward and backward pass, summed up so that no row is kept.

Everything takes stacked runs `(R, ...)`. Sums over rows are float32 where that is exact enough (see `row_sums`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from werank_core.config import RankCollapseConfig
from werank_core.metrics.collapse import ClassMoments, class_moments
from werank_core.metrics.gradients import batch_gradient
from werank_core.metrics.rank import representation_singular_values
from werank_core.metrics.row_sums import RowSums, joined_row_sums, row_sums
from werank_core.training.collapse_data import CollapseData
from werank_core.training.run_blocks import runs_at_once
from werank_core.training.stacked import StackedModel, State, evaluating

# Numbers in the widest activation of the runs that pass together, and of the test rows.
MEASURE_NUMBERS = 2**19
TEST_NUMBERS = 2**22
# Numbers of a convolution's inputs laid out position by position at a time: 32 MB.
PATCH_NUMBERS = 2**23


class LayerRows(NamedTuple):
    """What goes into one weight layer, and the gradients of the single samples' losses with respect to what leaves it.

    Attributes:
        inputs: `(R, N, d_in)`, or `(R, N, c_in, h, w)` of a convolution; deltas: `(R, N, ...)` as its output.
    """

    layer: nn.Linear | nn.Conv2d
    inputs: Tensor
    deltas: Tensor

    def parts(self, first: int, last: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The layer as a matrix on rows: a convolution has P of them for every sample, one for each position.

        Args: first, last: the samples asked for.
        Returns: samples at hand, `(R, n·P, d_in)` and `(R, n·P, d_out)`; of a convolution only a few at a time, because
            the rows are k² times as large as the images.
        """
        if isinstance(self.layer, nn.Linear):
            yield slice(first, last), self.inputs[:, first:last], self.deltas[:, first:last]
            return
        numbers = self.layer.weight[0].numel() * self.deltas[:, 0, 0].numel()
        size = max(1, PATCH_NUMBERS // numbers)
        for start in range(first, last, size):
            part = slice(start, min(start + size, last))
            patches = F.unfold(
                self.inputs[:, part].flatten(0, 1),
                self.layer.kernel_size,
                padding=self.layer.padding,  # type: ignore[arg-type]
                stride=self.layer.stride,
            )
            rows = patches.mT.reshape(len(self.inputs), -1, patches.shape[1])
            yield part, rows, self.deltas[:, part].flatten(3).mT.flatten(1, 2)


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
        spectrum: singular values of the penultimate representations; classes, clusters: their moments.
    """

    objective: Tensor
    accuracy: Tensor
    predictions: Tensor
    layers: list[RowSums]
    gradients: list[tuple[Tensor, Tensor]]
    spectrum: Tensor
    classes: ClassMoments
    clusters: ClassMoments


def sample_losses(outputs: Tensor, labels: Tensor, loss: Literal["cross_entropy", "squared"]) -> Tensor:
    """−log softmax(f(x))_y, or ½ ‖f(x) − e_y‖²: outputs `(R, N, K)`, labels `(R, N)` -> `(R, N)`."""
    if loss == "squared":
        targets = F.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)
        return (outputs - targets).square().sum(-1) / 2
    # on a few classes twice as fast as F.cross_entropy, and as stable
    return outputs.logsumexp(-1) - outputs.gather(-1, labels[..., None]).squeeze(-1)


def trace(
    model: StackedModel, state: State, rows: Tensor, labels: Tensor, loss: Literal["cross_entropy", "squared"]
) -> Trace:
    """Outputs, every layer's input, and the gradients with respect to the pre-activations.

    With BatchNorm the statistics are those of exactly these rows and the gradients go through them.

    Args:
        state: parameters and buffers `(R, ...)`; buffers may be changed: give a copy.
        rows, labels: `(R, N, d)`, `(R, N)`.
    """
    with torch.enable_grad():
        outputs, inputs, preactivations = model.traced(state, rows)
        objective = sample_losses(outputs, labels, loss).mean(-1)
        # Σ_i instead of the mean: the deltas are gradients of single samples' losses
        deltas = torch.autograd.grad(objective.sum() * rows.shape[1], preactivations)
    layers = [LayerRows(layer, z.detach(), d) for layer, z, d in zip(model.weight_layers, inputs, deltas, strict=True)]
    return Trace(outputs.detach(), objective.detach(), inputs[-1].detach(), layers)


def summary(found: Trace, labels: Tensor, clusters: Tensor, num_clusters: int, batch_size: int) -> Summary:
    """A trace summed over its rows.

    Args:
        labels, clusters: `(R, N)`: NC1 to NC4 speak of classes, cluster variation and certificate of clusters.
        batch_size: B; the first 2 B rows give the two batch gradients, at most half of them each.
    """
    spectrum = representation_singular_values(found.representations, gram=True)
    classes = class_moments(found.representations, labels, found.outputs.shape[-1])
    predictions = found.outputs.argmax(-1)
    return Summary(
        found.objective,
        _share_correct(found.outputs, predictions, labels),
        predictions,
        [_summed(layer, clusters, num_clusters) for layer in found.layers],
        [_batch_gradients(layer, batch_size) for layer in found.layers],
        spectrum,
        classes,
        classes if clusters is labels else class_moments(found.representations, clusters, num_clusters),
    )


def _summed(layer: LayerRows, clusters: Tensor, num_clusters: int) -> RowSums:
    parts = []
    for samples, inputs, deltas in layer.parts(0, clusters.shape[1]):
        labels = clusters[:, samples]
        of_rows = labels[..., None].expand(-1, -1, inputs.shape[1] // labels.shape[1]).flatten(1)
        parts.append(row_sums(inputs, deltas, of_rows, num_clusters, labels.shape[1]))
    return joined_row_sums(parts)


def _batch_gradients(layer: LayerRows, batch_size: int) -> tuple[Tensor, Tensor]:
    size = min(batch_size, layer.inputs.shape[1] // 2)
    return _gradient(layer, 0, size), _gradient(layer, size, 2 * size)


def _gradient(layer: LayerRows, first: int, last: int) -> Tensor:
    parts = [batch_gradient(deltas, inputs, last - first) for _, inputs, deltas in layer.parts(first, last)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def joined(parts: Sequence[Any]) -> Any:
    """Summaries of blocks of runs as one: tensors, or lists and tuples of them, along the run axis."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts)) if len(parts) > 1 else first
    fields = [joined(field) for field in zip(*parts, strict=True)]
    return type(first)(*fields) if hasattr(first, "_fields") else fields


@dataclass(frozen=True)
class Passes:
    """Passes of the runs over the rows that a record sees: so many at a time as stay in a cache, or fit in memory."""

    model: StackedModel
    data: CollapseData
    config: RankCollapseConfig

    @cached_property
    def _sizes(self) -> list[int]:
        """Numbers of one row in the input and in every activation."""
        shapes = self.model.preactivation_shapes(self.data.train[0, :2])
        return [self.data.train.shape[-1], *(shape.numel() for shape in shapes)]

    def size(self, numbers: int, num_rows: int) -> int:
        """How many runs (or rows) pass together, each with so many rows (or runs).

        On a CPU as many as keep the widest activation below `numbers`. On a GPU as many as fit: every activation, what
        the non-linearity makes of it, its gradient, and a convolution's input as its k² = 9 times as large matrix.
        """
        if self.data.train.device.type != "cuda":
            return max(1, numbers // (num_rows * max(self._sizes)))
        copies = 3 if self.config.model == "mlp" else 12
        return runs_at_once(copies * num_rows * sum(self._sizes), self.data.train, 0)

    def summary(self, runs: Tensor) -> Summary:
        """One pass of every run over the evaluated rows, training mode."""
        parts = torch.split(runs, self.size(MEASURE_NUMBERS, self.data.evaluation.shape[1]))
        found: Summary = joined([self._summary(part) for part in parts])
        return found

    def _summary(self, runs: Tensor) -> Summary:
        config, split = self.config, self.data.of_run[runs]
        rows, labels = self.data.batch(runs, self.data.evaluation[split])
        clusters = self.data.clusters[split] if config.clusters == "kmeans" else labels
        found = trace(self.model, self.model.state(runs), rows, labels, config.loss)
        batch_size = min(config.batch_size or self.data.num_rows, self.data.num_rows)
        return summary(found, labels, clusters, config.target_rank, batch_size)

    def test_accuracy(self, state: State, runs: Tensor) -> Tensor:
        """`(R',)` of these states of the runs; rows do not meet in eval mode."""
        size, shares = self.size(MEASURE_NUMBERS, self.data.test.shape[1]), []
        num_rows = self.size(TEST_NUMBERS, size)
        for start in range(0, len(runs), size):
            part = slice(start, start + size)
            split, own = self.data.of_run[runs[part]], {name: t[part] for name, t in state.items()}
            with evaluating(self.model.skeleton):
                found = [self.model.outputs(own, rows[split]) for rows in torch.split(self.data.test, num_rows, 1)]
            outputs = torch.cat(found, 1)
            shares.append(_share_correct(outputs, outputs.argmax(-1), self.data.test_labels[split]))
        return torch.cat(shares)


def _share_correct(outputs: Tensor, predictions: Tensor, labels: Tensor) -> Tensor:
    """`(R,)`; NaN for a run whose outputs are not finite."""
    share = (predictions == labels).double().mean(-1)
    return torch.where(outputs.abs().amax((-2, -1)).isfinite(), share, torch.nan)
