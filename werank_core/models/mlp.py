"""Fully connected networks: deep linear, ReLU, tanh or GELU, written for ONE run."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["linear", "relu", "tanh", "gelu"]
Init = Literal["default", "orthogonal", "decaying"]

ACTIVATIONS = {"linear": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
DECAY = 0.35


class MLP(nn.Module):
    """z_l = σ(W_l z_{l-1} + b_l), the last layer without σ.

    Args:
        sizes: widths from input to output; `len(sizes) - 1` weight layers. One size alone is the identity.
        activation: σ; "linear" makes a deep linear network.
        bias: whether b_l exists.
    """

    def __init__(self, sizes: Sequence[int], activation: Activation = "relu", *, bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(d_in, d_out, bias=bias) for d_in, d_out in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """`(..., B, d_in)` -> `(..., B, d_out)`."""
        for index, layer in enumerate(self.layers):
            x = layer(x) if index == 0 else layer(self.activation(x))
        return x


def initialize(module: nn.Module, generator: torch.Generator, init: Init = "default") -> None:
    """Draw every linear layer of a module, in order, from the generator; biases start uniform ("default") or at 0.

    default: PyTorch's own, U(-1/√d_in, 1/√d_in). orthogonal: (semi-)orthogonal. decaying: U diag(exp(-0.35 i)) Vᵀ with
    random orthogonal U, V, the over-parametrised case of Jing et al. 2022 (rate is ours).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            _initialize_linear(layer, generator, init)


@torch.no_grad()
def _initialize_linear(layer: nn.Linear, generator: torch.Generator, init: Init) -> None:
    bound = 1 / math.sqrt(layer.in_features)
    if init == "default":
        layer.weight.uniform_(-bound, bound, generator=generator)
    elif init == "orthogonal":
        nn.init.orthogonal_(layer.weight, generator=generator)
    else:
        layer.weight.copy_(_decaying_matrix(layer.out_features, layer.in_features, generator))
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=generator) if init == "default" else layer.bias.zero_()


def _decaying_matrix(d_out: int, d_in: int, generator: torch.Generator) -> Tensor:
    size = min(d_out, d_in)
    left = nn.init.orthogonal_(torch.empty(d_out, size), generator=generator)
    right = nn.init.orthogonal_(torch.empty(d_in, size), generator=generator)
    return left * torch.exp(-DECAY * torch.arange(size)) @ right.T
