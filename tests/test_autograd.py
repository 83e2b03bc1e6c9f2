"""Every autograd function of the house keeps its signature, and the mark changes no number."""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import Function

from werank_core.autograd import with_kept_signature

MODULES = (
    "objectives.bootstrap",
    "objectives.contrastive",
    "regularizers",
    "models.gcn",
    "models.precision",
    "models.propagate",
    "training.stacked",
)


@pytest.mark.parametrize("module", MODULES)
def test_no_signature_is_worked_out_at_every_call(module: str) -> None:
    found = vars(importlib.import_module(f"werank_core.{module}")).values()
    functions = [one for one in found if isinstance(one, type) and issubclass(one, Function) and one is not Function]
    assert functions
    assert [one.__name__ for one in functions if not hasattr(one.forward, "__signature__")] == []


def test_a_marked_function_computes_what_it_did() -> None:
    class Squared(Function):
        @staticmethod
        def forward(x: Tensor, scale: float = 2.0) -> Tensor:
            return scale * x**2

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
            ctx.save_for_backward(inputs[0])
            ctx.scale = inputs[1]

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
            return 2 * ctx.scale * ctx.saved_tensors[0] * gradients[0], None

    marked = with_kept_signature(Squared)
    x = torch.tensor([3.0], requires_grad=True)
    found: Tensor = marked.apply(x)  # type: ignore[no-untyped-call]
    torch.autograd.backward(found)  # the default of `scale` is filled in, as without the mark
    assert x.grad is not None
    assert x.grad.item() == 12
