"""The `graph` experiment: BGRL and other objectives on a whole graph, with and without a spectral penalty."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from werank_core.config.graph import GraphConfig
from werank_core.models.precision import fast_float32
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training import loop, ssl_measures
from werank_core.training.blocks import Block, Inputs, block_gradients, block_values, blocks
from werank_core.training.graph_data import GraphData, block_size, load_graph_data
from werank_core.training.graph_measures import (
    Outputs,
    graph_measures,
    picture,
    probe_values,
)
from werank_core.training.graph_network import GraphLoss, new_networks
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import Adam, cosine_factor
from werank_core.training.recorder import Recorder, Workplace, on_rows
from werank_core.training.stacked import StackedModel, State

Seeds = tuple[int, int]
Draws = Sequence[tuple[Tensor, Tensor]]


def train(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Train a batch of `graph` runs; True when it reached the end."""
    # Apple's GPUs have no sparse products in PyTorch.
    device = "cpu" if place.device.startswith("mps") else place.device
    with fast_float32():
        return loop.train(GraphSSL(batch, place.data_folder, device), batch, recorder, place)


def ema_decay_at(step: int, total: int, first: float) -> float:
    """Decay of the target encoder: from `first` at step 0 to 1 at the end, 1 − (1 − first)(cos(π t/T) + 1)/2."""
    return 1 - (1 - first) * (math.cos(math.pi * step / total) + 1) / 2


