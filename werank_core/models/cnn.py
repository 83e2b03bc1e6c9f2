"""Small convolutional and residual networks for images given as rows of pixels, written for ONE run."""

import math
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from werank_core.config import RankCollapseConfig
from werank_core.models.mlp import ACTIVATIONS, MLP, Activation

Shape = tuple[int, int, int]
SMALLEST_SIDE = 4


def _norm(batch_norm: bool, width: int) -> nn.Module:
    return nn.BatchNorm2d(width) if batch_norm else nn.Identity()


def _convolution(d_in: int, d_out: int, stride: int, bias: bool) -> nn.Conv2d:
    """3×3 with padding 1: side s becomes ⌈s / stride⌉. Without a bias wherever BatchNorm would subtract it again."""
    return nn.Conv2d(d_in, d_out, 3, stride=stride, padding=1, bias=bias)


class CNN(nn.Module):
    """Convolutions 3×3 → (BatchNorm) → σ, mean over positions, linear classifier.

    A convolution halves the side (stride 2) while it is above 4, and keeps it afterwards.

    Args:
        shape: channels, height, width of an image.
        num_classes: K.
        depth: weight layers, the classifier included; at least 2.
        width: channels of every convolution.
        batch_norm: statistics of the batch while training, running ones in eval mode.
    """

    def __init__(
        self,
        shape: Shape,
        num_classes: int,
        *,
        depth: int,
        width: int,
        activation: Activation = "relu",
        bias: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.shape = shape
        channels, side = [shape[0]] + [width] * (depth - 1), shape[1]
        convolutions = []
        for d_in, d_out in pairwise(channels):
            stride = 2 if side > SMALLEST_SIDE else 1
            convolutions.append(_convolution(d_in, d_out, stride, bias and not batch_norm))
            side = -(-side // stride)
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(_norm(batch_norm, width) for _ in convolutions)
        self.activation = ACTIVATIONS[activation]()
        self.classifier = nn.Linear(width, num_classes, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, c·h·w) -> (B, K)."""
        x = rows.reshape(-1, *self.shape)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.activation(norm(convolution(x)))
        logits: Tensor = self.classifier(x.mean((-2, -1)))
        return logits


class ResidualBlock(nn.Module):
    """x + conv(σ(norm(conv(σ(norm(x)))))): two 3×3 convolutions, pre-activation (He et al. 2016)."""

    def __init__(self, width: int, activation: Activation, bias: bool, batch_norm: bool) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = _norm(batch_norm, width), _norm(batch_norm, width)
        self.first, self.second = (_convolution(width, width, 1, bias and not batch_norm) for _ in range(2))
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        hidden = self.first(self.activation(self.norm_1(x)))
        residual: Tensor = self.second(self.activation(self.norm_2(hidden)))
        return x + residual


class ResNet(nn.Module):
    """Stem convolution (stride 2), residual blocks (2×2 mean before each while the side is above 4), mean, classifier.

    Identity skips only, so every weight layer is a 3×3 convolution or the classifier.

    Args:
        depth: weight layers: stem, two a block, classifier; even and at least 4.
        Others as in `CNN`.
    """

    def __init__(
        self,
        shape: Shape,
        num_classes: int,
        *,
        depth: int,
        width: int,
        activation: Activation = "relu",
        bias: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.stem = _convolution(shape[0], width, 2 if shape[1] > SMALLEST_SIDE else 1, bias and not batch_norm)
        blocks = (depth - 2) // 2
        self.blocks = nn.ModuleList(ResidualBlock(width, activation, bias, batch_norm) for _ in range(blocks))
        self.norm = _norm(batch_norm, width)
        self.activation = ACTIVATIONS[activation]()
        self.classifier = nn.Linear(width, num_classes, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        """(B, c·h·w) -> (B, K)."""
        x = self.stem(rows.reshape(-1, *self.shape))
        for block in self.blocks:
            x = block(F.avg_pool2d(x, 2) if x.shape[-1] > SMALLEST_SIDE else x)
        logits: Tensor = self.classifier(self.activation(self.norm(x)).mean((-2, -1)))
        return logits


def make_image_network(kind: Literal["cnn", "resnet"], shape: Shape, num_classes: int, **options: object) -> nn.Module:
    """The network of that kind; `options` as in `CNN`."""
    network = CNN if kind == "cnn" else ResNet
    return network(shape, num_classes, **options)  # type: ignore[arg-type]


def make_classifier(config: RankCollapseConfig, shape: Shape) -> nn.Module:
    """The classifier that a config describes: fully connected on the pixels, convolutional or residual."""
    options = {"activation": config.activation, "bias": config.bias, "batch_norm": config.batch_norm}
    if config.model == "mlp":
        hidden = [config.width] * (config.depth - 1)
        return MLP([math.prod(shape), *hidden, config.classes], **options)  # type: ignore[arg-type]
    return make_image_network(config.model, shape, config.classes, depth=config.depth, width=config.width, **options)
