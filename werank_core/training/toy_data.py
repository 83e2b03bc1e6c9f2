"""The data of a toy run: what each seed draws or splits, and the batches and noise that its runs share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from werank_core.config import ToySSLConfig
from werank_core.datasets.images import LabelledSplit, load_digits
from werank_core.datasets.synthetic import make_gaussian, make_mixture
from werank_core.streams import Purpose, seeded_generator


def make_split(config: ToySSLConfig, seed: int) -> LabelledSplit:
    """The data of one seed: digits as they are split, drawn data two thirds for training."""
    if config.dataset == "digits":
        return load_digits(seed)
    if config.dataset == "gaussian":
        rows, labels = make_gaussian(config.num_samples, config.dimension, seed), None
    else:
        rows, labels = make_mixture(
            config.num_samples,
            config.dimension,
            config.num_classes,
            separation=config.cluster_separation,
            noise=config.cluster_noise,
            signal_dimension=config.signal_dimension,
            seed=seed,
        )
    labels = torch.zeros(len(rows), dtype=torch.long) if labels is None else labels
    cut = 2 * len(rows) // 3
    return LabelledSplit(rows[:cut], labels[:cut], rows[cut:], labels[cut:])


@dataclass
class SeedStream:
    """What all runs of one seed share: their data, and one generator for batch order and noise."""

    rows: Tensor
    generator: torch.Generator
    order: Tensor
    cursor: int = 0

    def indices(self, size: int) -> Tensor:
        """The next batch of row numbers; every row once before any comes again (a last short batch is dropped)."""
        if self.cursor + size > len(self.rows):
            self.order = torch.randperm(len(self.rows), generator=self.generator)
            self.cursor = 0
        self.cursor += size
        return self.order[self.cursor - size : self.cursor]

    def draw(self, size: int) -> tuple[Tensor, Tensor]:
        """A batch `(B, d)` and the standard normal noise `(2, B, d)` of its two views."""
        rows = self.rows[self.indices(size)]
        return rows, torch.randn(2, *rows.shape, generator=self.generator)


def seed_stream(rows: Tensor, model_seed: int) -> SeedStream:
    """The stream of a model seed over these training rows `(N, d)`, at its start."""
    generator = seeded_generator(Purpose.TRAINING, model_seed)
    return SeedStream(rows, generator, torch.randperm(len(rows), generator=generator))
