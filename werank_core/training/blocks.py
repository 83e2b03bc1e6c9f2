"""Losses and gradients of a batch of runs, a block of the run axis at a time: the block size never changes a result.

Results are equal up to the rounding of float32, and no step enlarges it: networks have no parameter whose gradient is 0
in exact arithmetic (a bias before a loss or a norm that subtracts it), of whose rounding Adam would make full steps.

On a GPU a block is one stacked model. On a CPU a graph step is bound by arithmetic from one run on and stacking only
adds copies, so there blocks hold one run and its function is called directly.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.func import vmap

from werank_core.training.stacked import State

Inputs = Mapping[str, Tensor]
RunFunction = Callable[[State, State, Inputs], State]


@dataclass(frozen=True)
class Block:
    """Runs start..stop − 1, which one function serves."""

    function: RunFunction
    start: int
    stop: int

    @property
    def runs(self) -> int | slice:
        """What picks the runs out of a stacked tensor: a number when it is one run, which then has no run axis."""
        return self.start if self.stop - self.start == 1 else slice(self.start, self.stop)


def blocks(functions: Sequence[RunFunction], size: int) -> list[Block]:
    """The run axis cut into blocks of at most `size` neighbours with the same function (functions: one a run)."""
    return [
        Block(functions[start], start, min(start + size, end))
        for first, end in _stretches(functions)
        for start in range(first, end, size)
    ]


def _stretches(items: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """(start, end) of every stretch of equal neighbours."""
    start = 0
    for _, group in groupby(items):
        end = start + len(list(group))
        yield start, end
        start = end


def block_gradients(
    cut: Sequence[Block], parameters: State, frozen: State, inputs: Sequence[Inputs]
) -> tuple[State, State]:
    """What the functions return for every run, and the gradient of their "loss".

    Args:
        cut: blocks whose function maps (parameters, frozen, inputs) of ONE run to named tensors, "loss" a scalar.
        parameters: name -> (R, ...), differentiated.
        frozen: name -> (R, ...), not differentiated; changed in place where the function does so (running statistics).
        inputs: one mapping a run; a tensor that is the same object for all runs of a block is not copied.
    Returns: name -> (R, ...) values without gradients, and name -> (R, ...) gradients.
    """
    gradients = {name: torch.empty_like(p, requires_grad=False) for name, p in parameters.items()}
    found: list[State] = []
    for block in cut:
        leaves = {name: p.requires_grad_() for name, p in _part(parameters, block).items()}
        values = _call(block, leaves, _part(frozen, block), inputs)
        parts = torch.autograd.grad(values["loss"].sum(), list(leaves.values()), allow_unused=True)
        for name, part in zip(leaves, parts, strict=True):
            gradients[name][block.runs] = 0 if part is None else part
        found.append({name: value.detach() for name, value in values.items()})
    return _joined(cut, found), gradients


@torch.no_grad()
def block_values(cut: Sequence[Block], parameters: State, frozen: State, inputs: Sequence[Inputs]) -> State:
    """What the functions return for every run, stacked along the run axis, without gradients."""
    return _joined(cut, [_call(block, _part(parameters, block), _part(frozen, block), inputs) for block in cut])


def _part(state: State, block: Block) -> State:
    return {name: tensor.detach()[block.runs] for name, tensor in state.items()}


def _call(block: Block, parameters: State, frozen: State, inputs: Sequence[Inputs]) -> State:
    if isinstance(block.runs, int):
        return block.function(parameters, frozen, inputs[block.runs])
    own = inputs[block.runs]
    shared = {name for name in own[0] if all(other[name] is own[0][name] for other in own)}
    joined = {name: own[0][name] if name in shared else torch.stack([i[name] for i in own]) for name in own[0]}
    dims = {name: None if name in shared else 0 for name in joined}
    mapped: State = vmap(block.function, in_dims=(0, 0, dims), randomness="error")(parameters, frozen, joined)
    return mapped


def _joined(cut: Sequence[Block], found: Sequence[State]) -> State:
    """Values of all runs along the run axis, which those of a single run do not have yet."""
    return {
        name: torch.cat(
            [v[name][None] if isinstance(b.runs, int) else v[name] for b, v in zip(cut, found, strict=True)]
        )
        for name in found[0]
    }
