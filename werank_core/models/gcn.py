"""The graph encoder and predictor of BGRL: ordinary modules for ONE run, to be read beside the paper.

Layer: GCNConv -> BatchNorm -> PReLU (Thakoor et al. 2022, appendix; Kipf & Welling 2017). A target network is the same
network drawn anew (`reset_parameters`), never a copy.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from werank_core.autograd import with_kept_signature
from werank_core.models.graph_view import GraphView
from werank_core.models.precision import product

Norm = Literal["batch", "layer", "none"]


@with_kept_signature
class _PReLU(torch.autograd.Function):
    """max(x, 0) + a·min(x, 0) by the leaky-ReLU kernels: ATen's PReLU backward alone is a fifth of a step."""

    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return F.leaky_relu(x, slope.item())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        gradient = grad_outputs[0]
        for_x = torch.ops.aten.leaky_relu_backward(gradient, x, slope.item(), False)
        # No `dot`: inside `fast_float32` it goes through oneDNN, which takes ten times as long for it.
        return for_x, x.clamp(max=0).mul_(gradient).sum().reshape(slope.shape)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], x: Tensor, slope: Tensor) -> tuple[Tensor, int]:
        """One slope a run: the kernel takes a single number, so the stacked form is written out."""
        x = x if in_dims[0] is None else x.movedim(in_dims[0], 0)
        slope = slope if in_dims[1] is None else slope.movedim(in_dims[1], 0).unsqueeze(-1)
        return torch.where(x > 0, x, slope * x), 0


class PReLU(nn.Module):
    """max(x, 0) + a·min(x, 0) with one learned slope a, 0.25 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Slope 0.25, as in PyTorch."""
        nn.init.constant_(self.slope, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        if x.device.type != "cpu":
            return F.prelu(x, self.slope)
        result: Tensor = _PReLU.apply(x, self.slope)  # type: ignore[no-untyped-call]
        return result


class GraphConvolution(nn.Module):
    """Â x Wᵀ + b: PyG's GCNConv, on a view whose Â is already normalised.

    W (d_out, d_in) as in `nn.Linear`, Glorot-uniform; b starts at 0 and is left out where a BatchNorm follows, which
    subtracts it again.
    Source: Kipf & Welling 2017.
    """

    def __init__(self, d_in: int, d_out: int, *, bias: bool, bfloat16: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.empty(d_out)) if bias else None
        self.short_operands = bfloat16
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot-uniform weights, zero bias."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor | None, view: GraphView) -> Tensor:
        """(N, d_in) -> (N, d_out); x is None in the first layer, which reads the features of the view."""
        if x is None:
            out = view.convolve_features(self.weight, bfloat16=self.short_operands)
        else:
            out = view.propagate(product(x, self.weight, bfloat16=self.short_operands))
        return out if self.bias is None else out + self.bias


class GCNEncoder(nn.Module):
    """GCNConv -> norm -> PReLU, once for every width: a view of N nodes becomes representations (N, widths[-1]).

    Args:
        d_in: feature dimension D.
        widths: output width of every layer, at least one.
        norm: `batch` with momentum 0.99 in PyTorch's sense, so that running statistics are nearly the last batch's, and
            PyTorch's ε of 1e-5 as in the source: not blind to the scale of features (rows of Cora that sum to 1 give
            the first layer's units a variance of 2.5e-5); `layer` over each node's units; `none`.
        bias: whether units get a shift where no BatchNorm centres them; not for objectives that take it out again.
        last_scale: whether the last norm learns a factor a unit; not where the objective standardises units.
    Source: Thakoor et al. 2022; per-node layer norm is ours (their reference normalises over the whole graph).
    """

    def __init__(
        self,
        d_in: int,
        widths: Sequence[int],
        norm: Norm = "batch",
        *,
        bias: bool = True,
        last_scale: bool = True,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        sizes = list(zip([d_in, *widths], widths, strict=False))
        self.convolutions = nn.ModuleList(
            GraphConvolution(i, o, bias=bias and norm != "batch", bfloat16=bfloat16) for i, o in sizes
        )
        self.norms = nn.ModuleList(_norm(norm, width, bias) for width in widths)
        if norm != "none" and not last_scale:
            _fix_scale(self.norms[-1], widths[-1])
        self.activations = nn.ModuleList(PReLU() for _ in widths)

    def forward(self, view: GraphView) -> Tensor:
        """Representations (N, widths[-1]) of every node."""
        x: Tensor | None = None
        for convolution, norm, activation in zip(self.convolutions, self.norms, self.activations, strict=True):
            x = activation(norm(convolution(x, view)))
        assert x is not None
        return x

    def weights(self) -> list[Tensor]:
        """The matrices a penalty acts on, first layer first."""
        return [convolution.weight for convolution in self.convolutions]  # type: ignore[misc]

    def reset_parameters(self) -> None:
        """Draw everything anew."""
        reset_parameters(self)


def _norm(norm: Norm, width: int, bias: bool) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm1d(width, momentum=0.99)
    return nn.LayerNorm(width, bias=bias) if norm == "layer" else nn.Identity()


def _fix_scale(norm: nn.Module, width: int) -> None:
    """Ones, which no optimizer sees, in the place of the factors that a norm learns."""
    del norm.weight
    norm.register_buffer("weight", torch.ones(width))


class Predictor(nn.Module):
    """Linear -> PReLU -> Linear on each node: BGRL's predictor, and the projector of the other objectives.

    Args:
        bias: whether the layers have one; not for objectives that take every shift out again.
    Source: Thakoor et al. 2022 (hidden width 512, no BatchNorm); Zhu et al. 2020 (ELU there, PReLU here: ours).
    """

    def __init__(self, d_in: int, hidden: int, d_out: int, *, bias: bool = True, bfloat16: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(d_in, hidden, bias=bias), nn.Linear(hidden, d_out, bias=bias)
        self.activation = PReLU()
        self.short_operands = bfloat16

    def forward(self, x: Tensor) -> Tensor:
        """Representations (N, d_in) -> embeddings (N, d_out)."""
        hidden = self.activation(product(x, self.first.weight, self.first.bias, bfloat16=self.short_operands))
        return product(hidden, self.second.weight, self.second.bias, bfloat16=self.short_operands)

    def weights(self) -> list[Tensor]:
        """The matrices of the head, for penalties that include it."""
        return [self.first.weight, self.second.weight]


def reset_parameters(module: nn.Module) -> None:
    """Draw every parameter of a network anew, from PyTorch's current generator, in the order of its modules."""
    for part in module.modules():
        if part is not module and callable(reset := getattr(part, "reset_parameters", None)):
            reset()
