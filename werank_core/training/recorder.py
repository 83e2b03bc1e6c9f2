"""What a trainer tells the world: metrics and arrays per run and step, copied off the device once a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

ArrayKey = tuple[str, int]
"""Name of a stored array and its layer, counted from 1; layer 0 where there is none."""


def on_rows(split: str, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values under keys that say which rows they were computed on: `train`, `test` or `all`."""
    return {f"{split}/{name}": value for name, value in values.items()}


class Sink(Protocol):
    """Where records end up; axis 0 of every array is the run axis of the batch."""

    def write(self, step: int, values: Mapping[str, np.ndarray], arrays: Mapping[ArrayKey, np.ndarray]) -> bool:
        """Keep metrics `(R,)` or `(R, L)` and float32 arrays `(R, ...)` of one step; again replaces it.

        False when they could not be kept: the step is to be recorded again by whoever goes on from its checkpoint.
        """

    def should_stop(self, step: int) -> bool:
        """True once somebody asked for the end (a cancel, a termination signal); asked before every step, so `step`,
        the steps taken so far, is also the sink's measure of progress. Must be cheap: a flag, no query."""

    def may_save(self, step: int) -> bool:
        """Asked before a checkpoint is kept: what was recorded before it is safe now; False forbids it."""


@dataclass
class MemorySink:
    """Keeps everything in lists: for tests, benches and notebooks."""

    steps: list[int] = field(default_factory=list)
    values: list[dict[str, np.ndarray]] = field(default_factory=list)
    arrays: dict[int, dict[ArrayKey, np.ndarray]] = field(default_factory=dict)
    stop_at: int | None = None

    def write(self, step: int, values: Mapping[str, np.ndarray], arrays: Mapping[ArrayKey, np.ndarray]) -> bool:
        """Append one record."""
        self.steps.append(step)
        self.values.append(dict(values))
        if arrays:
            self.arrays[step] = dict(arrays)
        return True

    def may_save(self, step: int) -> bool:
        """Always."""
        return True

    def should_stop(self, step: int) -> bool:
        """True from step `stop_at` on."""
        return self.stop_at is not None and step >= self.stop_at

    def last(self, name: str) -> np.ndarray:
        """The newest value of a metric."""
        return next(record[name] for record in reversed(self.values) if name in record)


class Recorder:
    """Turns device tensors into NumPy arrays and hands them to a sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def record(self, step: int, values: Mapping[str, Tensor], arrays: Mapping[ArrayKey, Tensor] | None = None) -> bool:
        """Keep the metrics (and arrays) of one step.

        Args:
            step: optimizer steps taken so far; 0 is the untrained model.
            values: `name` or `split/name` -> `(R,)`, or `(R, L)` for one value a layer.
            arrays: `(name, layer)` -> `(R, ...)`: spectra, pictures of the representations.

        Returns:
            False when they could not be kept: the trainer should save a checkpoint and return.
        """
        plain: dict[str, np.ndarray] = {}
        for device in dict.fromkeys(value.device for value in values.values()):
            plain |= _on_host({name: value for name, value in values.items() if value.device == device})
        copied = {key: array.detach().float().cpu().numpy() for key, array in (arrays or {}).items()}
        return self._sink.write(step, plain, copied)

    def should_stop(self, step: int) -> bool:
        """True once the trainer should save a checkpoint and return; asked before every step."""
        return self._sink.should_stop(step)

    def may_save(self, step: int) -> bool:
        """True when a checkpoint of this step may be kept; asked right before."""
        return self._sink.may_save(step)


def _on_host(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Tensors of one device as float64 arrays of their own shapes, by one copy."""
    columns = [value.detach().reshape(len(value), -1) for value in values.values()]
    table = torch.cat(columns, dim=1).cpu().double().numpy()
    parts = np.split(table, np.cumsum([column.shape[1] for column in columns])[:-1], axis=1)
    return {
        name: part if value.ndim > 1 else part[:, 0] for (name, value), part in zip(values.items(), parts, strict=True)
    }


@dataclass(frozen=True)
class Workplace:
    """Where a batch is trained and what it may keep on disk."""

    device: str = "cpu"
    data_folder: Path = Path("data")
    checkpoint: Path | None = None
    checkpoint_seconds: float = 20.0
