"""One engine trains every experiment: what changes while R runs train, and how a step changes it.

An experiment brings data, the loss of its runs, and what to measure on which rows.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from werank_core.training.checkpoints import Tree
from werank_core.training.optim import StackedOptimizer
from werank_core.training.run_blocks import Block, BlockLoss, block_gradients, blocks, whole
from werank_core.training.stacked import StackedModel, State

Schedule = Callable[[int], float]
Inputs = Callable[[Block], Any]
"""What the loss of a block's runs reads, made when its turn comes."""
Found = TypeVar("Found")


def constant(step: int) -> float:
    """A schedule that is 1 at every step."""
    return 1.0


class Engine:
    """R runs in training.

    Args:
        losses: one a run; neighbours with the same loss are computed together, at most `size` of them.
        target: weights and buffers `(R, ...)` of a network that follows the parameters under `followed`: by
            θ' <- d θ' + (1 − d) θ after every step, d = decay(step). Its buffers are its own.
        rate: what multiplies the learning rates at a step.

    Attributes:
        parameters: name -> `(R, ...)`, moved by the optimizer.
        frozen: buffers under their names and the target's tensors under "target.": no gradients, but losses may change
            them in place (running statistics).
        stopped: `(R,)` on the CPU: these runs take no more steps.
    """

    def __init__(
        self,
        model: StackedModel,
        optimizer: StackedOptimizer,
        losses: Sequence[BlockLoss],
        size: int,
        *,
        target: State | None = None,
        followed: str = "",
        decay: Schedule = constant,
        rate: Schedule = constant,
    ) -> None:
        self.parameters, self.optimizer = model.parameters, optimizer
        self.frozen = model.buffers | {f"target.{name}": tensor.clone() for name, tensor in (target or {}).items()}
        self._follows = {f"target.{n}": followed + n for n in target or {} if followed + n in self.parameters}
        self.run_losses, self._size, self._decay, self._rate = losses, size, decay, rate
        self.stopped = torch.zeros(len(losses), dtype=torch.bool)
        self._buffers, self._fits = list(model.buffers), False
        self._device = next(iter(self.parameters.values())).device
        self._cut: tuple[list[bool], list[Block]] | None = None

    @property
    def blocks(self) -> list[Block]:
        """The runs that still train, cut anew only when others have stopped."""
        stopped = self.stopped.tolist()
        if self._cut is None or self._cut[0] != stopped:
            active = [run for run, over in enumerate(stopped) if not over]
            self._cut = stopped, blocks(self.run_losses, self._size, active, self._device)
            self.optimizer.stop(self.stopped)
        return self._cut[1]

    def step(self, step: int, inputs: Inputs) -> State:
        """Optimizer step number `step`, counted from 0; returns the named losses before it, `(R,)`."""
        values, gradients = self.gradients(inputs)
        self.optimizer.step(gradients, self._rate(step))
        for name, source in self._follows.items():
            self.frozen[name].lerp_(self.parameters[source], 1 - self._decay(step))
        return values

    def gradients(self, inputs: Inputs) -> tuple[State, State]:
        """Named losses `(R,)` and the gradients `(R, ...)` of "loss"; 0 for runs that have stopped."""
        untouched = {} if self._fits else {name: self.frozen[name].clone() for name in self._buffers}

        def computed() -> tuple[State, State]:
            for name, tensor in untouched.items():  # a first try may have changed them
                self.frozen[name].copy_(tensor)
            parts = [block_gradients(block, self.parameters, self.frozen, inputs(block)) for block in self.blocks]
            values, gradients = (whole(self.blocks, part, len(self.stopped)) for part in zip(*parts, strict=True))
            return values, gradients

        found = self._fitted(computed)
        self._fits = True
        return found

    @torch.no_grad()
    def losses(self, inputs: Inputs) -> State:
        """Named losses of all runs, `(R,)`, without gradients; running statistics stay as they are."""

        def computed() -> State:
            everyone = blocks(self.run_losses, self._size)
            found = []
            for block in everyone:
                frozen = {name: tensor[block.runs].clone() for name, tensor in self.frozen.items()}
                found.append(block.loss({n: p[block.runs] for n, p in self.parameters.items()}, frozen, inputs(block)))
            return whole(everyone, found, len(self.stopped))

        return self._fitted(computed)

    def _fitted(self, compute: Callable[[], Found]) -> Found:
        """What is computed in blocks, which are halved, with a note in the log, until they fit in memory.

        The first step shows whether they do; later, memory is short for another reason, and that is an error.
        """
        while True:
            try:
                return compute()
            except torch.OutOfMemoryError:
                if self._fits or self._size == 1:
                    raise
                largest = min(self._size, len(self.stopped))
                self._size, self._cut = max(1, largest // 2), None
            torch.cuda.empty_cache()
            print(f"{largest} runs do not fit in memory together: {self._size} at a time from now on.", flush=True)

    @property
    def tree(self) -> Tree:
        """What a checkpoint keeps of it."""
        return {
            "parameters": self.parameters,
            "frozen": self.frozen,
            "optimizer": self.optimizer.state,
            "stopped": self.stopped,
        }
