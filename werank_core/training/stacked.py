"""Many runs as one model: the only room that knows how parameters are stacked and functions mapped over runs.

Leading axis R = run. Nothing here or in what is mapped reduces across R, so a slice of a batch equals the solo run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

State = dict[str, Tensor]
Runs = Tensor | slice
"""Run numbers `(R',)`, or neighbours as a slice."""


class StackedModel:
    """R copies of one module: stacked parameters and buffers, and a skeleton to call them through.

    Attributes:
        parameters: name -> `(R, ...)`, leaves that require gradients.
        buffers: name -> `(R, ...)`: BatchNorm statistics per run.
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device | str = "cpu") -> None:
        self.skeleton = modules[0].to(device)
        stacked, buffers = stack_module_state([module.to(device) for module in modules])
        self.parameters: State = {name: p.detach().clone().requires_grad_() for name, p in stacked.items()}
        self.buffers: State = {name: b.detach().clone() for name, b in buffers.items()}

    def weights(self, prefix: str = "") -> list[Tensor]:
        """Weights `(R, d_out, d_in)` under a prefix, in layer order, conv kernels as `(R, c_out, c_in·k·k)`.

        No biases, norms or slopes: those are never penalised.
        """
        return [
            p.flatten(2)
            for name, p in self.parameters.items()
            if name.startswith(prefix) and name.endswith("weight") and p.ndim >= 3
        ]

    def call(self, state: Mapping[str, Tensor], *inputs: Any) -> Any:
        """The module's output for ONE run's parameters (inside `map_runs`)."""
        return functional_call(self.skeleton, dict(state), inputs)

    @property
    def weight_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """The skeleton's layers that have a weight matrix, in the order of `weights`."""
        return [layer for layer in self.skeleton.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]

    def traced(self, state: Mapping[str, Tensor], probes: Sequence[Tensor], *inputs: Any) -> tuple[Any, list[Tensor]]:
        """As `call`, with `probes` added to the layers' pre-activations; also every layer's input.

        At probes of 0 the output is unchanged, and its gradient with respect to a probe is the one with respect to that
        pre-activation: inside `map_runs` an intermediate tensor itself cannot be differentiated by.
        """
        layer_inputs: dict[int, Tensor] = {}

        def keep(index: int, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            layer_inputs[index] = arguments[0]
            return output + probes[index]

        handles = [
            layer.register_forward_hook(lambda _, arguments, output, index=index: keep(index, arguments, output))
            for index, layer in enumerate(self.weight_layers)
        ]
        try:
            output = self.call(state, *inputs)
        finally:
            for handle in handles:
                handle.remove()
        return output, [layer_inputs[index] for index in range(len(handles))]

    def preactivation_shapes(self, rows: Tensor) -> list[torch.Size]:
        """Shape of every weight layer's output for ONE of the given rows `(B, d)`; leaves no trace in the buffers."""
        shapes: dict[int, torch.Size] = {}
        state = {name: t[0].detach().clone() for name, t in (self.parameters | self.buffers).items()}
        layers = self.weight_layers
        handles = [
            layer.register_forward_hook(lambda _, __, output, index=index: shapes.update({index: output.shape[1:]}))
            for index, layer in enumerate(layers)
        ]
        with torch.no_grad():
            self.call(state, rows)
        for handle in handles:
            handle.remove()
        return [shapes[index] for index in range(len(layers))]


def map_runs(function: Callable[..., Any], *arguments: Any, in_dims: Any = 0) -> Any:
    """The function of one run, applied to all runs: every tensor of `arguments` carries the run axis first."""
    return vmap(function, in_dims=in_dims, randomness="error")(*arguments)


def leaves(parameters: State, runs: Runs) -> State:
    """The parameters of some runs, as leaves that require gradients."""
    return {name: p.detach()[runs].requires_grad_() for name, p in parameters.items()}


def place_runs(whole: State, parts: State, runs: Runs, num_runs: int) -> None:
    """Put the gradients of some runs in their places; zeros elsewhere."""
    for name, part in parts.items():
        if len(part) == num_runs:
            whole[name] = part
        else:
            whole.setdefault(name, part.new_zeros(num_runs, *part.shape[1:]))[runs] = part


def run_gradients(losses: Tensor, parameters: State) -> State:
    """Gradient of every run's loss with respect to its own parameters: one backward pass of the sum.

    Runs share nothing, so the gradient of Σ_r L_r is each L_r's own; a NaN loss touches its own slice only.
    """
    gradients = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(parameters.items(), gradients, strict=True)
    }


def per_run(values: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """One number a run, `(R, 1, ...)`, shaped to multiply `like` `(R, ...)`."""
    column = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return column.reshape(-1, *(1,) * (like.ndim - 1))
