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


@dataclass(frozen=True)
class Decay:
    """Weight decay: λ of every run, and the names of the parameters that it acts on.

    Coupled: λ w is added to the gradient, that of λ/2 ‖w‖². Else w shrinks by 1 − η λ before the step, as in AdamW.
    """

    strengths: Sequence[float]
    names: Collection[str]
    coupled: bool = True


class StackedOptimizer(ABC):
    """State tensors beside the parameters; `step` changes the parameters in place."""

    def __init__(self, parameters: State, rates: Sequence[float], decay: Decay | None = None) -> None:
        self.parameters = parameters
        self.state: State = {}
        like = {p.ndim: p for p in parameters.values()}
        self._rates = self._moving = {ndim: per_run(rates, p) for ndim, p in like.items()}
        self._decay = decay if decay and any(decay.strengths) else Decay((), ())
        self._decays = {ndim: per_run(self._decay.strengths, p) for ndim, p in like.items()}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
        """One update; `factor` scales every learning rate (a schedule)."""
        rates = {ndim: rate * factor for ndim, rate in self._moving.items()}
        for name, parameter in self.parameters.items():
            gradient, rate, decay = gradients[name], rates[parameter.ndim], self._decays[parameter.ndim]
            if name in self._decay.names and self._decay.coupled:
                gradient = torch.addcmul(gradient, decay, parameter)
            elif name in self._decay.names:
                parameter.mul_(1 - rate * decay)
            self._update(name, parameter, gradient, rate)

    def stop(self, runs: Tensor) -> None:
        """From now on the parameters of the runs marked in `runs` `(R,)`, and of no others, stay as they are."""
        self._moving = {
            ndim: torch.where(runs.to(rate.device).reshape(rate.shape), 0.0, rate) for ndim, rate in self._rates.items()
        }

    @abstractmethod
    def _update(self, name: str, parameter: Tensor, gradient: Tensor, rate: Tensor) -> None: ...


class SGD(StackedOptimizer):
    """v <- μ v + g, w <- w - η v: torch.optim.SGD with momentum μ, no dampening."""

    def __init__(
        self, parameters: State, rates: Sequence[float], decay: Decay | None = None, *, momentum: float = 0.0
    ) -> None:
        super().__init__(parameters, rates, decay)
        self._momentum = momentum
        if momentum:
            self.state = {f"velocity.{name}": torch.zeros_like(p) for name, p in parameters.items()}

    def _update(self, name: str, parameter: Tensor, gradient: Tensor, rate: Tensor) -> None:
        if self._momentum:
            gradient = self.state[f"velocity.{name}"].mul_(self._momentum).add_(gradient)
        parameter.addcmul_(rate, gradient, value=-1)


class Adam(StackedOptimizer):
    """w <- w - η m̂ / (√v̂ + ε): Adam, and AdamW where the decay is not coupled.

    Source: Kingma & Ba 2015; Loshchilov & Hutter 2019. Same order of operations as torch.optim.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, parameters: State, rates: Sequence[float], decay: Decay | None = None) -> None:
        super().__init__(parameters, rates, decay)
        self.state = {
            f"{moment}.{name}": torch.zeros_like(p) for moment in ("first", "second") for name, p in parameters.items()
        }
        self.state["count"] = torch.zeros((), dtype=torch.int64)  # on the CPU: to read it is to wait for nothing

    def step(self, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
        """One update; counts steps for the bias correction."""
        self.state["count"] += 1
        self._corrections = [1 - beta ** int(self.state["count"]) for beta in self.BETAS]
        super().step(gradients, factor)

    def _update(self, name: str, parameter: Tensor, gradient: Tensor, rate: Tensor) -> None:
        first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
        first.lerp_(gradient, 1 - self.BETAS[0])
        second.mul_(self.BETAS[1]).addcmul_(gradient, gradient, value=1 - self.BETAS[1])
        root = second.sqrt().div_(math.sqrt(self._corrections[1])).add_(self.EPSILON)
        parameter.sub_(first.div(root).mul_(rate / self._corrections[0]))


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
