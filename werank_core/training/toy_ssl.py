"""The `toy_ssl` experiment: an encoder trained on two noisy views, with and without a spectral penalty."""

from functools import partial

import torch
from torch import Tensor

from werank_core import objectives
from werank_core.config import ToySSLConfig
from werank_core.metrics.sensitivity import response_sensitivity
from werank_core.models.mlp import initialize
from werank_core.models.ssl_network import SSLNetwork
from werank_core.regularizers import layer_weights, total_penalty
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training import loop, ssl_measures
from werank_core.training.checkpoints import Tree
from werank_core.training.engine import Engine, Inputs
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import Decay, make_optimizer
from werank_core.training.recorder import Recorder, Workplace, on_rows
from werank_core.training.run_blocks import of_runs
from werank_core.training.stacked import StackedModel, State, map_runs, squared_norm, weights_of
from werank_core.training.toy_data import ToyData
from werank_core.vocabulary import KMEANS


def train(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Train a batch of `toy_ssl` runs; True when it reached the end."""
    return loop.train(ToySSL(batch, place.device), batch, recorder, place)


class ToySSL:
    """All runs of a batch; the loop's task."""

    def __init__(self, batch: RunBatch, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.config: ToySSLConfig = batch.config
        self.num_steps = self.config.num_steps
        self.data = ToyData(batch, device, dtype)
        modules = [SSLNetwork(self.config, self.data.rows.shape[2]).to(dtype) for _ in batch.runs]
        for module, config in zip(modules, batch.configs, strict=True):
            initialize(module, seeded_generator(Purpose.INITIALIZATION, config.model_seed), config.init)
        self.model = StackedModel(modules, device)
        self._strengths, self._decays = (
            torch.tensor(batch.column(name), device=device, dtype=dtype) for name in ("strength", "weight_decay")
        )
        decay = Decay(batch.column("weight_decay"), weights_of(self.model.parameters).keys())
        self.engine = Engine(
            self.model,
            make_optimizer(batch, self.model.parameters, decay),
            [self._loss] * len(batch),
            len(batch),
            target=self.model.parameters if self.config.objective == "byol" else None,
            decay=lambda step: self.config.ema_decay,
        )
        self._layer_weights = layer_weights(self.config.schedule, self.config.depth)

    @property
    def tree(self) -> Tree:
        """What a checkpoint keeps."""
        streams = {str(index): stream.tree for index, stream in enumerate(self.data.streams)}
        return {"engine": self.engine.tree, "streams": streams}

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One optimizer step of every run."""
        self.engine.step(step, self.inputs())

    def inputs(self) -> Inputs:
        """The next two views, and the strengths."""
        return of_runs({"views": self.data.views(), "strength": self._strengths})

    def _loss(self, parameters: State, frozen: State, inputs: State) -> State:
        """L_ssl + α Σ w_l penalty(W_l) and its parts, each `(R,)`; views `(R, 2, B, d)`.

        The network is mapped over runs; objectives and penalties take the run axis as a leading axis themselves.
        """
        objective, penalty = self._objective(parameters, frozen, inputs["views"]), self._penalty(parameters)
        return {"loss": objective + inputs["strength"] * penalty, "objective": objective, "penalty": penalty}

    def _penalty(self, parameters: State) -> Tensor:
        penalty, gram = self.config.penalty, self.config.gram
        total = total_penalty(list(weights_of(parameters, "encoder").values()), penalty, self._layer_weights, gram)
        head = [weight for part in ("projector", "predictor") for weight in weights_of(parameters, part).values()]
        if not (head and self.config.penalize_head):
            return total
        return total + total_penalty(head, penalty, (1.0,) * len(head), gram)

    def _objective(self, parameters: State, frozen: State, views: Tensor) -> Tensor:
        config = self.config
        _, embeddings, predictions = map_runs(self.model.call, parameters, views)
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
        with torch.no_grad():
            targets = map_runs(partial(self.model.call, under="target."), frozen, views)[1]
        loss = objectives.byol(predictions[:, 0], targets[:, 1])
        return (loss + objectives.byol(predictions[:, 1], targets[:, 0])) / 2 if config.symmetric else loss

    # -- measuring ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Of held-out rows: loss on views of them, rank, collapse, response; the probe at the start and the end."""
        views, noise = self.data.held_out_views()
        inputs = {"views": views[..., : self.data.batch_size, :], "strength": self._strengths}
        losses = self.engine.losses(of_runs(inputs))
        loss = losses["loss"] + self._decays / 2 * squared_norm(self.model.parameters)
        representations, embeddings = self._outputs(self.data.test_rows)
        spectra, ranks = ssl_measures.representation_measures(representations, embeddings)
        weights = [ssl_measures.exact(weight) for weight in weights_of(self.model.parameters, "encoder").values()]
        weight_spectra, weight_ranks = ssl_measures.weight_measures(weights)
        held_out = ranks | {"loss": loss, "objective": losses["objective"]}
        rows = ssl_measures.exact(self.data.test_rows)
        held_out["response_sensitivity"] = response_sensitivity(
            lambda moved: self._outputs(moved.to(self._strengths.device))[0], rows, 0.1 * noise[:, 0].to(rows.device)
        )
        held_out |= self._class_metrics(representations, with_probe=step in (0, self.num_steps))
        values = on_rows("test", held_out) | {"penalty": losses["penalty"]}
        return values | weight_ranks | ssl_measures.layer_alignments(weights), weight_spectra | spectra

    def _outputs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Representations and embeddings of every run, where float64 exists."""
        outputs = map_runs(self.model.call, self.model.parameters, rows)
        return ssl_measures.exact(outputs[0]), ssl_measures.exact(outputs[1])

    def _class_metrics(self, representations: Tensor, *, with_probe: bool) -> Values:
        """Collapse measures against the labels, or against k-means clusters where there are none."""
        if self.config.dataset == "gaussian":
            clusters = ssl_measures.exact(self.data.clusters)
            values = ssl_measures.collapse_metrics(representations, clusters, self.config.num_classes)
            return {KMEANS + name: value for name, value in values.items()}
        labels = ssl_measures.exact(self.data.test_labels)
        values = ssl_measures.collapse_metrics(representations, labels, self.data.num_classes)
        if not with_probe:
            return values
        train = self._outputs(self.data.evaluated("train_rows"))[0]
        train_labels = ssl_measures.exact(self.data.evaluated("train_labels"))
        return values | ssl_measures.probe_metrics(train, train_labels, representations, labels)
