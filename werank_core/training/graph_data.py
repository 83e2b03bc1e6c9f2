"""What graph runs share on the training device: the graph of a data seed, labels, splits, memory, and drawn views."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from werank_core.config.graph import GraphConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.datasets.block_model import make_block_model
from werank_core.datasets.graph_data import Graph, graph_digest, scaled_features
from werank_core.datasets.graph_memory import check_budget, config_run_bytes, free_bytes
from werank_core.datasets.graphs import load_graph
from werank_core.datasets.identity import check_digest
from werank_core.datasets.splits import graph_splits
from werank_core.metrics.probe import ProbeSplits
from werank_core.metrics.rank import evaluation_rows
from werank_core.models.graph_view import AugmentableGraph, GraphView
from werank_core.models.propagate import SparseFeatures, propagation, sparse_features
from werank_core.streams import Purpose, seeded_generator
from werank_core.training.checkpoints import Tree
from werank_core.training.draws import sent
from werank_core.training.stacked import State

DROPPED_EDGES = 0.1
NOISE = 0.1


@dataclass(frozen=True, eq=False)
class GraphData:
    """A graph ready to train on, for one data seed; `graph` on the device, labels and splits on the CPU.

    A label is −1 where a node has none: it is trained on, and in no split.
    """

    seed: int
    graph: AugmentableGraph
    edge_index: Tensor
    labels: Tensor
    num_classes: int
    splits: ProbeSplits

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.labels)

    def labelled_rows(self, limit: int) -> Tensor:
        """Sorted numbers of the nodes that class metrics see: those with a label, at most `limit`."""
        known = (self.labels >= 0).nonzero()[:, 0]
        return known[evaluation_rows(len(known), self.seed, limit)]

    @cached_property
    def degrees(self) -> Tensor:
        """(N,) neighbours of every node."""
        return torch.bincount(self.edge_index[0], minlength=self.num_nodes)

    @cached_property
    def disturbed(self) -> tuple[GraphView, GraphView, float]:
        """The graph with a tenth of its directed edges dropped, with noisy features, and the norm of that noise.

        The same disturbance at every step and for every run. Noise: normal, 0.1 times the root mean square of the
        features, on the non-zero entries alone where features are sparse (ours: a bag of words stays one).
        """
        generator = seeded_generator(Purpose.DISTURBANCE, 0)
        features = self.graph.features
        clean = features.values if isinstance(features, SparseFeatures) else features
        kept = torch.rand(self.graph.propagation.num_entries, generator=generator).to(clean.device) >= DROPPED_EDGES
        noise = torch.randn(clean.shape, generator=generator).to(clean.device) * NOISE * clean.square().mean().sqrt()
        noisy = (
            SparseFeatures(features.pattern, clean + noise) if isinstance(features, SparseFeatures) else clean + noise
        )
        changed = replace(self.graph, features=noisy)
        return self.graph.view(kept), changed.view(), float(noise.norm())


class GraphViews:
    """What is drawn for a step: two augmented views for every run, the same for runs that share seeds and rates.

    With them the random directions (D, M) of an objective that wants them, the same for runs that share seeds.
    """

    def __init__(self, data: Sequence[GraphData], configs: Sequence[GraphConfig], device: str) -> None:
        self.seeds = [(config.model_seed, config.data_seed) for config in configs]
        self._data, self._device = dict(zip(self.seeds, data, strict=True)), device
        self._rates = [config.drop_rates for config in configs]
        needed = OBJECTIVES[configs[0].objective].directions
        self._directions = (
            (configs[0].output_width, configs[0].settings_of("objective")["num_directions"]) if needed else None
        )
        self._generators = self._new_generators(Purpose.TRAINING)

    @property
    def tree(self) -> Tree:
        """What a checkpoint keeps of it."""
        return {f"{model}-{data}": generator for (model, data), generator in self._generators.items()}

    def drawn(self) -> list[State]:
        """The next views."""
        return self._views(self._generators)

    def same(self) -> list[State]:
        """Views for records, every time the same."""
        return self._views(self._new_generators(Purpose.MEASURING))

    def _new_generators(self, purpose: Purpose) -> dict[tuple[int, int], torch.Generator]:
        return {seeds: seeded_generator(purpose, seeds[0]) for seeds in self.seeds}

    def _views(self, generators: Mapping[tuple[int, int], torch.Generator]) -> list[State]:
        """One mapping a run, its tensors under "view_1." and "view_2."; draws are made on the CPU everywhere."""
        draws = {seeds: self._uniform(self._data[seeds], generator) for seeds, generator in generators.items()}
        keys = list(zip(self.seeds, self._rates, strict=True))
        made: dict[object, State] = {}
        for seeds, rates in dict.fromkeys(keys):
            augmented = self._data[seeds].graph.augmented
            views = [augmented(uniform, *rate) for uniform, rate in zip(draws[seeds], rates, strict=True)]
            tensors = ((f"view_{i}.", view.tensors()) for i, view in enumerate(views, 1))
            made[seeds, rates] = {view + name: tensor for view, part in tensors for name, tensor in part.items()}
        if self._directions:
            drawn = {seeds: torch.randn(*self._directions, generator=g) for seeds, g in generators.items()}
            directions = {seeds: sent(part, self._device) for seeds, part in drawn.items()}
            return [made[key] | {"directions": directions[key[0]]} for key in keys]
        return [made[key] for key in keys]

    def _uniform(self, data: GraphData, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
        """Draws in [0, 1) for the directed edges and the feature columns of two views."""
        edges, columns = data.graph.propagation.num_entries, data.graph.features.shape[1]
        drawn = [sent(torch.rand(size, generator=generator), self._device) for size in (edges, columns, edges, columns)]
        return [(drawn[0], drawn[1]), (drawn[2], drawn[3])]


def make_graph(config: GraphConfig, data_seed: int, root: Path) -> Graph:
    """The graph of a config: drawn from the seed, or read from the data folder.

    Raises:
        DataError: it is not there, or was replaced after the run was submitted.
    """
    if config.dataset != "block_model":
        graph = load_graph(config.dataset, root, own_name=config.own_graph)
        if config.data_digest:
            check_digest(config, graph_digest(graph))
        return graph
    return make_block_model(
        config.num_nodes,
        config.num_classes,
        config.homophily,
        config.average_degree,
        config.feature_dimension,
        config.feature_signal,
        data_seed,
    )


def load_graph_data(config: GraphConfig, seeds: Iterable[int], root: Path, device: str) -> dict[int, GraphData]:
    """Graph, labels and splits of every data seed; of the graphs only the block model depends on it."""
    found: dict[int, GraphData] = {}
    for seed in seeds:
        if config.dataset == "block_model" or not found:
            raw = make_graph(config, seed, root)
            edges, labels = torch.from_numpy(raw.edge_index), torch.from_numpy(raw.labels)
            pattern = propagation(edges, raw.num_nodes)
            graph = AugmentableGraph(pattern, _features(raw, config), config.widths[0]).to(device)
        splits = graph_splits(raw, config.splits, config.num_splits, seed, config.probe_protocol)
        found[seed] = GraphData(seed, graph, edges, labels, raw.num_classes, splits)
    return found


def _features(graph: Graph, config: GraphConfig) -> Tensor | SparseFeatures:
    scaled = scaled_features(graph.features, config.feature_scaling)
    if isinstance(scaled, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))
    indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (scaled.indptr, scaled.indices))
    return sparse_features(indptr, indices, torch.from_numpy(scaled.data.astype(np.float32)), scaled.shape[1])


def block_size(config: GraphConfig, data: GraphData, num_runs: int, device: str) -> int:
    """How many runs are stacked: one on a CPU, as many as the memory budget holds on a GPU.

    Raises:
        GraphError: one run alone is larger than the budget, with both numbers.
    """
    needed = config_run_bytes(config, data.num_nodes, data.graph.features.shape[1])
    free = torch.cuda.mem_get_info()[0] if device.startswith("cuda") else free_bytes()
    check_budget(needed, free, config.memory_share)
    fitting = int(config.memory_share * free) // needed
    return max(1, min(num_runs, fitting)) if device.startswith("cuda") else 1
