"""Encoder, projector, predictor and prototypes of the toy self-supervised experiments, written for ONE run."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from werank_core.config import ToySSLConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.models.mlp import MLP, initialize
from werank_core.streams import Purpose, seeded_generator


class SSLNetwork(nn.Module):
    """Encoder, then projector, then predictor: representations, embeddings and predictions of ONE run.

    Predictor and prototypes `(K, width)` exist where the objective needs them.
    """

    def __init__(self, config: ToySSLConfig, input_dimension: int) -> None:
        super().__init__()
        width, bias = config.width, config.bias and config.applies("bias")
        self.encoder = MLP([input_dimension] + [width] * config.depth, config.encoder, bias=bias)
        self.projector = MLP([width] * (config.projector_depth + 1), "relu", bias=bias)
        needed = OBJECTIVES[config.objective]
        hidden = [width, config.predictor_width, width] if needed.predictor else [width]
        self.predictor = MLP(hidden, "relu", bias=bias)
        if needed.prototypes:
            self.prototypes = nn.Linear(width, config.settings_of("objective")["num_prototypes"], bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(..., B, d)` -> representations, embeddings, predictions, each `(..., B, width)`."""
        representations = self.encoder(x)
        embeddings = self.projector(representations)
        return representations, embeddings, self.predictor(embeddings)


def new_networks(config: ToySSLConfig, d_in: int, dtype: torch.dtype) -> tuple[SSLNetwork, SSLNetwork]:
    """The network of a run's seed and its target: a copy, or one drawn from a stream of its own if it is "drawn"."""
    network = SSLNetwork(config, d_in).to(dtype)
    initialize(network, seeded_generator(Purpose.INITIALIZATION, config.model_seed), config.init)
    target = deepcopy(network)
    if OBJECTIVES[config.objective].target == "drawn":
        initialize(target, seeded_generator(Purpose.INITIALIZATION, config.model_seed, 1), config.init)
    return network, target
