"""What is drawn for a step: on the CPU, by the generator of a seed, so that all devices train on the same numbers."""

import torch
from torch import Tensor

from werank_core.streams import Purpose, seeded_generator
from werank_core.training.checkpoints import Tree


def sent(tensor: Tensor, device: str | torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on a device; nobody waits for a GPU of CUDA, which takes it from pinned memory when its turn comes."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, dtype, non_blocking=True)
    return tensor.to(device, dtype)


class SeedStream:
    """What all runs of one seed share: one generator for the order of their rows, and for noise."""

    def __init__(self, model_seed: int, num_rows: int) -> None:
        self.generator = seeded_generator(Purpose.TRAINING, model_seed)
        self.order = torch.randperm(num_rows, generator=self.generator)
        self.cursor = torch.tensor(0)

    def rows(self, size: int) -> Tensor:
        """The next row numbers; every row once before any comes again (a last short batch is dropped)."""
        if self.cursor + size > len(self.order):
            self.order.copy_(torch.randperm(len(self.order), generator=self.generator))
            self.cursor.zero_()
        self.cursor += size
        return self.order[self.cursor - size : self.cursor]

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(*shape, generator=self.generator)

    @property
    def tree(self) -> Tree:
        """What a checkpoint keeps of it."""
        return {"generator": self.generator, "order": self.order, "cursor": self.cursor}


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
