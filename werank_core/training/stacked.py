"""Many runs as one model: the only room that knows how parameters are stacked and functions mapped over runs.

Leading axis R = run. Nothing here or in what is mapped reduces across R, so a slice of a batch equals the solo run.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import stack_module_state, vmap

from werank_core.autograd import with_kept_signature
from werank_core.models.mlp import MLP

State = dict[str, Tensor]
Runs = Tensor | slice
"""Run numbers `(R',)`, or neighbours as a slice."""
Key = TypeVar("Key", bound=Hashable)


class CallableWith:
    """A module called with given tensors in the places of its parameters and buffers.

    As `torch.func.functional_call`, which takes a tenth of a step on a small graph: places are looked up once.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._places = [
            (f"{prefix}.{name}".removeprefix("."), slots, name, tensor)
            for prefix, owner in module.named_modules()
            for slots in (owner._parameters, owner._buffers)
            for name, tensor in slots.items()
            if tensor is not None
        ]

    def __call__(self, state: Mapping[str, Tensor], *inputs: Any, under: str = "") -> Any:
        """The module's output for the tensors that `state` has under a prefix; the rest of it is not read."""
        slots: dict[str, Any]
        for name, slots, place, _ in self._places:
            slots[place] = state[under + name]
        try:
            return self._module(*inputs)
        finally:
            for _, slots, place, own in self._places:
                slots[place] = own


