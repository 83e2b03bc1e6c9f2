"""Optimizers over stacked parameters: elementwise, with one learning rate and one weight decay per run.

`torch.optim` takes one learning rate for all of a tensor, so runs that differ in it could not share a batch.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from werank_core.sweeps import RunBatch
from werank_core.training.stacked import State, per_run

# A matrix of weights starts where a new tensor of floats would: products of the same numbers elsewhere round otherwise.
ALIGNED = 16


@dataclass(frozen=True)
class Decay:
    """Weight decay: λ of every run, and the names of the parameters that it acts on.

    Coupled: λ w is added to the gradient, that of λ/2 ‖w‖². Else w shrinks by 1 − η λ before the step, as in AdamW.
    """

    strengths: Sequence[float]
    names: Collection[str]
    coupled: bool = True


class StackedOptimizer(ABC):
    """Steps of all parameters of all runs at once, elementwise.

    The tensors of `parameters` are replaced by views of one matrix `(R, P)`, a run a row: a step is a few calls and
    kernels, however many layers there are. State tensors are matrices like it.
    """

    def __init__(self, parameters: State, rates: Sequence[float], decay: Decay | None = None) -> None:
        self._names = list(parameters)
        self._gaps = [p.new_zeros(len(p), -p[0].numel() % ALIGNED) for p in parameters.values()]
        self._weights = self._matrix(parameters)
        sizes = [p[0].numel() + gap.shape[1] for p, gap in zip(parameters.values(), self._gaps, strict=True)]
        for (name, p), part in zip(list(parameters.items()), torch.split(self._weights, sizes, dim=1), strict=True):
            parameters[name] = part[:, : p[0].numel()].view(p.shape)
        self.state: State = {}
        self._rates = self._moving = per_run(rates, self._weights)
        self._coupled, self._decays = decay is None or decay.coupled, None
        if decay and any(decay.strengths):
            self._decays = per_run(decay.strengths, self._weights)
            if set(decay.names) != set(self._names):
                decayed = torch.tensor([name in decay.names for name in parameters])
                self._decays = self._decays * decayed.repeat_interleave(torch.tensor(sizes)).to(self._decays)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
        """One update; `factor` scales every learning rate (a schedule)."""
        gradient = self._matrix(gradients)
        rates = self._moving * factor
        if self._decays is not None and self._coupled:
            gradient.addcmul_(self._decays, self._weights)
        elif self._decays is not None:
            self._weights.mul_(1 - rates * self._decays)
        self._update(gradient, rates)

    def _matrix(self, tensors: Mapping[str, Tensor]) -> Tensor:
        parts = [(tensors[name].flatten(1), gap) for name, gap in zip(self._names, self._gaps, strict=True)]
        return torch.cat([part for pair in parts for part in pair], dim=1)

    def stop(self, runs: Tensor) -> None:
        """From now on the parameters of the runs marked in `runs` `(R,)`, and of no others, stay as they are."""
        self._moving = torch.where(runs.to(self._rates.device)[:, None], 0.0, self._rates)

    @abstractmethod
    def _update(self, gradient: Tensor, rates: Tensor) -> None:
        """Change the weights `(R, P)` by the gradient, which may be used up, and the rates `(R, 1)`."""


class SGD(StackedOptimizer):
    """v <- μ v + g, w <- w - η v: torch.optim.SGD with momentum μ, no dampening."""

    def __init__(
        self, parameters: State, rates: Sequence[float], decay: Decay | None = None, *, momentum: float = 0.0
    ) -> None:
        super().__init__(parameters, rates, decay)
        self._momentum = momentum
        if momentum:
            self.state = {"velocity": torch.zeros_like(self._weights)}

    def _update(self, gradient: Tensor, rates: Tensor) -> None:
        if self._momentum:
            gradient = self.state["velocity"].mul_(self._momentum).add_(gradient)
        self._weights.addcmul_(rates, gradient, value=-1)


class Adam(StackedOptimizer):
    """w <- w - η m̂ / (√v̂ + ε): Adam, and AdamW where the decay is not coupled.

    Source: Kingma & Ba 2015; Loshchilov & Hutter 2019. Same order of operations as torch.optim.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, parameters: State, rates: Sequence[float], decay: Decay | None = None) -> None:
        super().__init__(parameters, rates, decay)
        self.state = {moment: torch.zeros_like(self._weights) for moment in ("first", "second")}
        self.state["count"] = torch.zeros((), dtype=torch.int64)  # on the CPU: to read it is to wait for nothing

    def _update(self, gradient: Tensor, rates: Tensor) -> None:
        self.state["count"] += 1
        first_correction, second_correction = (1 - beta ** int(self.state["count"]) for beta in self.BETAS)
        first, second = self.state["first"], self.state["second"]
        first.lerp_(gradient, 1 - self.BETAS[0])
        second.mul_(self.BETAS[1]).addcmul_(gradient, gradient, value=1 - self.BETAS[1])
        root = torch.sqrt(second, out=gradient).div_(math.sqrt(second_correction)).add_(self.EPSILON)
        self._weights.sub_(torch.div(first, root, out=root).mul_(rates / first_correction))


def make_optimizer(batch: RunBatch, parameters: State, decay: Decay) -> StackedOptimizer:
    """The optimizer that a config names, with the learning rate of every run; AdamW is Adam whose decay is apart."""
    rates = batch.column("learning_rate")
    if batch.config.optimizer == "sgd":
        return SGD(parameters, rates, decay, momentum=batch.config.momentum)
    return Adam(parameters, rates, decay)


def cosine_factor(step: int, total: int, warmup: int = 0) -> float:
    """Linear warm-up from 0 to 1 over `warmup` steps, then a half cosine from 1 to 0 at `total`."""
    if step < warmup:
        return step / warmup
    if total <= warmup:
        return 1.0
    return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
