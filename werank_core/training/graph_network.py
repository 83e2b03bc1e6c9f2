"""Encoder, head and objective of ONE graph run, as a function of its parameters: what a batch maps over."""

from collections.abc import Mapping, Sequence
from copy import copy

import torch
from torch import Tensor, nn

from werank_core.config.graph import GraphConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.models.gcn import GCNEncoder, Predictor, reset_parameters
from werank_core.models.graph_view import AugmentableGraph, GraphView
from werank_core.objectives import Views
from werank_core.streams import Purpose, stream_seed
from werank_core.training.ssl_losses import objective_of, penalty_of
from werank_core.training.stacked import CallableWith, State


class GraphNetwork(nn.Module):
    """GCN encoder and head: representations, and embeddings or, where the objective has a predictor, predictions."""

    def __init__(self, config: GraphConfig, d_in: int) -> None:
        super().__init__()
        width, short = config.output_width, config.bfloat16
        # Barlow Twins divides by the scale of each unit: without a head the last norm's has no gradient but ε's
        last_scale = config.objective != "barlow_twins" or config.head_width > 0
        needed = OBJECTIVES[config.objective]
        options = {"bias": not needed.shift_invariant, "bfloat16": short}
        self.encoder = GCNEncoder(d_in, config.widths, config.norm, last_scale=last_scale, **options)
        self.head: nn.Module = nn.Identity()
        if config.head_width:
            self.head = Predictor(width, config.head_width, width, **options)
        if needed.prototypes:
            self.prototypes = nn.Linear(width, config.settings_of("objective")["num_prototypes"], bias=False)

    def forward(self, view: GraphView) -> tuple[Tensor, Tensor]:
        """Representations and what the head makes of them, each (N, output_width)."""
        representations = self.encoder(view)
        return representations, self.head(representations)


def new_networks(config: GraphConfig, d_in: int, seed: int) -> tuple[GraphNetwork, GCNEncoder]:
    """The online network of a seed and its target encoder: a copy, or drawn after it, as the objective wants it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(Purpose.INITIALIZATION, seed))
        network = GraphNetwork(config, d_in)
        target = GCNEncoder(d_in, config.widths, config.norm, bfloat16=config.bfloat16)
        reset_parameters(target)
    if OBJECTIVES[config.objective].target == "copied":
        target.load_state_dict(network.encoder.state_dict())
    return network, target


class GraphLoss:
    """L = objective(view 1, view 2) + α Σ w_l penalty(W_l) of one run, from its tensors.

    `frozen` holds the running statistics and, where there is one, the target encoder under "target.".
    """

    def __init__(self, config: GraphConfig, graph: AugmentableGraph, network: GraphNetwork, target: GCNEncoder) -> None:
        self._config, self._graph = config, graph
        self._network, self._target = CallableWith(network), CallableWith(target)
        self._needs, self._objective_of = OBJECTIVES[config.objective], objective_of(config)
        self._penalised = True

    def without_penalty(self) -> "GraphLoss":
        """The same loss that never computes the penalty, to measure what it costs."""
        bare = copy(self)
        bare._penalised = False
        return bare

    def __call__(self, parameters: State, frozen: State, inputs: Mapping[str, Tensor]) -> State:
        """Named scalars: loss, objective, penalty."""
        views = [self._graph.view_of(_under(f"view_{i}.", inputs)) for i in (1, 2)]
        objective = self._objective(parameters, frozen, views, inputs.get("directions"))
        if not self._penalised:
            return {"loss": objective}
        penalty = self._penalty(parameters)
        return {"loss": objective + inputs["strength"] * penalty, "objective": objective, "penalty": penalty}

    def _objective(
        self, parameters: State, frozen: State, views: Sequence[GraphView], directions: Tensor | None
    ) -> Tensor:
        """Of the head's embeddings; with a predictor, of representations and what the head predicts from them."""
        state = _laid_out(parameters | frozen, "encoder.")
        (own_1, out_1), (own_2, out_2) = (self._network(state, view) for view in views)
        prototypes = parameters.get("prototypes.weight")
        if not self._needs.predictor:
            return self._objective_of(Views((out_1, out_2), prototypes=prototypes, directions=directions))
        targets = own_1.detach(), own_2.detach()
        if self._needs.has_target_network:
            with torch.no_grad():  # the target's BatchNorm runs in training mode
                state = _laid_out(frozen, "target.")
                targets = self._target(state, views[0], under="target."), self._target(state, views[1], under="target.")
        return self._objective_of(Views((own_1, own_2), (out_1, out_2), targets, prototypes, directions))

    def _penalty(self, parameters: State) -> Tensor:
        convolutions = [parameters[f"encoder.convolutions.{layer}.weight"] for layer in range(self._config.depth)]
        head = ["head.first.weight", "head.second.weight"] if self._config.head_width else []
        return penalty_of(self._config, convolutions, [parameters[name] for name in head])


def _laid_out(state: State, prefix: str) -> State:
    """The state with the first layer's weight in column-major order, as a product with sparse features reads it.

    Once for both views; each of them would copy it otherwise, and copy its gradient back.
    """
    name = f"{prefix}convolutions.0.weight"
    return state | {name: state[name].mT.contiguous().mT}


def _under(prefix: str, state: Mapping[str, Tensor]) -> State:
    """The entries under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
