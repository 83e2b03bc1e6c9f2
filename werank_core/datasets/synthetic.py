"""Data drawn from a seed: one Gaussian, or K labelled Gaussian clusters."""

import torch
from torch import Tensor

from werank_core.streams import Purpose, seeded_generator


def make_gaussian(num_samples: int, dimension: int, seed: int) -> Tensor:
    """x ~ N(0, I): rows `(num_samples, dimension)`, without labels."""
    return torch.randn(num_samples, dimension, generator=seeded_generator(Purpose.DATA, seed))


def make_mixture(
    num_samples: int,
    dimension: int,
    num_classes: int,
    *,
    separation: float,
    noise: float,
    seed: int,
    signal_dimension: int | None = None,
    imbalance: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """K Gaussian clusters: x = m_k + noise · ε, with means m_k ~ N(0, separation²) in the leading signal dimensions.

    Class k has a share proportional to imbalance^(k/(K-1)); 1 is balanced. Sizes are exact, not drawn.

    Args:
        num_samples: N, at least K.
        separation: standard deviation of the means, per signal dimension.
        noise: standard deviation around a mean, in every dimension.
        signal_dimension: dimensions in which the means differ; all by default.
        imbalance: size of the last class over the first, in (0, 1].

    Returns:
        Rows `(N, dimension)` float32 and labels `(N,)` int64, in random order.

    Raises:
        ValueError: more classes than samples.
    """
    if num_classes > num_samples:
        raise ValueError(f"num_classes = {num_classes} is more than the {num_samples} samples.")
    generator = seeded_generator(Purpose.DATA, seed)
    means = torch.zeros(num_classes, dimension)
    signal = dimension if signal_dimension is None else signal_dimension
    means[:, :signal] = separation * torch.randn(num_classes, signal, generator=generator)
    labels = _labels(num_samples, num_classes, imbalance)[torch.randperm(num_samples, generator=generator)]
    rows = means[labels] + noise * torch.randn(num_samples, dimension, generator=generator)
    return rows, labels


def _labels(num_samples: int, num_classes: int, imbalance: float) -> Tensor:
    """Sorted labels with at least one sample a class and sizes as close to the shares as whole numbers allow."""
    shares = imbalance ** (torch.arange(num_classes, dtype=torch.float64) / max(1, num_classes - 1))
    spare = num_samples - num_classes
    edges = (shares.cumsum(0) / shares.sum() * spare).round().long()
    sizes = 1 + edges.diff(prepend=torch.zeros(1, dtype=torch.long))
    return torch.repeat_interleave(torch.arange(num_classes), sizes)
