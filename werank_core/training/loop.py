"""The one training loop: steps, records, checkpoints, stopping and resuming, for every experiment."""

import ctypes
import platform
import time
from typing import Protocol

import numpy as np
from torch import Tensor

from werank_core.models.precision import reproducible_kernels
from werank_core.sweeps import RunBatch
from werank_core.training.checkpoints import Checkpoints, Tree
from werank_core.training.recorder import ArrayKey, Recorder, Workplace

# mallopt's numbers, from malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3

Values = dict[str, Tensor]
Arrays = dict[ArrayKey, Tensor]


class Task(Protocol):
    """What an experiment provides for a batch of runs."""

    @property
    def num_steps(self) -> int:
        """Steps to take; may shrink while training (a task that is done early)."""

    def advance(self, step: int) -> None:
        """Take optimizer step number `step`, counted from 0."""

    def measure(self, step: int) -> tuple[Values, Arrays]:
        """Everything to record after `step` steps; draws from no generator that training uses."""

    @property
    def tree(self) -> Tree:
        """Every tensor and generator that the next steps depend on."""


def record_steps(num_steps: int, records: int) -> frozenset[int]:
    """Step 0, the last step and `records` evenly spaced ones in between."""
    return frozenset(np.linspace(0, num_steps, min(records, num_steps) + 1).round().astype(int).tolist())


def keep_freed_memory() -> None:
    """Let glibc keep what a step or record frees for the next: page faults take up to a third of the time else.

    Blocks below 32 MB, the largest that its heap serves, come from the heap, whose top is trimmed from 1 GB on.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, size in ((_MMAP_THRESHOLD, 2**25), (_TRIM_THRESHOLD, 2**30), (_TOP_PAD, 2**26)):
            mallopt(parameter, size)


def train(task: Task, batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Run a task to its end, resuming from the workplace's checkpoint if there is a sound one of the same batch.

    Returns:
        True when all steps were taken and recorded; False when the recorder asked to stop, with the checkpoint saved.
    """
    keep_freed_memory()
    with reproducible_kernels():
        return _train(task, batch, recorder, place)


def _train(task: Task, batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    marks = record_steps(task.num_steps, batch.config.records)
    checkpoints = Checkpoints(place.checkpoint, "-".join(run.id for run in batch.runs))
    step = checkpoints.restore(task.tree)
    saved = time.monotonic()
    while True:
        kept = True
        if step in marks or step >= task.num_steps:
            kept = recorder.record(step, *task.measure(step))
        if step >= task.num_steps and kept:
            checkpoints.retire()
            return True
        if not kept or recorder.should_stop(step):
            if recorder.may_save(step):
                checkpoints.save(task.tree, step)
            return False
        task.advance(step)
        step += 1
        if time.monotonic() - saved > place.checkpoint_seconds:
            if recorder.may_save(step):
                checkpoints.save(task.tree, step)
            saved = time.monotonic()
