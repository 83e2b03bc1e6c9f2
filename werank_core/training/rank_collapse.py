"""The `rank_collapse` experiment: classifiers trained with weight decay, their rank, collapse and certificate."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from werank_core.config import RankCollapseConfig
from werank_core.models.mlp import initialize
from werank_core.regularizers import layer_weights, total_penalty
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training import collapse_measures as measures
from werank_core.training import collapse_theory as theory
from werank_core.training import collapse_trace as tracing
from werank_core.training import loop
from werank_core.training.collapse_data import collapse_data
from werank_core.training.collapse_network import BatchOrder, evaluating, make_network, make_optimizer
from werank_core.training.collapse_trace import weights_of
from werank_core.training.loop import Arrays, Values
from werank_core.training.optim import StackedOptimizer, cosine_factor
from werank_core.training.recorder import Recorder, Workplace, on_rows
from werank_core.training.stacked import Runs, StackedModel, State, leaves, map_runs, per_run, place_runs, run_gradients
from werank_core.training.stacked_mlp import plain_mlp, stacked_mlp

# Numbers in the widest activation of the runs that step together: more leave the caches, fewer waste calls.
STEP_NUMBERS = 2**19
MEASURE_NUMBERS = 2**19
# Numbers in the widest activation of the test rows that go through the network together.
TEST_NUMBERS = 2**22
# Numbers in the weights of the runs whose matrices are measured together.
MATRIX_NUMBERS = 2**22
KEPT_NUMBERS = 2**26
EMPTY_LAYER = 1e-6


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
        modules = [make_network(self.config, self.data.shape).to(dtype) for _ in batch.runs]
        for module, config in zip(modules, batch.configs, strict=True):
            initialize(module, seeded_generator(Purpose.INITIALIZATION, config.model_seed), self.config.init)
        self.model = StackedModel(modules, device)
        self._optimizer = make_optimizer(batch, self.model.parameters)
        like = torch.empty(len(batch), device=device, dtype=dtype)
        fields = ("strength", "werank_strength", "cluster_noise", "learning_rate")
        self._decays, self._alphas, self._noise, self._rates = (per_run(batch.column(field), like) for field in fields)
        self._batch_size = min(self.config.batch_size or self.data.num_rows, self.data.num_rows)
        self._shapes = self.model.preactivation_shapes(self.data.train[0, :2])
        seeds = list(dict.fromkeys(batch.column("model_seed")))
        self._orders = [BatchOrder(seed, self.data.num_rows, self._batch_size) for seed in seeds]
        self._order_of_run = torch.tensor([seeds.index(seed) for seed in batch.column("model_seed")], device=device)
        self.stationary_at = torch.full((len(batch),), torch.nan, dtype=torch.float64, device=device)
        self._stopped = torch.zeros(len(batch), dtype=torch.bool, device=device)
        self._kept: dict[str, tuple[Tensor, Tensor]] = {}
        self._targets = theory.target_spectra(self.data)[self.data.of_run.cpu()] if self.config.closed_form else None
        self.twin: State = {}
        if self.config.centroid_loss:
            self.twin = {name: p.detach().clone() for name, p in self.model.parameters.items()}
            self._twin_optimizer = make_optimizer(batch, self.twin)

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, step: int) -> None:
        """One stacked optimizer step, a block of runs at a time."""
        factor = cosine_factor(step, self.config.steps) if self.config.schedule == "cosine" else 1.0
        order = torch.stack([order.rows(step) for order in self._orders]).to(self._stopped.device)
        gradients: State = {}
        for runs in self._blocks(STEP_NUMBERS, self._batch_size):
            rows, labels = self._batch(runs, order)
            weights = rows.new_full(labels.shape, 1 / labels.shape[1])
            buffers = {name: b[runs] for name, b in self.model.buffers.items()}
            parts = self._gradients(leaves(self.model.parameters, runs), buffers, runs, rows, labels, weights)
            place_runs(gradients, parts, runs, len(self._stopped))
            for name, buffer in buffers.items():
                self.model.buffers[name][runs] = buffer
        self._step(self._optimizer, gradients, factor)
        if self.twin:
            self._advance_twin(factor)

    @torch.no_grad()
    def _step(self, optimizer: StackedOptimizer, gradients: State, factor: float) -> None:
        """AdamW first shrinks the weights by 1 − η λ, then every optimizer takes its step."""
        if not self.config.coupled:
            for weight in weights_of(optimizer.parameters).values():
                weight.mul_(1 - factor * per_run(self._rates, weight) * per_run(self._decays, weight))
        optimizer.step(gradients, factor)

    def _blocks(self, numbers: int, num_rows: int) -> Iterator[Runs]:
        """The runs still training, as many together as `numbers` allow; a slice of neighbours, which copies nothing."""
        active = (~self._stopped).nonzero()[:, 0]
        for runs in torch.split(active, self._block_size(numbers, num_rows)):
            if len(runs):
                first, last = int(runs[0]), int(runs[-1])
                yield slice(first, last + 1) if last - first + 1 == len(runs) else runs

    def _block_size(self, numbers: int, num_rows: int) -> int:
        widest = max(self.data.train.shape[-1], *(shape.numel() for shape in self._shapes))
        return max(1, numbers // (num_rows * widest))

    def _batch(self, runs: Runs, order: Tensor) -> tuple[Tensor, Tensor]:
        """Rows `(R', B, d)` and labels `(R', B)`; a full batch of moderate size is gathered once."""
        if self._batch_size < self.data.num_rows or self.data.train[0].numel() * len(self._stopped) > KEPT_NUMBERS:
            return self.data.batch(runs, order[self._order_of_run[runs]])
        key = repr(runs if isinstance(runs, slice) else runs.tolist())
        if key not in self._kept:
            self._kept[key] = self.data.batch(runs, order[self._order_of_run[runs]])
        return self._kept[key]

    def _gradients(
        self, state: State, buffers: State, runs: Runs, rows: Tensor, labels: Tensor, weights: Tensor
    ) -> State:
        """Gradient of Σ_i w_i loss_i + α Σ werank(W_l) + λ/2 Σ ‖W_l‖² (the last for coupled decay)."""
        outputs = self._outputs(state | buffers, rows)
        loss = (weights * tracing.sample_losses(outputs, labels, self.config.loss)).sum(-1)
        if self._alphas.any():
            loss = loss + self._alphas[runs] * self._penalty(state)
        gradients = run_gradients(loss, state)
        if self.config.coupled:
            for name in weights_of(state):
                gradients[name].addcmul_(per_run(self._decays[runs], state[name]), state[name].detach())
        return gradients

    def _outputs(self, state: State, rows: Tensor) -> Tensor:
        """`(R', B, K)` in the skeleton's mode, training or evaluating."""
        if plain := plain_mlp(self.model.skeleton):
            return stacked_mlp(plain, state, rows)
        outputs: Tensor = map_runs(self.model.call, state, rows)
        return outputs

    def _penalty(self, state: State) -> Tensor:
        """Σ ‖G_l − I‖_F over hidden layers, G_l as `werank_gram` says, `(R,)`; 0 without one."""
        hidden = [weight.flatten(2) for weight in weights_of(state).values()][:-1]
        if not hidden:
            return self._decays.new_zeros(len(next(iter(state.values()))))
        return total_penalty(hidden, "werank", layer_weights("uniform", len(hidden)), self.config.werank_gram)

    def _advance_twin(self, factor: float) -> None:
        """The same step on the class means, weighted n_k/N."""
        means, shares = self.data.centroids
        runs = torch.arange(len(self._stopped), device=self._stopped.device)
        split = self.data.of_run
        labels = torch.arange(self.data.num_classes, device=split.device).expand(len(runs), -1)
        buffers = {name: b.clone() for name, b in self.model.buffers.items()}
        gradients = self._gradients(leaves(self.twin, runs), buffers, runs, means[split], labels, shares[split])
        self._step(self._twin_optimizer, gradients, factor)

    # -- measuring ----------------------------------------------------------------------------------------------

    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Loss, certificate, spectra, collapse and accuracy of every run; at the end also compression."""
        runs = torch.arange(len(self._stopped), device=self._stopped.device)
        size = max(1, MATRIX_NUMBERS // sum(weight[0].numel() for weight in self.model.weights()))
        parts = [self._measure_block(block) for block in torch.split(runs, size)]
        values: Values = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
        arrays: Arrays = {key: torch.cat([part[1][key] for part in parts]) for key in parts[0][1]}
        values |= self._theory_metrics(arrays)
        self._note_stationary(step, values)
        if step >= self.num_steps:
            for part in (self._truncations(), self._twin_spectra()):
                values |= part[0]
                arrays |= part[1]
        return values, arrays

    @torch.no_grad()
    def _measure_block(self, runs: Tensor) -> tuple[Values, Arrays]:
        size = self._block_size(MEASURE_NUMBERS, self.data.evaluation.shape[1])
        found: tracing.Summary = tracing.joined([self._summary(block) for block in torch.split(runs, size)])
        state = self._state_of(runs)
        weights = [weight.flatten(2) for weight in weights_of(state).values()]
        spectra = measures.weight_spectra(weights)
        penalty = self._penalty(state)
        seen = self._losses(found.objective, penalty, state, runs) | {"accuracy": found.accuracy}
        seen |= measures.certificate_metrics(weights, spectra, found, self._decays[runs])
        seen |= measures.gradient_metrics(found.gradients)
        ranks, arrays = measures.representation_metrics(found, weights[-1])
        values = on_rows("train", measures.named_by_clusters(seen | ranks, self.config.clusters)) | {"penalty": penalty}
        values |= on_rows("test", {"accuracy": self._test_accuracy(state, runs)})
        values |= measures.spectrum_metrics(spectra, self.config.target_rank)
        arrays |= {("weight_spectrum", layer): s for layer, s in enumerate(spectra, start=1)}
        return values, arrays

    def _summary(self, runs: Tensor) -> tracing.Summary:
        """One pass over the evaluated rows."""
        config = self.config
        rows, labels = self.data.batch(runs, self.data.evaluation[self.data.of_run[runs]])
        clusters = self.data.clusters[self.data.of_run[runs]] if config.clusters == "kmeans" else labels
        with torch.enable_grad():
            found = tracing.trace(self.model, self._state_of(runs), rows, labels, config.loss, self._shapes)
        return tracing.summary(found, labels, clusters, config.target_rank, self._batch_size)

    def _state_of(self, runs: Tensor) -> State:
        """A detached copy of parameters and buffers."""
        return {name: t.detach()[runs] for name, t in (self.model.parameters | self.model.buffers).items()}

    def _losses(self, objective: Tensor, penalty: Tensor, state: State, runs: Tensor) -> Values:
        loss = objective + self._alphas[runs] * penalty
        if self.config.coupled:
            norms = torch.stack([weight.square().flatten(1).sum(1) for weight in weights_of(state).values()]).sum(0)
            loss = loss + self._decays[runs] / 2 * norms
        return {"loss": loss, "objective": objective}

    def _test_accuracy(self, state: State, runs: Tensor) -> Tensor:
        """`(R',)`, a block of the runs at a time and a few rows of them, which do not meet in eval mode."""
        size, shares = self._block_size(MEASURE_NUMBERS, self.data.test.shape[1]), []
        num_rows = self._block_size(TEST_NUMBERS, size)
        for start in range(0, len(runs), size):
            block = slice(start, start + size)
            split, own = self.data.of_run[runs[block]], {name: t[block] for name, t in state.items()}
            with evaluating(self.model.skeleton):
                outputs = [self._outputs(own, rows[split]) for rows in torch.split(self.data.test, num_rows, 1)]
            shares.append(tracing.accuracy(torch.cat(outputs, 1), self.data.test_labels[split]))
        return torch.cat(shares)

    @torch.no_grad()
    def _theory_metrics(self, arrays: Arrays) -> Values:
        values: Values = {}
        weights = [weight.detach() for weight in self.model.weights()]
        if self._targets is not None:
            arrays["target_spectrum", 0], arrays["product_spectrum", 0] = (
                self._targets,
                theory.product_spectrum(weights),
            )
            values["closed_form_error"] = theory.closed_form_error(
                arrays["product_spectrum", 0], self._targets, self._decays, self.config.depth, self.config.narrowest
            )
        if self.config.dataset == "mixture" and self.config.clusters == "labels" and not self.config.whitened:
            linear = self.config.activation == "linear" and not self.config.batch_norm
            values["train/expected_layer_tcv"] = theory.expected_layer_tcv(
                self.data, weights, self._noise, linear=linear
            )
        if self.twin:
            values["centroid_distance"] = theory.centroid_distance(self.model.parameters, self.twin)
        return {name: value.to(self._stopped.device) for name, value in values.items()}

    def _note_stationary(self, step: int, values: Values) -> None:
        """Freeze runs that satisfy the eigenvalue equation in every layer, and the diverged; all frozen is the end.

        A layer that decay has emptied counts as stationary: its direction is rounding. λ = 0 never is. Frozen run by
        run, so that a run's numbers do not depend on the others of its batch.
        """
        if not self.config.stop_cosine:
            return
        empty = values["weight_norm"] < EMPTY_LAYER
        stationary = ((values["train/eigenvalue_cosine"] > self.config.stop_cosine) | empty).all(-1)
        stationary &= self._decays > 0
        self.stationary_at = torch.where(stationary & self.stationary_at.isnan(), step, self.stationary_at)
        values["stationary_at"] = self.stationary_at.clone()
        self._freeze(~self.stationary_at.isnan() | ~values["train/loss"].isfinite())
        if self._stopped.all():
            self.num_steps = min(self.num_steps, step)

    def _freeze(self, runs: Tensor) -> None:
        self._stopped = self._stopped | runs
        self._optimizer.stop(self._stopped)
        self._kept.clear()
        if self.twin:
            self._twin_optimizer.stop(self._stopped)

    @torch.no_grad()
    def _truncations(self) -> tuple[Values, Arrays]:
        runs = torch.arange(len(self._stopped), device=self._stopped.device)
        return measures.truncations(self.model, self._state_of(runs), lambda state: self._test_accuracy(state, runs))

    @torch.no_grad()
    def _twin_spectra(self) -> tuple[Values, Arrays]:
        spectra = measures.weight_spectra([weight.flatten(2) for weight in weights_of(self.twin).values()])
        return {}, {("centroid_weight_spectrum", layer): s for layer, s in enumerate(spectra, start=1)}

    # -- checkpoints --------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Parameters, buffers, optimizer and twin; batches follow from the step alone."""
        tensors = {"stationary_at": self.stationary_at, "stopped": self._stopped.to(torch.uint8)}
        for prefix, part in self._saved().items():
            tensors |= {f"{prefix}.{name}": tensor for name, tensor in part.items()}
        return tensors

    def _saved(self) -> dict[str, State]:
        saved = {"parameters": self.model.parameters, "buffers": self.model.buffers, "optimizer": self._optimizer.state}
        return saved | ({"twin": self.twin, "twin_optimizer": self._twin_optimizer.state} if self.twin else {})

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Undo a stop."""
        for prefix, part in self._saved().items():
            for name, tensor in part.items():
                tensor.copy_(state[f"{prefix}.{name}"])
        self.stationary_at = state["stationary_at"].to(self.stationary_at)
        if state["stopped"].any():
            self._freeze(state["stopped"].bool().to(self._stopped.device))
