"""An MLP of R runs without `vmap`: the hot path of fully connected networks, equal to it up to rounding.

`vmap` turns a linear layer into a product and an addition and keeps what ReLU saw; here the product adds the bias and
ReLU works in place, which makes a training step of small networks about a third shorter.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from werank_core.models.mlp import MLP


class _ReLULayer(torch.autograd.Function):
    """max(x Wᵀ + b, 0) on stacked runs: x (R, B, d_in), W (R, d_out, d_in), b (R, 1, d_out)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.baddbmm(bias, x, weight.mT).relu_()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1], output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight, output = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(grad_outputs[0], output, 0)
        for_x = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return for_x, torch.bmm(gradient.mT, x), gradient.sum(1, keepdim=True)


def plain_mlp(module: nn.Module) -> MLP | None:
    """The module if `stacked_mlp` serves it: an MLP without BatchNorm."""
    return module if isinstance(module, MLP) and all(isinstance(n, nn.Identity) for n in module.norms) else None


def stacked_mlp(module: MLP, state: Mapping[str, Tensor], rows: Tensor) -> Tensor:
    """The MLP's output for every run.

    Args:
        module: the skeleton; its own parameters are not used.
        state: stacked parameters by the module's names.
        rows: `(R, B, d)`.
    Returns: `(R, B, K)`.
    """
    last = len(module.layers) - 1
    for index in range(last + 1):
        weight = state[f"layers.{index}.weight"]
        bias = state.get(f"layers.{index}.bias")
        if bias is not None and index < last and isinstance(module.activation, nn.ReLU):
            rows = _ReLULayer.apply(rows, weight, bias[:, None])  # type: ignore[no-untyped-call]
            continue
        rows = rows @ weight.mT if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
        rows = module.activation(rows) if index < last else rows
    return rows


def traced_mlp(
    module: MLP, state: Mapping[str, Tensor], rows: Tensor
) -> tuple[Tensor, list[Tensor], list[GradientEdge]]:
    """As `stacked_mlp`, with every layer's input, and its pre-activation for `autograd.grad` to differentiate by.

    Args: as `stacked_mlp`; state and rows detached.
    """
    # an edge stays that of the pre-activation when ReLU writes over it
    activation = torch.relu_ if isinstance(module.activation, nn.ReLU) else module.activation
    inputs: list[Tensor] = []
    edges: list[GradientEdge] = []
    out = rows.detach().requires_grad_()
    for index in range(len(module.layers)):
        inputs.append(activation(out) if index else out)
        weight, bias = state[f"layers.{index}.weight"], state.get(f"layers.{index}.bias")
        out = inputs[-1] @ weight.mT if bias is None else torch.baddbmm(bias[:, None], inputs[-1], weight.mT)
        edges.append(get_gradient_edge(out))
    return out, inputs, edges
