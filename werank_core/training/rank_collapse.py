"""The `rank_collapse` experiment: classifiers trained with weight decay, their rank, collapse and certificate."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from werank_core.config import RankCollapseConfig
from werank_core.metrics.rank import singular_values
from werank_core.models.cnn import make_classifier
from werank_core.models.mlp import initialize
from werank_core.regularizers import layer_weights, total_penalty
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training import collapse_measures as measures
from werank_core.training import collapse_theory as theory
from werank_core.training import loop
from werank_core.training.checkpoints import Tree
from werank_core.training.collapse_data import CollapseBatches, collapse_data
from werank_core.training.collapse_trace import Passes, sample_losses
from werank_core.training.engine import Engine, Inputs, constant
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import Decay, cosine_factor, make_optimizer
from werank_core.training.recorder import Recorder, Workplace
from werank_core.training.run_blocks import of_runs
from werank_core.training.stacked import StackedModel, State, squared_norm, weights_of

# Numbers in the widest activation of the runs that step together: more leave the caches, fewer waste calls.
STEP_NUMBERS = 2**19


def train(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Train a batch of `rank_collapse` runs; True when it reached the end."""
    return loop.train(RankCollapse(batch, place.device, folder=place.data_folder), batch, recorder, place)


class RankCollapse:
    """All runs of a batch; the loop's task."""

    def __init__(
        self, batch: RunBatch, device: str = "cpu", dtype: torch.dtype = torch.float32, folder: Path = Path("data")
    ) -> None:
        self.config: RankCollapseConfig = batch.config
        self.num_steps = self.config.num_steps
        self.data = collapse_data(batch.configs, folder, device, dtype)
        modules = [make_classifier(self.config, self.data.shape).to(dtype) for _ in batch.runs]
        for module, config in zip(modules, batch.configs, strict=True):
            initialize(module, seeded_generator(Purpose.INITIALIZATION, config.model_seed), self.config.init)
        self.model = StackedModel(modules, device)
        self._decays, self._alphas = (
            torch.tensor(batch.column(name), device=device, dtype=dtype) for name in ("strength", "werank_strength")
        )
        self._penalised = any(batch.column("werank_strength"))
        self._batches = CollapseBatches(self.data, batch.column("model_seed"), self.config.batch_size)
        self.passes = Passes(self.model, self.data, self.config)
        size = self.passes.size(STEP_NUMBERS, self._batches.size)
        self.engine = self._new_engine(batch, self.model, size)
        self.twin = self._new_engine(batch, self.model.twin(), len(batch)) if self.config.centroid_loss else None
        if self.twin:
            self.twin.stopped = self.engine.stopped
        self.stationary_at = torch.full((len(batch),), torch.nan, dtype=torch.float64, device=device)
        noise = torch.tensor(batch.column("cluster_noise"), device=device, dtype=dtype)
        self._theory = theory.Theory(self.config, self.data, noise)

    def _new_engine(self, batch: RunBatch, model: StackedModel, size: int) -> Engine:
        decay = Decay(batch.column("strength"), weights_of(model.parameters).keys(), coupled=self.config.coupled)
        rate = partial(cosine_factor, total=self.config.steps) if self.config.schedule == "cosine" else constant
        optimizer = make_optimizer(batch, model.parameters, decay)
        return Engine(model, optimizer, [self._loss] * len(batch), size, rate=rate)

    @property
    def tree(self) -> Tree:
        """What a checkpoint keeps; batches follow from the step alone."""
        twin: Tree = self.twin.tree if self.twin else {}
        return {"engine": self.engine.tree, "twin": twin, "stationary_at": self.stationary_at}

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One optimizer step of every run that still trains, and of its twin on the class means, weighted n_k/N."""
        self.engine.step(step, self.inputs(step))
        if self.twin:
            self.twin.step(step, of_runs(self.data.centroids | {"alpha": self._alphas}))

    def inputs(self, step: int) -> Inputs:
        """Rows of a step, their labels and weights, and WERank's strength."""
        rows = self._batches.at(step)
        return lambda block: rows(block) | {"alpha": self._alphas[block.runs]}

    def _loss(self, parameters: State, frozen: State, inputs: State) -> State:
        """Σ_i w_i loss_i + α Σ werank(W_l)."""
        outputs = self.model.outputs(parameters | frozen, inputs["rows"])
        loss = (inputs["weights"] * sample_losses(outputs, inputs["labels"], self.config.loss)).sum(-1)
        return {"loss": loss + inputs["alpha"] * self._penalty(parameters) if self._penalised else loss}

    def _penalty(self, parameters: State) -> Tensor:
        """Σ ‖G_l − I‖_F over hidden layers, G_l as `werank_gram` says, `(R,)`; 0 without one."""
        hidden = list(weights_of(parameters).values())[:-1]
        if not hidden:
            return self._decays.new_zeros(len(next(iter(parameters.values()))))
        return total_penalty(hidden, "werank", layer_weights("uniform", len(hidden)), self.config.werank_gram)

    # -- measuring ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Loss, certificate, spectra, collapse and accuracy of every run; at the end also compression."""
        parameters = self.model.parameters
        values, arrays = measures.measures(self.passes, self._decays)
        values["penalty"] = self._penalty(parameters)
        values["train/loss"] = values["train/objective"] + self._alphas * values["penalty"]
        if self.config.coupled:
            values["train/loss"] = values["train/loss"] + self._decays / 2 * squared_norm(parameters)
        parts = [self._theory.metrics(parameters, self._decays)]
        if self.twin:
            values["centroid_distance"] = theory.centroid_distance(parameters, self.twin.parameters)
        self._note_stationary(step, values)
        if step >= self.num_steps:
            parts.append(measures.truncations(self.passes))
            twin = weights_of(self.twin.parameters).values() if self.twin else []
            arrays |= {("centroid_weight_spectrum", layer): singular_values(w) for layer, w in enumerate(twin, start=1)}
        for more, spectra in parts:
            values, arrays = values | more, arrays | spectra
        return values, arrays

    def _note_stationary(self, step: int, values: Values) -> None:
        """Stop runs that are stationary, which λ = 0 never is, and the diverged; all stopped is the end.

        Run by run, so that a run's numbers do not depend on the others of its batch.
        """
        if not self.config.stop_cosine:
            return
        reached = measures.is_stationary(values, self.config.stop_cosine) & (self._decays > 0)
        self.stationary_at.copy_(torch.where(reached & self.stationary_at.isnan(), step, self.stationary_at))
        values["stationary_at"] = self.stationary_at.clone()
        self.engine.stopped |= (~self.stationary_at.isnan() | ~values["train/loss"].isfinite()).cpu()
        if self.engine.stopped.all():
            self.num_steps = min(self.num_steps, step)
