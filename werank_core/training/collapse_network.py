"""The classifier of a `rank_collapse` run, what optimizes it, and the order its rows come in."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from werank_core.config import RankCollapseConfig
from werank_core.models.cnn import make_image_network
from werank_core.models.mlp import MLP
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import RunBatch
from werank_core.training.optim import SGD, Adam, StackedOptimizer
from werank_core.training.stacked import State


def make_network(config: RankCollapseConfig, shape: tuple[int, int, int]) -> nn.Module:
    """The classifier of ONE run, for images of channels, height and width."""
    options = {"activation": config.activation, "bias": config.bias, "batch_norm": config.batch_norm}
    if config.model == "mlp":
        hidden = [config.width] * (config.depth - 1)
        return MLP([int(np.prod(shape)), *hidden, config.classes], **options)  # type: ignore[arg-type]
    return make_image_network(config.model, shape, config.classes, depth=config.depth, width=config.width, **options)


def make_optimizer(batch: RunBatch, parameters: State) -> StackedOptimizer:
    """SGD with momentum, or Adam, with a learning rate per run; AdamW's own decay is the task's business."""
    rates = batch.column("learning_rate")
    if batch.config.optimizer == "sgd":
        return SGD(parameters, rates, momentum=batch.config.momentum)
    return Adam(parameters, rates)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm uses its running statistics."""
    module.eval()
    try:
        yield
    finally:
        module.train()


class BatchOrder:
    """Row numbers of every step as a function of seed and step alone, so that nothing needs to be saved.

    Every row comes once before any comes again; a last short batch of an epoch is dropped.
    """

    def __init__(self, seed: int, num_rows: int, size: int) -> None:
        self._seed, self._num_rows, self._size = seed, num_rows, size
        self._epoch, self._order = -1, torch.arange(num_rows)

    def rows(self, step: int) -> Tensor:
        """`(B,)` for step number `step`; all rows in order for a full batch."""
        if self._size == self._num_rows:
            return self._order
        epoch, place = divmod(step, self._num_rows // self._size)
        if epoch != self._epoch:
            self._epoch, self._order = (
                epoch,
                torch.randperm(self._num_rows, generator=seeded_generator(Purpose.TRAINING, self._seed, epoch)),
            )
        return self._order[place * self._size : (place + 1) * self._size]
