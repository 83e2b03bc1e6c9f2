"""Fully connected networks: deep linear, ReLU, tanh or GELU, written for ONE run."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["linear", "relu", "tanh", "gelu"]
Init = Literal["default", "he", "orthogonal", "decaying", "aligned"]

ACTIVATIONS = {"linear": nn.Identity, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
DECAY = 0.35


class MLP(nn.Module):
    """z_l = σ(W_l z_{l-1} + b_l), the last layer without σ.

    Args:
        sizes: widths from input to output; `len(sizes) - 1` weight layers. One size alone is the identity.
        activation: σ; "linear" makes a deep linear network.
        bias: whether b_l exists.
        batch_norm: whether every layer but the last is normalised before σ; BatchNorm would subtract b_l again, so
            these layers have none.
    """

    def __init__(
        self, sizes: Sequence[int], activation: Activation = "relu", *, bias: bool = True, batch_norm: bool = False
    ) -> None:
        super().__init__()
        last = len(sizes) - 2
        self.layers = nn.ModuleList(
            nn.Linear(d_in, d_out, bias=bias and (layer == last or not batch_norm))
            for layer, (d_in, d_out) in enumerate(pairwise(sizes))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) if batch_norm else nn.Identity() for width in sizes[1:-1])
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """`(..., B, d_in)` -> `(..., B, d_out)`."""
        for index, layer in enumerate(self.layers):
            x = layer(x) if index == 0 else layer(self.activation(self.norms[index - 1](x)))
        return x


def initialize(module: nn.Module, generator: torch.Generator, init: Init = "default") -> None:
    """Draw every linear and convolution layer of a module, in order, from the generator.

    default: PyTorch's own, U(-1/√d_in, 1/√d_in), biases too. The others start biases at 0. he: N(0, 2/d_in) (He et al.
    2015). orthogonal: (semi-)orthogonal. aligned: U diag(exp(-0.35 i)) Vᵀ with the singular vectors of a matrix that is
    uniform on [0, 1): the top ones are nearly constant vectors in every layer, so layers start aligned there (the
    over-parametrised case in the code of Jing et al. 2022, rate included). decaying: the same singular values, U and V
    orthogonal at random (Haar; ours). A convolution counts as its (c_out, c_in·k·k) matrix.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            _initialize_layer(layer, generator, init)


@torch.no_grad()
def _initialize_layer(layer: nn.Linear | nn.Conv2d, generator: torch.Generator, init: Init) -> None:
    matrix = layer.weight.flatten(1)
    d_out, d_in = matrix.shape
    bound = 1 / math.sqrt(d_in)
    if init == "default":
        matrix.uniform_(-bound, bound, generator=generator)
    elif init == "he":
        matrix.normal_(0, math.sqrt(2) * bound, generator=generator)
    elif init == "orthogonal":
        nn.init.orthogonal_(matrix, generator=generator)
    else:
        matrix.copy_(_decaying_matrix(d_out, d_in, generator, aligned=init == "aligned"))
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=generator) if init == "default" else layer.bias.zero_()


def _decaying_matrix(d_out: int, d_in: int, generator: torch.Generator, *, aligned: bool) -> Tensor:
    """U diag(exp(-0.35 i)) Vᵀ, U and V of a uniform random matrix or orthogonal at random."""
    size = min(d_out, d_in)
    decay = torch.exp(-DECAY * torch.arange(size))
    if aligned:
        drawn = torch.rand(d_out, d_in, generator=generator)
        left, _, right = torch.linalg.svd(drawn.double(), full_matrices=False)
        matrix: Tensor = left * decay @ right
        return matrix
    left = nn.init.orthogonal_(torch.empty(d_out, size), generator=generator)
    right = nn.init.orthogonal_(torch.empty(d_in, size), generator=generator)
    return left * decay @ right.T