class GraphSSL:
    """All runs of a batch; the loop's task."""

    def __init__(self, batch: RunBatch, root: Path, device: str = "cpu", block: int | None = None) -> None:
        self.config: GraphConfig = batch.config
        self.num_steps = self.config.num_steps
        self._batch, self._device = batch, device
        self.data = self._load(root)
        self._build_models()
        graphs = {id(data.graph): data.graph for data in self.data}
        losses = {key: GraphLoss(self.config, graph, self._network, self._target) for key, graph in graphs.items()}
        size = block or block_size(self.config, self.data[0], len(batch), device)
        self.losses = [losses[id(data.graph)] for data in self.data]
        self._blocks = blocks(self.losses, size)
        self._strengths = torch.tensor(batch.column("strength"), device=device)
        self._streams = {seeds: seeded_generator(Purpose.TRAINING, seeds[0]) for seeds in self._seeds}
        self.last_losses: Values = {}
        self._untrained: dict[Seeds, tuple[Values, Arrays]] = {}
        self._seconds, self._timed = 0.0, 0

    def _load(self, root: Path) -> list[GraphData]:
        """One entry a run; runs of one data seed share it, and all runs share a graph that is not drawn."""
        found = load_graph_data(self.config, {c.data_seed for c in self._batch.configs}, root, self._device)
        return [found[config.data_seed] for config in self._batch.configs]

    @property
    def _seeds(self) -> list[Seeds]:
        """(model seed, data seed) of every run: runs that agree in both share views and initial weights."""
        return [(config.model_seed, config.data_seed) for config in self._batch.configs]

    def _build_models(self) -> None:
        d_in = self.data[0].graph.features.shape[1]
        pairs = [new_networks(self.config, d_in, config.model_seed) for config in self._batch.configs]
        with torch.no_grad():
            for (network, _), data in zip(pairs, self.data, strict=True):
                # Running statistics of the untrained encoder, so that it too is measured with a working BatchNorm.
                network.to(self._device)(data.graph.view())
        self.model = StackedModel([network for network, _ in pairs], self._device)
        target = StackedModel([encoder for _, encoder in pairs], self._device)
        self._network, self._target = pairs[0]
        self.frozen: State = {f"buffers.{name}": b for name, b in self.model.buffers.items()}
        if self.config.objective == "bgrl":
            self.frozen |= {f"target.{name}": t.detach() for name, t in (target.parameters | target.buffers).items()}
        self._optimizer = Adam(
            self.model.parameters, self._batch.column("learning_rate"), weight_decay=self.config.weight_decay
        )

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One optimizer step of every run."""
        start = time.perf_counter()
        inputs = self.next_inputs()
        self.last_losses, gradients = block_gradients(self._blocks, self.model.parameters, self.frozen, inputs)
        self._optimizer.step(gradients, cosine_factor(step, self.num_steps, self.config.warmup_epochs))
        self._update_target(step)
        self._seconds += time.perf_counter() - start
        self._timed += 1

    def next_inputs(self) -> list[Inputs]:
        """Strength and freshly drawn views of every run."""
        return self._inputs(self._draws(self._streams))

    def leave_out_penalty(self) -> None:
        """Train without computing the penalty at all: what the bench compares a step with."""
        self.losses = [loss.without_penalty() for loss in self.losses]
        self._blocks = blocks(self.losses, 1)

    def _draws(self, streams: Mapping[Seeds, torch.Generator]) -> dict[Seeds, Draws]:
        """Uniform draws of both views for every pair of seeds: what its runs share."""
        data = dict(zip(self._seeds, self.data, strict=True))
        return {seeds: _uniform(data[seeds], generator, self._device) for seeds, generator in streams.items()}

    def _inputs(self, draws: Mapping[Seeds, Draws]) -> list[Inputs]:
        """What every run's loss reads: its strength and two views, the same tensors for runs that share them."""
        made: dict[tuple[Seeds, object], State] = {}
        for seeds, data, config in zip(self._seeds, self.data, self._batch.configs, strict=True):
            if (seeds, config.drop_rates) not in made:
                made[seeds, config.drop_rates] = _views(data, draws[seeds], config.drop_rates)
        keys = zip(self._seeds, self._batch.configs, strict=True)
        return [made[s, c.drop_rates] | {"strength": a} for (s, c), a in zip(keys, self._strengths, strict=True)]

    @torch.no_grad()
    def _update_target(self, step: int) -> None:
        """Target weights move towards the online encoder's; its running statistics are its own."""
        weight = 1 - ema_decay_at(step, self.num_steps, self.config.ema_decay)
        for name, parameter in self.model.parameters.items():
            target = self.frozen.get("target." + name.removeprefix("encoder."))
            if target is not None and name.startswith("encoder."):
                target.lerp_(parameter, weight)

    # -- measuring ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Loss on fixed views, ranks, collapse, response; the probe at the start and the end, a picture at the end."""
        losses = self._fixed_losses()
        values = on_rows("all", {name: losses[name] for name in ("loss", "objective")})
        values["penalty"] = losses["penalty"]
        weights = self.model.weights("encoder.convolutions")
        spectra, ranks = ssl_measures.weight_measures(weights)
        values |= ranks | self._times(step)
        if step in (0, self.num_steps):
            values |= ssl_measures.layer_alignments(weights)
        parts = [self._measure_run(step, run, data) for run, data in enumerate(self.data)]
        return values | joined([found for found, _ in parts]), spectra | joined([found for _, found in parts])

    def _measure_run(self, step: int, run: int, data: GraphData) -> tuple[Values, Arrays]:
        """What needs one run's representations of the whole graph, (1, ...): they are gone before the next run's."""
        outputs = self._outputs(run, data)
        values, arrays = graph_measures(outputs, data, self.config)
        if step in (0, self.num_steps):
            scores, curves = self._probed(step, run, outputs.representations)
            values, arrays = values | scores, arrays | curves
        if step == self.num_steps:
            arrays |= picture(outputs.representations, data)
        return values, arrays

    def _fixed_losses(self) -> Values:
        """Loss and its parts on views that are the same at every record; running statistics stay as they are."""
        untouched = {name: tensor.clone() for name, tensor in self.frozen.items()}
        inputs = self._inputs(self._draws(self._fixed_streams()))
        return block_values(self._blocks, self.model.parameters, untouched, inputs)

    def _fixed_streams(self) -> dict[Seeds, torch.Generator]:
        return {seeds: seeded_generator(Purpose.MEASURING, seeds[0]) for seeds in self._seeds}

    def _outputs(self, run: int, data: GraphData) -> Outputs:
        """What one run makes of the whole graph, BatchNorm using its running statistics."""
        state = {name: p.detach()[run] for name, p in (self.model.parameters | self.model.buffers).items()}
        network = self._network.eval()
        fewer, noisy, norm = data.disturbed
        z, embeddings = functional_call(network, state, (data.graph.view(),))
        with_fewer, with_noise = (functional_call(network, state, (view,))[0][None] for view in (fewer, noisy))
        network.train()
        return Outputs(z[None], embeddings[None], with_fewer, with_noise, norm)

    def _probed(self, step: int, run: int, representations: Tensor) -> tuple[Values, Arrays]:
        """Probe scores of a run; before training they are the same for all runs of a seed and computed once."""
        seeds = self._seeds[run]
        if step == 0 and seeds in self._untrained:
            return self._untrained[seeds]
        values, arrays = probe_values(representations, self.data[run], self.config)
        if step == 0:
            self._untrained[seeds] = values, arrays
        elif seeds in self._untrained:
            values["test/untrained_accuracy"] = self._untrained[seeds][0]["test/accuracy"]
        return values, arrays

    def _times(self, step: int) -> Values:
        """Seconds per run and step since the last record; at the end what the penalty adds to a step."""
        values = {}
        if self._timed:
            values["step_seconds"] = torch.full((len(self._batch),), self._seconds / self._timed / len(self._batch))
            self._seconds, self._timed = 0.0, 0
        if step == self.num_steps:
            values["penalty_cost"] = torch.full((len(self._batch),), self._penalty_cost())
        return values

    def _penalty_cost(self) -> float:
        """Time of one run's gradient with the penalty over without, median of five in turn."""
        inputs = self._inputs(self._draws(self._fixed_streams()))[:1]
        parameters, frozen = (
            {n: t[:1].clone() for n, t in state.items()} for state in (self.model.parameters, self.frozen)
        )
        loss = self.losses[0]
        ratios = []
        with torch.enable_grad():
            for _ in range(5):
                with_it, without = (
                    _seconds(partial(block_gradients, [Block(function, 0, 1)], parameters, frozen, inputs))
                    for function in (loss, loss.without_penalty())
                )
                ratios.append(with_it / without)
        return statistics.median(ratios)

    # -- checkpoints --------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Parameters, running statistics, target, optimizer, generators, and the scores before training."""
        tensors = {f"parameters.{name}": p for name, p in self.model.parameters.items()}
        tensors |= {f"frozen.{name}": t for name, t in self.frozen.items()}
        tensors |= {f"optimizer.{name}": t for name, t in self._optimizer.state.items()}
        for index, (seeds, generator) in enumerate(self._streams.items()):
            tensors[f"generator.{index}"] = loop.generator_state(generator)
            if seeds in self._untrained:
                tensors[f"untrained.{index}"] = self._untrained[seeds][0]["test/accuracy"]
        return tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Undo a stop."""
        for kind, mine in (("parameters", self.model.parameters), ("frozen", self.frozen)):
            for name, tensor in mine.items():
                tensor.copy_(state[f"{kind}.{name}"])
        self._optimizer.load_state(
            {n.removeprefix("optimizer."): t for n, t in state.items() if n.startswith("optimizer.")}
        )
        for index, (seeds, generator) in enumerate(self._streams.items()):
            generator.set_state(state[f"generator.{index}"])
            if f"untrained.{index}" in state:
                self._untrained[seeds] = {"test/accuracy": state[f"untrained.{index}"]}, {}


def joined(parts: Sequence[Mapping[Any, Tensor]]) -> dict[Any, Tensor]:
    """Values of single runs (1, ...) put together along the run axis."""
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


def _uniform(data: GraphData, generator: torch.Generator, device: str) -> list[tuple[Tensor, Tensor]]:
    """Draws in [0, 1) for the directed edges and the feature columns of two views, drawn on the CPU everywhere."""
    sizes = data.graph.propagation.num_entries, data.graph.features.shape[1]
    return [tuple(torch.rand(size, generator=generator).to(device) for size in sizes) for _ in range(2)]  # type: ignore[misc]


def _views(data: GraphData, draws: Sequence[tuple[Tensor, Tensor]], rates: Sequence[tuple[float, float]]) -> State:
    """The tensors of two augmented views, under "view_1." and "view_2."."""
    views = [data.graph.augmented(uniform, *rate) for uniform, rate in zip(draws, rates, strict=True)]
    return {f"view_{i}.{name}": tensor for i, view in enumerate(views, 1) for name, tensor in view.tensors().items()}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
