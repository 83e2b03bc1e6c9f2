"""The one training loop: steps, records, checkpoints, stopping and resuming, for every experiment."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from werank_core.sweeps import RunBatch
from werank_core.training.recorder import ArrayKey, Recorder, Workplace

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

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next steps depend on."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put such a state back; training then continues exactly as if it had never stopped."""


def record_steps(num_steps: int, records: int) -> frozenset[int]:
    """Step 0, the last step and `records` evenly spaced ones in between."""
    return frozenset(np.linspace(0, num_steps, min(records, num_steps) + 1).round().astype(int).tolist())


def train(task: Task, batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Run a task to its end, resuming from the workplace's checkpoint if there is one of the same batch.

    Returns:
        True when all steps were taken; False when the recorder asked to stop, with the checkpoint saved.
    """
    marks = record_steps(task.num_steps, batch.config.records)
    name = "-".join(run.id for run in batch.runs)
    step = _restore(task, place.checkpoint, name)
    saved = time.monotonic()
    while True:
        if step in marks or step >= task.num_steps:
            recorder.record(step, *task.measure(step))
        if step >= task.num_steps:
            break
        if recorder.should_stop(step):
            _save(task, place.checkpoint, name, step)
            return False
        task.advance(step)
        step += 1
        if time.monotonic() - saved > place.checkpoint_seconds:
            _save(task, place.checkpoint, name, step)
            saved = time.monotonic()
    if place.checkpoint is not None:
        place.checkpoint.unlink(missing_ok=True)
    return True


def _save(task: Task, path: Path | None, name: str, step: int) -> None:
    """Written beside and renamed: a reader sees the old checkpoint or the new one, never half of one."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    # A clone each: safetensors refuses tensors that share memory.
    tensors = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in task.state().items()}
    save_file(tensors, partial, metadata={"batch": name, "step": str(step)})
    os.replace(partial, path)


def _restore(task: Task, path: Path | None, name: str) -> int:
    """Load the checkpoint if it is this batch's; returns the steps already taken."""
    if path is None or not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("batch") != name:
            return 0
        task.restore({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    return int(metadata["step"])


def generator_state(generator: torch.Generator) -> Tensor:
    """State of a generator as a tensor to save."""
    return generator.get_state().clone()
