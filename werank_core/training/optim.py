"""Optimizers over stacked parameters: elementwise, with one learning rate (and decay) per run.

`torch.optim` takes one learning rate for all of a tensor, so runs that differ in it could not share a batch.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from werank_core.training.stacked import State, per_run


class StackedOptimizer(ABC):
    """State tensors beside the parameters; `step` changes the parameters in place."""

    def __init__(self, parameters: State, learning_rates: Sequence[float]) -> None:
        self.parameters = parameters
        self._rates = {name: per_run(learning_rates, p) for name, p in parameters.items()}
        self.state: State = {}

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
        """One update; `factor` scales every learning rate (a schedule)."""
        for name, parameter in self.parameters.items():
            self._update(name, parameter, gradients[name], self._rates[name] * factor)

    def stop(self, runs: Tensor) -> None:
        """Parameters of the runs marked in `runs` `(R,)` no longer move."""
        for name, rate in self._rates.items():
            self._rates[name] = torch.where(runs.reshape(rate.shape), 0.0, rate)

    @abstractmethod
    def _update(self, name: str, parameter: Tensor, gradient: Tensor, rate: Tensor) -> None: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put a saved state back."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])


class SGD(StackedOptimizer):
    """v <- μ v + g, w <- w - η v: torch.optim.SGD with momentum μ, no dampening."""

    def __init__(self, parameters: State, learning_rates: Sequence[float], momentum: float = 0.0) -> None:
        super().__init__(parameters, learning_rates)
        self._momentum = momentum
        if momentum:
            self.state = {f"velocity.{name}": torch.zeros_like(p) for name, p in parameters.items()}

    def _update(self, name: str, parameter: Tensor, gradient: Tensor, rate: Tensor) -> None:
        if self._momentum:
            gradient = self.state[f"velocity.{name}"].mul_(self._momentum).add_(gradient)
        parameter.addcmul_(rate, gradient, value=-1)


class Adam(StackedOptimizer):
    """Adam, and AdamW with `weight_decay`: w <- (1 - η λ) w - η m̂ / (√v̂ + ε).

    Source: Kingma & Ba 2015; Loshchilov & Hutter 2019. Same order of operations as torch.optim.
    """

    def __init__(
        self,
        parameters: State,
        learning_rates: Sequence[float],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rates)
        self._betas, self._epsilon, self._weight_decay = betas, epsilon, weight_decay
        self.state = {
            f"{moment}.{name}": torch.zeros_like(p) for moment in ("first", "second") for name, p in parameters.items()
        }
        self.state["count"] = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def step(self, gradients: Mapping[str, Tensor], factor: float = 1.0) -> None:
        """One update; counts steps for the bias correction."""
        self.state["count"] += 1
        self._count = int(self.state["count"])
        super().step(gradients, factor)

    def _update(self, name: str, parameter: Tensor, gradient: Tensor, rate: Tensor) -> None:
        beta_1, beta_2 = self._betas
        first, second = self.state[f"first.{name}"], self.state[f"second.{name}"]
        if self._weight_decay:
            parameter.mul_(1 - rate * self._weight_decay)
        first.lerp_(gradient, 1 - beta_1)
        second.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        root = second.sqrt().div_(math.sqrt(1 - beta_2**self._count)).add_(self._epsilon)
        parameter.sub_(first.div(root).mul_(rate / (1 - beta_1**self._count)))


def cosine_factor(step: int, total: int, warmup: int = 0) -> float:
    """Linear warm-up from 0 to 1 over `warmup` steps, then a half cosine from 1 to 0 at `total`."""
    if step < warmup:
        return step / warmup
    if total <= warmup:
        return 1.0
    return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
