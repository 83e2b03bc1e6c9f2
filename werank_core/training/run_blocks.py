"""Runs that are computed together: the run axis in blocks of neighbours, whose size never changes a result.

Results are equal up to the rounding of float32, and no step enlarges it: networks have no parameter whose gradient is 0
in exact arithmetic (a bias before a loss or a norm that subtracts it), of whose rounding Adam would make full steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from werank_core.training.stacked import Runs, State, map_runs

BlockLoss = Callable[[State, State, Any], State]
"""(parameters, frozen tensors, inputs) of R' runs -> named values `(R',)`, "loss" among them."""
RunLoss = Callable[[State, State, Mapping[str, Tensor]], State]
"""The same of ONE run: no tensor has a run axis."""


@dataclass(frozen=True, eq=False)
class Block:
    """Some runs and the loss that serves them.

    `kept` is for what their inputs have in common at every step; new blocks start without it.
    """

    loss: BlockLoss
    numbers: tuple[int, ...]
    runs: Runs
    kept: dict[str, Any] = field(default_factory=dict)


def blocks(
    losses: Sequence[BlockLoss], size: int, runs: Sequence[int] | None = None, device: str | torch.device = "cpu"
) -> list[Block]:
    """These runs, all by default, cut into blocks of at most `size` with the same loss (losses: one a run)."""
    stretches = [list(group) for _, group in groupby(range(len(losses)) if runs is None else runs, losses.__getitem__)]
    parts = [stretch[start : start + size] for stretch in stretches for start in range(0, len(stretch), size)]
    return [Block(losses[part[0]], tuple(part), _places(part, device)) for part in parts]


def _places(part: Sequence[int], device: str | torch.device) -> Runs:
    """A slice where they are neighbours: it copies nothing."""
    first, last = part[0], part[-1]
    return slice(first, last + 1) if last - first + 1 == len(part) else torch.tensor(part, device=device)


@dataclass(frozen=True)
class PerRun:
    """A block's loss, made of that of ONE run; inputs are one mapping a run.

    One run alone is computed directly: on a CPU a graph step is bound by arithmetic from one run on, and stacking only
    adds copies. Several are mapped over; a tensor that is the same object in all their inputs is not copied.
    """

    loss: RunLoss

    def __call__(self, parameters: State, frozen: State, inputs: Sequence[Mapping[str, Tensor]]) -> State:
        """Named values `(R',)`."""
        first = inputs[0]
        if len(inputs) == 1:
            alone = [{name: tensor.squeeze(0) for name, tensor in part.items()} for part in (parameters, frozen)]
            return {name: value[None] for name, value in self.loss(alone[0], alone[1], first).items()}
        shared = {name for name in first if all(other[name] is first[name] for other in inputs)}
        joined = {name: first[name] if name in shared else torch.stack([i[name] for i in inputs]) for name in first}
        dims = {name: None if name in shared else 0 for name in first}
        values: State = map_runs(self.loss, parameters, frozen, joined, in_dims=(0, 0, dims))
        return values


def block_gradients(block: Block, parameters: State, frozen: State, inputs: Any) -> tuple[State, State]:
    """Named losses `(R',)` of a block's runs, and the gradients `(R', ...)` of "loss".

    Runs share nothing, so the gradient of Σ_r L_r is each L_r's own; a NaN loss touches its own slice only. Args:
        parameters: name -> `(R, ...)`.
        frozen: name -> `(R, ...)`, not differentiated; changed in place where the loss does so (running statistics).
    """
    leaves = {name: p[block.runs].detach().requires_grad_() for name, p in parameters.items()}
    own = {name: tensor[block.runs] for name, tensor in frozen.items()}
    values = block.loss(leaves, own, inputs)
    parts = torch.autograd.grad(values["loss"].sum(), list(leaves.values()), allow_unused=True)
    if isinstance(block.runs, Tensor):  # copies then
        for name, tensor in own.items():
            frozen[name][block.runs] = tensor
    found = {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(leaves.items(), parts, strict=True)}
    return {name: value.detach() for name, value in values.items()}, found


def runs_at_once(run_numbers: int, like: Tensor, most: int) -> int:
    """How many runs go together when each has so many numbers at work: what stays in a cache, or fits on a GPU.

    Args:
        like: a tensor of the type and on the device of the work.
        most: numbers of all of them together on a CPU; on a GPU half of the free memory.
    """
    if like.device.type == "cuda":
        most = torch.cuda.mem_get_info(like.device)[0] // (2 * like.element_size())
    return max(1, most // run_numbers)


def of_runs(tensors: State) -> Callable[[Block], State]:
    """Inputs that are the runs' own part of tensors `(R, ...)`."""
    return lambda block: {name: tensor[block.runs] for name, tensor in tensors.items()}


def whole(cut: Sequence[Block], parts: Sequence[State], num_runs: int) -> State:
    """Values of the blocks' runs along the axis of all runs; zeros for runs in no block."""
    if len(cut) == 1 and len(cut[0].numbers) == num_runs:
        return parts[0]
    if sum(len(block.numbers) for block in cut) == num_runs:
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    found: State = {}
    for block, part in zip(cut, parts, strict=True):
        for name, tensor in part.items():
            found.setdefault(name, tensor.new_zeros(num_runs, *tensor.shape[1:]))[block.runs] = tensor
    return found