class StackedModel:
    """R copies of one module: stacked parameters and buffers, and a skeleton to call them through.

    Attributes:
        parameters: name -> `(R, ...)`; whoever differentiates makes leaves of them.
        buffers: name -> `(R, ...)`: BatchNorm statistics per run.
        call: the module's outputs for ONE run's tensors (inside `map_runs`).
    """

    def __init__(self, modules: Sequence[nn.Module], device: torch.device | str = "cpu") -> None:
        stacked, buffers = stack_module_state([module.to(device) for module in modules])
        self.parameters: State = {name: p.detach().clone() for name, p in stacked.items()}
        self.buffers: State = {name: b.detach().clone() for name, b in buffers.items()}
        self.skeleton = modules[0]
        self.call = CallableWith(self.skeleton)

    def twin(self) -> "StackedModel":
        """The same skeleton with tensors of its own, equal now."""
        other = copy(self)
        other.parameters = {name: p.clone() for name, p in self.parameters.items()}
        other.buffers = {name: b.clone() for name, b in self.buffers.items()}
        return other

    def state(self, runs: Tensor) -> State:
        """A copy of the parameters and buffers of the runs with these numbers."""
        return {name: tensor[runs] for name, tensor in (self.parameters | self.buffers).items()}

    def outputs(self, state: State, rows: Tensor) -> Tensor:
        """What every run of `state` makes of its rows `(R, B, d)`, in the skeleton's mode: training or evaluating."""
        if plain := plain_mlp(self.skeleton):
            return stacked_mlp(plain, state, rows)
        outputs: Tensor = map_runs(self.call, state, rows)
        return outputs

    @property
    def weight_layers(self) -> list[nn.Linear | nn.Conv2d]:
        """The skeleton's layers that have a weight matrix, in the order of `weights_of`."""
        return [layer for layer in self.skeleton.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]

    def traced(self, state: State, rows: Tensor) -> tuple[Tensor, list[Tensor], Sequence[Any]]:
        """As `outputs`, with every layer's input, and what stands for its pre-activation in `autograd.grad`.

        Under `vmap` that is a tensor of zeros added to it: an intermediate tensor itself cannot be differentiated by.
        """
        if plain := plain_mlp(self.skeleton):
            return traced_mlp(plain, state, rows)
        # one zero, expanded: only the gradients take the room of an activation
        shapes = self.preactivation_shapes(rows[0, :2])
        probes = [rows.new_zeros(()).expand(*rows.shape[:2], *shape).requires_grad_() for shape in shapes]
        outputs, inputs = map_runs(self._probed, state, probes, rows)
        return outputs, inputs, probes

    def _probed(self, state: State, probes: Sequence[Tensor], rows: Tensor) -> tuple[Any, list[Tensor]]:
        layers: list[nn.Module] = list(self.weight_layers)
        inputs, probe_of = dict[nn.Module, Tensor](), dict(zip(layers, probes, strict=True))

        def keep(layer: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor:
            inputs[layer] = arguments[0]
            return output + probe_of[layer]

        with self._watched(keep):
            outputs = self.call(state, rows)
        return outputs, [inputs[layer] for layer in layers]

    def preactivation_shapes(self, rows: Tensor) -> list[torch.Size]:
        """Shape of every weight layer's output for ONE of the given rows `(B, d)`; leaves no trace in the buffers."""
        shapes: dict[nn.Module, torch.Size] = {}
        with self._watched(lambda layer, _, output: shapes.update({layer: output.shape[1:]})):
            self.call({name: t[0].clone() for name, t in (self.parameters | self.buffers).items()}, rows)
        return [shapes[layer] for layer in self.weight_layers]

    @contextmanager
    def _watched(self, hook: Callable[..., Any]) -> Iterator[None]:
        """Inside, the hook sees what goes through every weight layer."""
        handles = [layer.register_forward_hook(hook) for layer in self.weight_layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def map_runs(function: Callable[..., Any], *arguments: Any, in_dims: Any = 0) -> Any:
    """The function of one run, applied to all runs: every tensor of `arguments` carries the run axis first."""
    return vmap(function, in_dims=in_dims, randomness="error")(*arguments)


def weights_of(state: Mapping[str, Tensor], prefix: str = "") -> State:
    """Weights `(R, d_out, d_in)` under a prefix, in layer order, convolutions as `(R, c_out, c_in·k·k)`: views.

    No biases, norms or slopes: those are never penalised.
    """
    return {
        name: tensor.flatten(2)
        for name, tensor in state.items()
        if name.startswith(prefix) and name.endswith("weight") and tensor.ndim >= 3
    }


def squared_norm(state: Mapping[str, Tensor]) -> Tensor:
    """Σ ‖W_l‖_F² over the weights of every run, `(R,)`."""
    return torch.stack([weight.square().flatten(1).sum(1) for weight in weights_of(state).values()]).sum(0)


def per_run(values: Sequence[float] | Tensor, like: Tensor) -> Tensor:
    """One number a run, `(R, 1, ...)`, shaped to multiply `like` `(R, ...)`."""
    column = torch.as_tensor(values, dtype=like.dtype, device=like.device)
    return column.reshape(-1, *(1,) * (like.ndim - 1))


def distinct(keys: Sequence[Key]) -> tuple[list[Key], Tensor]:
    """The distinct keys in the order they come in, and which of them each run has, `(R,)`."""
    found = list(dict.fromkeys(keys))
    return found, torch.tensor([found.index(key) for key in keys])


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm uses its running statistics."""
    module.eval()
    try:
        yield
    finally:
        module.train()


# -- fully connected networks without vmap --------------------------------------------------------------------------
# vmap turns a linear layer into a product and an addition and keeps what ReLU saw; here the product adds the bias and
# ReLU works in place, which makes a training step of small networks about a third shorter.


@with_kept_signature
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


def stacked_mlp(module: MLP, state: Mapping[str, Tensor], rows: Tensor, *, under: str = "") -> Tensor:
    """The MLP's output for every run.

    Args:
        module: the skeleton; its own parameters are not used.
        state: stacked parameters by the module's names under a prefix.
        rows: `(R, B, d)`.
    Returns: `(R, B, K)`.
    """
    last = len(module.layers) - 1
    for index in range(last + 1):
        weight = state[f"{under}layers.{index}.weight"]
        bias = state.get(f"{under}layers.{index}.bias")
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
