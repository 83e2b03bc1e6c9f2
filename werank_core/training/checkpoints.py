"""Checkpoints on disk: complete or not there, also after a power cut, and checked before anything goes on from one."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Union

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from werank_core.training.stacked import State

Tree = Mapping[str, Union[Tensor, torch.Generator, "Tree"]]
"""Tensors and generators that the next steps depend on, by name: a resumed job finds them changed in place."""


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Tensor | torch.Generator]]:
    """Tensors and generators of a tree with their full names, `optimizer.count`."""
    for name, part in tree.items():
        if isinstance(part, Mapping):
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield prefix + name, part


def saved(tree: Tree) -> State:
    """What is kept of a tree, on the CPU; a clone each, because safetensors refuses tensors that share memory."""
    found = ((name, leaf.get_state() if isinstance(leaf, torch.Generator) else leaf) for name, leaf in leaves(tree))
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found}


@torch.no_grad()
def put_back(tree: Tree, state: Mapping[str, Tensor]) -> None:
    """Give every leaf its saved value; training then continues exactly as if it had never stopped."""
    for name, leaf in leaves(tree):
        if isinstance(leaf, torch.Generator):
            leaf.set_state(state[name])
        else:
            leaf.copy_(state[name])


class Checkpoints:
    """The newest checkpoint of one batch and the one before it.

    Args:
        path: file of the newest; the one before has the suffix `.previous`, one that turned out to be damaged
            `.damaged`. None: nothing is kept.
        batch: what tells the batch from every other one, order included.
    """

    def __init__(self, path: Path | None, batch: str) -> None:
        self._path = path
        self._batch = batch

    def save(self, tree: Tree, step: int) -> bool:
        """Keep the state after so many steps; False, with a note in the log, when the disk does not take it.

        Written beside, forced to the disk and renamed: a reader finds this checkpoint or the one before.
        """
        if self._path is None:
            return False
        # The process in its name: one that lost the job may still be at it.
        partial = self._path.with_name(f"{self._path.stem}-{os.getpid()}.partial")
        tensors = saved(tree)
        metadata = {"batch": self._batch, "step": str(step), "digest": _digest(tensors)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, partial, metadata=metadata)
            _force(partial)
            with suppress(FileNotFoundError):
                os.replace(self._path, self._previous)
            os.replace(partial, self._path)
            _force(self._path.parent)
        except (OSError, SafetensorError) as error:
            print(f"No checkpoint of step {step} could be saved: {error}", flush=True)
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return False
        return True

    def restore(self, tree: Tree) -> int:
        """Put back the newest sound checkpoint of this batch; returns the steps taken until then, 0 without one.

        A damaged one is set aside with a note in the log, and the one before takes its place.
        """
        if self._path is None:
            return 0
        for path in (self._path, self._previous):
            try:
                found = self._read(path, tree)
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                _set_aside(path, error)
                continue
            if found is not None:
                state, step = found
                put_back(tree, state)
                return step
        return 0

    def retire(self) -> None:
        """After the last step: the checkpoint is the one before from now on, for whoever cannot write the end down."""
        if self._path is not None:
            with suppress(OSError):
                os.replace(self._path, self._previous)

    @property
    def _previous(self) -> Path:
        assert self._path is not None
        return self._path.with_suffix(".previous")

    def _read(self, path: Path, tree: Tree) -> tuple[State, int] | None:
        """State and step of the file; None where there is none, or one of another batch.

        Raises:
            OSError, SafetensorError, KeyError, ValueError: when it is damaged.
        """
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("batch", self._batch) != self._batch:
                return None
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if metadata["digest"] != _digest(state):
            raise ValueError("its content does not match its digest")
        lacking = [key for key, t in saved(tree).items() if key not in state or state[key].shape != t.shape]
        if lacking:
            raise ValueError(f"it lacks {', '.join(lacking[:3])}")
        return state, int(metadata["step"])


def _digest(state: State) -> str:
    """SHA-256 of names, shapes and numbers: the format itself notices a cut file, but no wrong byte."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _force(path: Path) -> None:
    """Onto the disk, file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_suffix(".damaged")
    print(f"The checkpoint {path.name} is damaged and set aside as {aside.name}: {error}", flush=True)
    with suppress(OSError):
        os.replace(path, aside)
