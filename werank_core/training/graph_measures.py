"""What a graph run records: rank, collapse, probe, over-smoothing and response, of all runs that share a graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from werank_core.config.graph import GraphConfig
from werank_core.metrics.dirichlet import dirichlet_energy
from werank_core.metrics.probe import probe
from werank_core.metrics.rank import evaluation_rows
from werank_core.metrics.sensitivity import edge_sensitivity, feature_sensitivity
from werank_core.training import ssl_measures
from werank_core.training.graph_data import GraphData
from werank_core.training.loop import Arrays, Values
from werank_core.training.recorder import on_rows
from werank_core.training.stacked import StackedModel, evaluating

PICTURE_NODES = 3_000


@dataclass(frozen=True, eq=False)
class Outputs:
    """Representations and embeddings (R, N, D) of the whole graph, and representations of it when disturbed."""

    representations: Tensor
    embeddings: Tensor
    with_fewer_edges: Tensor
    with_noisy_features: Tensor
    noise_norm: float


def outputs_of(model: StackedModel, run: int, data: GraphData) -> Outputs:
    """What one run's network makes of the whole graph, BatchNorm using its running statistics."""
    state = {name: tensor[run] for name, tensor in (model.parameters | model.buffers).items()}
    fewer, noisy, norm = data.disturbed
    with evaluating(model.skeleton):
        z, embeddings = model.call(state, data.graph.view())
        with_fewer, with_noise = (model.call(state, view)[0][None] for view in (fewer, noisy))
    return Outputs(z[None], embeddings[None], with_fewer, with_noise, norm)


def graph_measures(outputs: Outputs, data: GraphData, config: GraphConfig) -> tuple[Values, Arrays]:
    """Everything but the probe, of all nodes, each (R,), and the spectra (R, D) that the rank metrics come from."""
    z, rows = outputs.representations, evaluation_rows(data.num_nodes, data.seed, limit=config.evaluation_rows)
    spectra, values = ssl_measures.representation_measures(z[:, rows], outputs.embeddings[:, rows])
    known = data.labelled_rows(config.evaluation_rows)
    values |= ssl_measures.collapse_metrics(z[:, known], data.labels[known].to(z.device), data.num_classes)
    values["dirichlet_energy"] = dirichlet_energy(z, data.edge_index, data.degrees)
    values["edge_sensitivity"] = edge_sensitivity(z, outputs.with_fewer_edges)
    values["feature_sensitivity"] = feature_sensitivity(z, outputs.with_noisy_features, outputs.noise_norm)
    return on_rows("all", values), spectra


def probe_values(representations: Tensor, data: GraphData, config: GraphConfig) -> tuple[Values, Arrays]:
    """Test accuracy and macro-F1 (R,), means over splits, and validation accuracy of every split and C (R, S, C)."""
    result = probe(representations, data.labels, data.splits, config.classifier)
    values = {"accuracy": result.accuracy.mean(-1), "macro_f1": result.macro_f1.mean(-1)}
    return on_rows("test", values), {
        ("probe_curve", 0): result.validation_accuracy,
        ("probe_accuracy", 0): result.accuracy,
    }


def picture(representations: Tensor, data: GraphData) -> Arrays:
    """Two principal components of the representations of at most 3,000 nodes, (R, n, 2), and their labels (R, n)."""
    rows = evaluation_rows(data.num_nodes, data.seed, limit=PICTURE_NODES)
    z = representations[:, rows].double()
    finite = torch.isfinite(z).flatten(1).all(1)[:, None, None]
    centred = torch.where(finite, z - z.mean(1, keepdim=True), 0.0)
    _, axes = torch.linalg.eigh(centred.mT @ centred)
    # An eigenvector has no sign of its own: let its largest entry be positive, so that pictures can be compared.
    axes = axes[..., [-1, -2]] if axes.shape[-1] > 1 else axes.expand(-1, -1, 2)
    sign = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    labels = data.labels[rows].expand(len(z), -1)
    return {("picture", 0): torch.where(finite, centred @ (axes * sign), torch.nan), ("picture_labels", 0): labels}


def joined(parts: Sequence[Mapping[Any, Tensor]]) -> dict[Any, Tensor]:
    """Values of single runs (1, ...) put together along the run axis."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
