"""Many runs as one model: the only room that knows how parameters are stacked and functions mapped over runs.

Leading axis R = run. Nothing here or in what is mapped reduces across R, so a slice of a batch equals the solo run.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

State = dict[str, Tensor]


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


def map_runs(function: Callable[..., Any], *arguments: Any, in_dims: Any = 0) -> Any:
    """The function of one run, applied to all runs: every tensor of `arguments` carries the run axis first."""
    return vmap(function, in_dims=in_dims, randomness="error")(*arguments)


def run_gradients(losses: Tensor, parameters: State) -> State:
    """Gradient of every run's loss with respect to its own parameters: one backward pass of the sum.

    Runs share nothing, so the gradient of Σ_r L_r is each L_r's own; a NaN loss touches its own slice only.
    """
    gradients = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(parameters.items(), gradients, strict=True)
    }


def per_run(values: Sequence[float], like: Tensor) -> Tensor:
    """One number a run, `(R, 1, ...)`, shaped to multiply `like` `(R, ...)`."""
    column = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return column.reshape(-1, *(1,) * (like.ndim - 1))
