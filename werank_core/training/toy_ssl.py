"""The `toy_ssl` experiment: an encoder trained on two noisy views, with and without a spectral penalty."""

import torch
from torch import Tensor

from werank_core.config import ToySSLConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.metrics.sensitivity import response_sensitivity
from werank_core.models.ssl_network import new_networks
from werank_core.objectives import Views
from werank_core.sweeps import RunBatch
from werank_core.training import loop, ssl_measures
from werank_core.training.checkpoints import Tree
from werank_core.training.engine import Engine, Inputs
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import Decay, make_optimizer
from werank_core.training.recorder import Recorder, Workplace, on_rows
from werank_core.training.run_blocks import of_runs, runs_at_once
from werank_core.training.ssl_losses import objective_of, penalty_of, target_decay
from werank_core.training.stacked import StackedModel, State, squared_norm, stacked_mlp, weights_of
from werank_core.training.toy_data import ToyData
from werank_core.vocabulary import KMEANS

# Numbers at work in the runs that step together on a CPU: more leave the caches, fewer waste calls.
STEP_NUMBERS = 2**23
PARTS = ("encoder", "projector", "predictor")


def train(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Train a batch of `toy_ssl` runs; True when it reached the end."""
    return loop.train(ToySSL(batch, place.device), batch, recorder, place)


class ToySSL:
    """All runs of a batch; the loop's task."""

    def __init__(self, batch: RunBatch, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.config: ToySSLConfig = batch.config
        self.num_steps = self.config.num_steps
        self.data = ToyData(batch, device, dtype)
        self._needs, self._objective_of = OBJECTIVES[self.config.objective], objective_of(self.config)
        networks, targets = zip(*(new_networks(c, self.data.rows.shape[2], dtype) for c in batch.configs), strict=True)
        self.model, target = StackedModel(networks, device), StackedModel(targets, device)
        self._strengths, self._decays = (
            torch.tensor(batch.column(name), device=device, dtype=dtype) for name in ("strength", "weight_decay")
        )
        decay = Decay(batch.column("weight_decay"), weights_of(self.model.parameters).keys())
        self.engine = Engine(
            self.model,
            make_optimizer(batch, self.model.parameters, decay),
            [self._loss] * len(batch),
            runs_at_once(self._run_numbers(), self._strengths, STEP_NUMBERS),
            target=target.parameters if self._needs.has_target_network else None,
            decay=target_decay(self.config),
        )

    def _run_numbers(self) -> int:
        """Numbers at work in a step of one run: views, activations and gradients, similarities, what Adam holds."""
        rows, weights = 2 * self.data.batch_size, [p[0].numel() for p in self.model.parameters.values()]
        activations = 2 * len(weights_of(self.model.parameters)) * self.config.width
        numbers: int = rows * (self.data.rows.shape[2] + activations) + rows**2 + 5 * sum(weights)
        return numbers

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
        return of_runs({"views": self.data.views(), "strength": self._strengths} | self.data.directions())

    def _loss(self, parameters: State, frozen: State, inputs: State) -> State:
        """L_ssl + α Σ w_l penalty(W_l) and its parts, each `(R,)`; views `(R, 2, B, d)`.

        Network, objectives and penalties take the run axis as a leading axis.
        """
        objective = self._objective(parameters, frozen, inputs)
        encoder, projector, predictor = (list(weights_of(parameters, part).values()) for part in PARTS)
        penalty = penalty_of(self.config, encoder, projector + predictor)
        return {"loss": objective + inputs["strength"] * penalty, "objective": objective, "penalty": penalty}

    def _outputs(self, state: State, rows: Tensor, under: str = "") -> list[Tensor]:
        """Representations, embeddings and predictions `(R, ..., width)` of rows `(R, ..., d)`: `SSLNetwork` stacked."""
        outputs = [rows.flatten(1, -2)]
        for part in PARTS:
            module = getattr(self.model.skeleton, part)
            outputs.append(stacked_mlp(module, state, outputs[-1], under=f"{under}{part}."))
        return [out.reshape(*rows.shape[:-1], -1) for out in outputs[1:]]

    def _objective(self, parameters: State, frozen: State, inputs: State) -> Tensor:
        _, embeddings, predictions = self._outputs(parameters, inputs["views"])
        targets = embeddings.detach()
        if self._needs.has_target_network:
            with torch.no_grad():
                targets = self._outputs(frozen, inputs["views"], under="target.")[1]
        own, predicted, aims = ((both[:, 0], both[:, 1]) for both in (embeddings, predictions, targets))
        prototypes, directions = parameters.get("prototypes.weight"), inputs.get("directions")
        return self._objective_of(Views(own, predicted, aims, prototypes, directions))

    # -- measuring ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Of held-out rows: loss on views of them, rank, collapse, response; the probe at the start and the end."""
        views, noise = self.data.held_out_views()
        inputs = {"views": views[..., : self.data.batch_size, :], "strength": self._strengths}
        losses = self.engine.losses(of_runs(inputs | self.data.held_out_directions()))
        loss = losses["loss"] + self._decays / 2 * squared_norm(self.model.parameters)
        representations, embeddings = self._measured(self.data.test_rows)
        spectra, ranks = ssl_measures.representation_measures(representations, embeddings)
        weights = [ssl_measures.exact(weight) for weight in weights_of(self.model.parameters, "encoder").values()]
        weight_spectra, weight_ranks = ssl_measures.weight_measures(weights)
        held_out = ranks | {"loss": loss, "objective": losses["objective"]}
        rows = ssl_measures.exact(self.data.test_rows)
        held_out["response_sensitivity"] = response_sensitivity(
            lambda moved: self._measured(moved.to(self._strengths.device))[0], rows, 0.1 * noise[:, 0].to(rows.device)
        )
        held_out |= self._class_metrics(representations, with_probe=step in (0, self.num_steps))
        values = on_rows("test", held_out) | {"penalty": losses["penalty"]}
        return values | weight_ranks, weight_spectra | spectra

    def _measured(self, rows: Tensor) -> list[Tensor]:
        """Representations and embeddings of every run, where float64 exists."""
        return [ssl_measures.exact(part) for part in self._outputs(self.model.parameters, rows)[:2]]

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
        train = self._measured(self.data.evaluated("train_rows"))[0]
        train_labels = ssl_measures.exact(self.data.evaluated("train_labels"))
        return values | ssl_measures.probe_metrics(train, train_labels, representations, labels)
