"""The data of a toy run: what each seed draws or splits, and the views and rows that its runs share."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from werank_core.augmentations import augmented_dimensions, noisy_views
from werank_core.config import ToySSLConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.datasets.images import LabelledSplit, load_digits
from werank_core.datasets.synthetic import make_gaussian, make_mixture
from werank_core.metrics.collapse import cluster_labels
from werank_core.metrics.rank import evaluation_rows
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training.draws import SeedStream, sent
from werank_core.training.stacked import State, distinct, per_run


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


class ToyData:
    """One split and one stream of batches for every pair of seeds, and which of them each run uses.

    Attributes:
        rows: all training rows `(S, N, d)`, S pairs of seeds; test_rows, test_labels: `(R, M, ...)`, those evaluated.
        batch_size: B, at most N.
    """

    def __init__(self, batch: RunBatch, device: str, dtype: torch.dtype) -> None:
        self.config, self._device, self._dtype = batch.config, device, dtype
        seeds, of_run = distinct([(c.model_seed, c.data_seed) for c in batch.configs])
        self._data_seeds, self._of_run = [data_seed for _, data_seed in seeds], of_run.to(device)
        self._splits = [make_split(self.config, data_seed) for data_seed in self._data_seeds]
        self.rows = torch.stack([split.train_rows for split in self._splits]).to(device, dtype)
        self.streams = [SeedStream(model_seed, self.rows.shape[1]) for model_seed, _ in seeds]
        self.batch_size = min(self.config.batch_size, self.rows.shape[1])
        self._mask = augmented_dimensions(self.rows.shape[2], self.config.augmented_fraction).to(device, dtype)
        # Runs with equal seeds and noise see the same views.
        scales = batch.column("augmentation_strength")
        groups, of_run = distinct(list(zip(of_run.tolist(), scales, strict=True)))
        self._group_of_run = of_run.to(device)
        self._seed_of_group = torch.tensor([seed for seed, _ in groups], device=device)
        like = self.rows.new_empty(1, 1, 1, 1)
        self._group_scale, self._scale = (per_run(s, like) for s in ([scale for _, scale in groups], scales))
        self.test_rows, self.test_labels = self.evaluated("test_rows"), self.evaluated("test_labels")

    def views(self) -> Tensor:
        """Two views `(R, 2, B, d)` of the next batch, made once for the runs that share a seed and a noise."""
        chosen = [stream.rows(self.batch_size) for stream in self.streams]
        drawn = [stream.noise(2, self.batch_size, self.rows.shape[2]) for stream in self.streams]
        of_group = self._seed_of_group
        rows = self.rows[of_group[:, None], sent(torch.stack(chosen), self._device)[of_group]]
        noise = sent(torch.stack(drawn), self._device, self._dtype)[of_group]
        return noisy_views(rows, noise, self._group_scale, self._mask)[self._group_of_run]

    def held_out_views(self) -> tuple[Tensor, Tensor]:
        """Two views `(R, 2, M, d)` of the evaluated test rows, the same at every record, and their noise."""
        generators = [seeded_generator(Purpose.MEASURING, seed) for seed in self._data_seeds]
        shape = self.test_rows.shape[1:]
        drawn = torch.stack([torch.randn(2, *shape, generator=generator) for generator in generators])
        noise = drawn.to(self._device, self._dtype)[self._of_run]
        return noisy_views(self.test_rows, noise, self._scale, self._mask), noise

    def directions(self) -> State:
        """New random "directions" `(R, D, M)` in the space of embeddings, the same for the runs of a seed.

        Nothing for an objective that wants none.
        """
        return self._directions([stream.generator for stream in self.streams])

    def held_out_directions(self) -> State:
        """Directions for records, every time the same."""
        return self._directions([seeded_generator(Purpose.DIRECTIONS, seed) for seed in self._data_seeds])

    def _directions(self, generators: Sequence[torch.Generator]) -> State:
        if not OBJECTIVES[self.config.objective].directions:
            return {}
        shape = self.config.width, self.config.settings_of("objective")["num_directions"]
        drawn = torch.stack([torch.randn(*shape, generator=generator) for generator in generators])
        return {"directions": sent(drawn, self._device, self._dtype)[self._of_run]}

    def evaluated(self, part: str) -> Tensor:
        """A part of every run's split, `(R, M, ...)`, at most `evaluation_rows` rows of it, chosen by the data seed."""
        stacked = torch.stack(self._kept(part)).to(self._device)
        return (stacked.to(self._dtype) if stacked.is_floating_point() else stacked)[self._of_run]

    def _kept(self, part: str) -> list[Tensor]:
        tensors, limit = [getattr(split, part) for split in self._splits], self.config.evaluation_rows
        return [t[evaluation_rows(len(t), seed, limit)] for t, seed in zip(tensors, self._data_seeds, strict=True)]

    @property
    def num_classes(self) -> int:
        """K."""
        return max(split.num_classes for split in self._splits)

    @cached_property
    def clusters(self) -> Tensor:
        """k-means clusters `(R, M)` of the evaluated test rows: what stands in for classes."""
        found = torch.stack([cluster_labels(part, self.config.num_classes, seed=0) for part in self._kept("test_rows")])
        return found.to(self._device)[self._of_run]
