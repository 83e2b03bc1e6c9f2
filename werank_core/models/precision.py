"""How dense products are computed: true float32 by the fastest kernel there is, or bfloat16 operands when asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

from werank_core.autograd import with_kept_signature


@contextmanager
def fast_float32() -> Iterator[None]:
    """Inside, float32 products use oneDNN where that is still true float32.

    "medium" lets PyTorch hand float32 products to oneDNN. Without AMX tiles oneDNN computes them in float32 (relative
    error below 1e-6) and faster than the default; with AMX the same switch means bfloat16, so there it stays off. The
    switch is global: it is put back on leaving.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if medium_is_float32() else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def reproducible_kernels() -> Iterator[None]:
    """Inside, a GPU computes float32 in float32, sums bfloat16 products in float32, and picks no kernel by its speed.

    PyTorch's defaults differ from one operation to the next (convolutions take TF32, products do not). All five
    switches are global and are put back on leaving; without a GPU nothing changes.
    """
    if not torch.cuda.is_available():
        yield
        return
    wanted = [
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction", False),
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cudnn, "benchmark", False),
        (torch.backends.cudnn, "deterministic", True),
    ]
    before = [getattr(place, name) for place, name, _ in wanted]
    try:
        for place, name, value in wanted:
            setattr(place, name, value)
        yield
    finally:
        for (place, name, _), value in zip(wanted, before, strict=True):
            setattr(place, name, value)


@cache
def medium_is_float32() -> bool:
    """Whether "medium" precision keeps float32 here: no AMX, no GPU, and a product of odd numbers is exact."""
    if torch.cuda.is_available() or torch.cpu._is_amx_tile_supported():
        return False
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        # 4097 has 13 significant bits: bfloat16 would round it to 4096, and TF32 to 4096 too.
        ones = torch.eye(256)
        return bool(((ones * 4097) @ ones == ones * 4097).all())
    finally:
        torch.set_float32_matmul_precision(before)


@with_kept_signature
class _BFloat16Product(torch.autograd.Function):
    """x Wᵀ with operands rounded to bfloat16 and sums in float32; master weights and gradients stay float32."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        short_x, short_weight = x.bfloat16(), weight.bfloat16()
        return (short_x @ short_weight.mT).float(), short_x, short_weight

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1], output[2])
        ctx.save_for_backward(output[1], output[2])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        short_x, short_weight = ctx.saved_tensors
        gradient = grad_outputs[0].bfloat16()
        for_x = (gradient @ short_weight).float() if ctx.needs_input_grad[0] else None
        for_weight = (gradient.mT @ short_x).float() if ctx.needs_input_grad[1] else None
        return for_x, for_weight


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, bfloat16: bool = False) -> Tensor:
    """x Wᵀ + b, with bfloat16 operands when asked.

    Args: x (N, d_in), weight (d_out, d_in), bias (d_out,).
    Returns: (N, d_out) float32.
    """
    if not bfloat16:
        return torch.nn.functional.linear(x, weight, bias)
    result: Tensor = _BFloat16Product.apply(x, weight)[0]  # type: ignore[no-untyped-call]
    return result if bias is None else result + bias
