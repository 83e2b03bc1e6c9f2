"""The `toy_ssl` experiment: an encoder trained on two noisy views, with and without a spectral penalty."""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from werank_core import objectives
from werank_core.augmentations import augmented_dimensions, noisy_views
from werank_core.config import ToySSLConfig
from werank_core.metrics.collapse import cluster_labels
from werank_core.metrics.rank import evaluation_rows
from werank_core.metrics.sensitivity import response_sensitivity
from werank_core.models.mlp import initialize
from werank_core.models.ssl_network import SSLNetwork
from werank_core.regularizers import layer_weights, total_penalty
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training import loop, ssl_measures
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import SGD, Adam, StackedOptimizer
from werank_core.training.recorder import Recorder, Workplace, on_rows
from werank_core.training.stacked import StackedModel, State, map_runs, per_run, run_gradients
from werank_core.training.toy_data import make_split, seed_stream
from werank_core.vocabulary import KMEANS


def train(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Train a batch of `toy_ssl` runs; True when it reached the end."""
    return loop.train(ToySSL(batch, place.device), batch, recorder, place)


class ToySSL:
    """All runs of a batch; the loop's task."""

    def __init__(self, batch: RunBatch, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.config: ToySSLConfig = batch.config
        self.num_steps = self.config.num_steps
        self.device, self._dtype = device, dtype
        seeds = list(dict.fromkeys((c.model_seed, c.data_seed) for c in batch.configs))
        self._seed_of_run = torch.tensor(
            [seeds.index((c.model_seed, c.data_seed)) for c in batch.configs], device=device
        )
        self._data_seeds = [data_seed for _, data_seed in seeds]
        self.splits = [make_split(self.config, data_seed) for data_seed in self._data_seeds]
        self._streams = [
            seed_stream(split.train_rows.to(dtype), model_seed)
            for split, (model_seed, _) in zip(self.splits, seeds, strict=True)
        ]
        self._batch_size = min(self.config.batch_size, len(self.splits[0].train_rows))
        self._mask = augmented_dimensions(self.splits[0].train_rows.shape[1], self.config.augmented_fraction).to(
            device, dtype
        )
        self._build_model(batch)
        like = torch.empty(len(batch), device=device, dtype=dtype)
        self._strengths = per_run(batch.column("strength"), like)
        self._decays = per_run(batch.column("weight_decay"), like)
        self._noise = per_run(
            batch.column("augmentation_strength"), torch.empty(len(batch), 1, 1, 1, device=device, dtype=dtype)
        )
        self._decayed = any(batch.column("weight_decay"))
        self._layer_weights = layer_weights(self.config.schedule, self.config.depth)
        self._group_runs(batch)
        self._rows = self._stacked("test_rows")

    def _group_runs(self, batch: RunBatch) -> None:
        """Runs with equal seeds and noise see the same views."""
        keys = list(zip(self._seed_of_run.tolist(), batch.column("augmentation_strength"), strict=True))
        groups = list(dict.fromkeys(keys))
        self._group_of_run = torch.tensor([groups.index(key) for key in keys], device=self.device)
        self._seed_of_group = torch.tensor([seed for seed, _ in groups], device=self.device)
        like = torch.empty(len(groups), 1, 1, 1, device=self.device, dtype=self._dtype)
        self._group_noise = per_run([noise for _, noise in groups], like)

    def _build_model(self, batch: RunBatch) -> None:
        modules = [SSLNetwork(self.config, self.splits[0].train_rows.shape[1]).to(self._dtype) for _ in batch.runs]
        for module, config in zip(modules, batch.configs, strict=True):
            initialize(module, seeded_generator(Purpose.INITIALIZATION, config.model_seed), config.init)
        self.model = StackedModel(modules, self.device)
        self.target: State = {}
        if self.config.objective == "byol":
            self.target = {name: p.detach().clone() for name, p in self.model.parameters.items()}
        self._optimizer = _optimizer(batch, self.model.parameters)

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One stacked optimizer step."""
        losses = self.losses(self._draw_views())["loss"]
        self._optimizer.step(run_gradients(losses, self.model.parameters))
        if self.target:
            self._update_target()

    def _draw_views(self) -> Tensor:
        """Two views `(R, 2, B, d)` of the next batch, made once for the runs that share a seed and a noise."""
        drawn = [stream.draw(self._batch_size) for stream in self._streams]
        rows = torch.stack([rows for rows, _ in drawn]).to(self.device)[self._seed_of_group]
        noise = torch.stack([noise for _, noise in drawn]).to(self.device, self._dtype)[self._seed_of_group]
        return noisy_views(rows, noise, self._group_noise, self._mask)[self._group_of_run]

    def losses(self, views: Tensor) -> Values:
        """The training loss L_ssl + α Σ w_l penalty(W_l) + λ/2 Σ ‖W_l‖² and its parts, each `(R,)`.

        The network is mapped over runs; objectives and penalties take the run axis as a leading axis themselves.

        Args:
            views: `(R, 2, B, d)`.
        """
        objective, penalty = self._objective(views), self._penalty()
        loss = objective + self._strengths * penalty
        if self._decayed:
            norm = torch.stack([weight.square().flatten(1).sum(1) for weight in self.model.weights()]).sum(0)
            loss = loss + self._decays / 2 * norm
        return {"loss": loss, "objective": objective, "penalty": penalty}

    def _penalty(self) -> Tensor:
        penalty, gram = self.config.penalty, self.config.gram
        total = total_penalty(self.model.weights("encoder"), penalty, self._layer_weights, gram)
        head = self.model.weights("projector") + self.model.weights("predictor") if self.config.penalize_head else []
        return total + total_penalty(head, penalty, (1.0,) * len(head), gram) if head else total

    def _objective(self, views: Tensor) -> Tensor:
        config = self.config
        _, embeddings, predictions = map_runs(self.model.call, self.model.parameters, views)
        view_1, view_2 = embeddings.unbind(1)
        if config.objective == "infonce":
            return objectives.infonce(
                view_1, view_2, config.temperature, normalize=config.normalize, symmetric=config.symmetric
            )
        if config.objective == "vicreg":
            names = ("invariance_weight", "variance_weight", "covariance_weight")
            return objectives.vicreg(view_1, view_2, **{name: getattr(config, name) for name in names})
        if config.objective == "barlow_twins":
            return objectives.barlow_twins(view_1, view_2, redundancy_weight=config.redundancy_weight)
        return self._byol(predictions, views)

    def _byol(self, predictions: Tensor, views: Tensor) -> Tensor:
        with torch.no_grad():
            targets = map_runs(self.model.call, self.target, views)[1]
        loss = objectives.byol(predictions[:, 0], targets[:, 1])
        return (loss + objectives.byol(predictions[:, 1], targets[:, 0])) / 2 if self.config.symmetric else loss

    @torch.no_grad()
    def _update_target(self) -> None:
        for name, parameter in self.model.parameters.items():
            self.target[name].lerp_(parameter, 1 - self.config.ema_decay)

    # -- measuring ----------------------------------------------------------------------------------------------

    def _stacked(self, part: str) -> Tensor:
        """A part of every run's split, `(R, N, ...)`: the evaluation rows of its data seed."""
        stacked = torch.stack(self._evaluated(part)).to(self.device)
        return (stacked.to(self._dtype) if stacked.is_floating_point() else stacked)[self._seed_of_run]

    def _evaluated(self, part: str) -> list[Tensor]:
        """A part of every split, at most `evaluation_rows` rows of it, chosen by the data seed."""
        tensors = [getattr(split, part) for split in self.splits]
        limit = self.config.evaluation_rows
        return [t[evaluation_rows(len(t), seed, limit)] for t, seed in zip(tensors, self._data_seeds, strict=True)]

    @torch.no_grad()
    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Of held-out rows: loss on views of them, rank, collapse, response; the probe at the start and the end."""
        noise = self._held_out_noise()
        views = noisy_views(self._rows, noise, self._noise, self._mask)
        losses = self.losses(views[..., : self._batch_size, :])
        outputs = map_runs(self.model.call, self.model.parameters, self._rows)
        representations, embeddings = (ssl_measures.exact(output) for output in outputs[:2])
        weights = [ssl_measures.exact(weight) for weight in self.model.weights("encoder")]
        spectra, ranks = ssl_measures.representation_measures(representations, embeddings)
        weight_spectra, weight_ranks = ssl_measures.weight_measures(weights)
        held_out = ranks | {name: losses[name] for name in ("loss", "objective")}
        held_out["response_sensitivity"] = self._sensitivity(noise[:, 0])
        held_out |= self._class_metrics(representations, with_probe=step in (0, self.num_steps))
        values = on_rows("test", held_out) | {"penalty": losses["penalty"]}
        return values | weight_ranks | ssl_measures.layer_alignments(weights), weight_spectra | spectra

    def _held_out_noise(self) -> Tensor:
        """Standard normal noise of both views `(R, 2, N, d)`: of the data seed, and the same at every record."""
        generators = [seeded_generator(Purpose.MEASURING, seed) for seed in self._data_seeds]
        drawn = torch.stack([torch.randn(2, *self._rows.shape[1:], generator=generator) for generator in generators])
        return drawn.to(self.device, self._dtype)[self._seed_of_run]

    def _sensitivity(self, noise: Tensor) -> Tensor:
        def respond(rows: Tensor) -> Tensor:
            outputs = map_runs(self.model.call, self.model.parameters, rows.to(self.device))
            return ssl_measures.exact(outputs[0])

        rows = ssl_measures.exact(self._rows)
        return response_sensitivity(respond, rows, 0.1 * noise.to(rows.device))

    def _class_metrics(self, representations: Tensor, *, with_probe: bool) -> Values:
        """Collapse measures against the labels, or against k-means clusters where there are none."""
        if self.config.dataset == "gaussian":
            values = ssl_measures.collapse_metrics(representations, self._clusters, self.config.num_classes)
            return {KMEANS + name: value for name, value in values.items()}
        labels = ssl_measures.exact(self._stacked("test_labels"))
        num_classes = max(split.num_classes for split in self.splits)
        values = ssl_measures.collapse_metrics(representations, labels, num_classes)
        return values | (self._probe(representations, labels) if with_probe else {})

    @cached_property
    def _clusters(self) -> Tensor:
        """k-means clusters `(R, N)` of the input rows: what stands in for classes."""
        clusters = [cluster_labels(rows, self.config.num_classes, seed=0) for rows in self._evaluated("test_rows")]
        return ssl_measures.exact(torch.stack(clusters).to(self.device)[self._seed_of_run])

    def _probe(self, test: Tensor, test_labels: Tensor) -> Values:
        train = map_runs(self.model.call, self.model.parameters, self._stacked("train_rows"))[0]
        labels = ssl_measures.exact(self._stacked("train_labels"))
        return ssl_measures.probe_metrics(ssl_measures.exact(train), labels, test, test_labels)

    # -- checkpoints --------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Parameters, target, optimizer, and every stream's generator, order and cursor."""
        tensors = {f"parameters.{name}": p for name, p in self.model.parameters.items()}
        tensors |= {f"target.{name}": p for name, p in self.target.items()}
        tensors |= {f"optimizer.{name}": p for name, p in self._optimizer.state.items()}
        for index, stream in enumerate(self._streams):
            tensors[f"stream.{index}.generator"] = loop.generator_state(stream.generator)
            tensors[f"stream.{index}.order"] = stream.order
            tensors[f"stream.{index}.cursor"] = torch.tensor(stream.cursor)
        return tensors

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Undo a stop."""
        for name, parameter in self.model.parameters.items():
            parameter.copy_(state[f"parameters.{name}"])
        for name, parameter in self.target.items():
            parameter.copy_(state[f"target.{name}"])
        self._optimizer.load_state(
            {n.removeprefix("optimizer."): t for n, t in state.items() if n.startswith("optimizer.")}
        )
        for index, stream in enumerate(self._streams):
            stream.generator.set_state(state[f"stream.{index}.generator"])
            stream.order = state[f"stream.{index}.order"]
            stream.cursor = int(state[f"stream.{index}.cursor"])


def _optimizer(batch: RunBatch, parameters: State) -> StackedOptimizer:
    rates = batch.column("learning_rate")
    if batch.config.optimizer == "sgd":
        return SGD(parameters, rates, momentum=batch.config.momentum)
    return Adam(parameters, rates)
