"""The `graph` experiment: BGRL and other objectives on a whole graph, with and without a spectral penalty."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from werank_core.config.graph import GraphConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.models.precision import fast_float32
from werank_core.sweeps import RunBatch
from werank_core.training import loop, ssl_measures
from werank_core.training.checkpoints import Tree
from werank_core.training.clocks import StepClock, times_as_long
from werank_core.training.engine import Engine, Inputs
from werank_core.training.graph_data import GraphViews, block_size, load_graph_data
from werank_core.training.graph_measures import graph_measures, joined, outputs_of, picture, probe_values
from werank_core.training.graph_network import GraphLoss, new_networks
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import Adam, Decay, cosine_factor
from werank_core.training.recorder import Recorder, Workplace, on_rows
from werank_core.training.run_blocks import Block, PerRun, block_gradients
from werank_core.training.ssl_losses import target_decay
from werank_core.training.stacked import StackedModel, State, weights_of

Seeds = tuple[int, int]


def train(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Train a batch of `graph` runs; True when it reached the end."""
    # Apple's GPUs have no sparse products in PyTorch.
    device = "cpu" if place.device.startswith("mps") else place.device
    with fast_float32():
        return loop.train(GraphSSL(batch, place.data_folder, device), batch, recorder, place)


class GraphSSL:
    """All runs of a batch; the loop's task."""

    def __init__(self, batch: RunBatch, root: Path, device: str = "cpu", block: int | None = None) -> None:
        self.config: GraphConfig = batch.config
        self.num_steps = self.config.num_steps
        self._batch, self._device = batch, device
        # One entry a run; runs of one data seed share it, and all runs share a graph that is not drawn.
        found = load_graph_data(self.config, set(batch.column("data_seed")), root, device)
        self.data = [found[seed] for seed in batch.column("data_seed")]
        self._views = GraphViews(self.data, batch.configs, device)
        self._strengths = torch.tensor(batch.column("strength"), device=device)
        self._untrained = torch.full((len(batch),), torch.nan, dtype=torch.float64)
        self.engine = self._new_engine(block or block_size(self.config, self.data[0], len(batch), device))
        self._clock = StepClock()

    @torch.no_grad()
    def _new_engine(self, size: int) -> Engine:
        d_in = self.data[0].graph.features.shape[1]
        networks, encoders = zip(*(new_networks(self.config, d_in, seed) for seed, _ in self._views.seeds), strict=True)
        for network, data in zip(networks, self.data, strict=True):
            # Running statistics of the untrained encoder, so that it too is measured with a working BatchNorm.
            network.to(self._device)(data.graph.view())
        self.model, target = StackedModel(networks, self._device), StackedModel(encoders, self._device)
        graphs = {id(data.graph): data.graph for data in self.data}
        self.losses = {key: GraphLoss(self.config, graph, networks[0], encoders[0]) for key, graph in graphs.items()}
        parameters, config = self.model.parameters, self.config
        followed = OBJECTIVES[config.objective].has_target_network
        decay = Decay(self._batch.column("weight_decay"), parameters.keys(), coupled=False)
        return Engine(
            self.model,
            Adam(parameters, self._batch.column("learning_rate"), decay),
            [PerRun(self.losses[id(data.graph)]) for data in self.data],
            size,
            target=target.parameters | target.buffers if followed else None,
            followed="encoder.",
            decay=target_decay(config),
            rate=partial(cosine_factor, total=self.num_steps, warmup=config.warmup_epochs),
        )

    @property
    def tree(self) -> Tree:
        """What a checkpoint keeps."""
        return {"engine": self.engine.tree, "views": self._views.tree, "untrained": self._untrained}

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One optimizer step of every run."""
        with self._clock:
            self.last_losses = self.engine.step(step, self.inputs())

    def inputs(self) -> Inputs:
        """What every run's loss reads: its strength and two freshly drawn views, the same for runs that share them."""
        return self._of_blocks(self._views.drawn())

    def _of_blocks(self, views: Sequence[State]) -> Inputs:
        each = [own | {"strength": strength} for own, strength in zip(views, self._strengths, strict=True)]
        return lambda block: [each[run] for run in block.numbers]

    # -- measuring ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Loss on fixed views, ranks, collapse, response; the probe at the start and the end, a picture at the end."""
        losses = self.engine.losses(self._of_blocks(self._views.same()))
        values = on_rows("all", {name: losses[name] for name in ("loss", "objective")})
        weights = list(weights_of(self.model.parameters, "encoder.convolutions").values())
        spectra, ranks = ssl_measures.weight_measures(weights, alignment=step in (0, self.num_steps))
        values |= ranks | self._times(step) | {"penalty": losses["penalty"]}
        probed: dict[Seeds, tuple[Values, Arrays]] = {}
        parts = [self._measure_run(step, run, probed) for run in range(len(self.data))]
        return values | joined([found for found, _ in parts]), spectra | joined([found for _, found in parts])

    def _measure_run(self, step: int, run: int, probed: dict[Seeds, tuple[Values, Arrays]]) -> tuple[Values, Arrays]:
        """What needs one run's representations of the whole graph, (1, ...): they are gone before the next run's."""
        data, seeds = self.data[run], self._views.seeds[run]
        outputs = outputs_of(self.model, run, data)
        values, arrays = graph_measures(outputs, data, self.config)
        if step in (0, self.num_steps):
            if step or seeds not in probed:  # before training, scores are the same for all runs of a seed
                probed[seeds] = probe_values(outputs.representations, data, self.config)
            values, arrays = values | probed[seeds][0], arrays | probed[seeds][1]
            if step:
                values["test/untrained_accuracy"] = self._untrained[run, None]
            else:
                self._untrained[run] = values["test/accuracy"].item()
        return values, arrays | (picture(outputs.representations, data) if step == self.num_steps else {})

    def _times(self, step: int) -> Values:
        """Seconds per run and step since the last record; at the end what the penalty adds to a step."""
        seconds, num_runs = self._clock.read(), len(self._batch)
        values = {} if seconds is None else {"step_seconds": torch.full((num_runs,), seconds / num_runs)}
        if step == self.num_steps:
            values["penalty_cost"] = torch.full((num_runs,), self._penalty_cost())
        return values

    @torch.enable_grad()
    def _penalty_cost(self) -> float:
        """Time of one run's gradient with the penalty over without."""
        parameters, frozen = (
            {name: t[:1].clone() for name, t in part.items()} for part in (self.engine.parameters, self.engine.frozen)
        )
        loss, inputs = self.losses[id(self.data[0].graph)], self._of_blocks(self._views.same())
        cut = [Block(PerRun(each), (0,), slice(0, 1)) for each in (loss, loss.without_penalty())]
        calls = [partial(block_gradients, block, parameters, frozen, inputs(block)) for block in cut]
        return times_as_long(calls[0], calls[1])
