"""Checkpoints: the newest sound one of the same batch, whatever happened to the file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from werank_core.training.checkpoints import Checkpoints, Tree, leaves


class Counting:
    """A task of two tensors."""

    def __init__(self) -> None:
        self.weight = torch.zeros(64)
        self.cursor = torch.tensor(0)

    @property
    def tree(self) -> Tree:
        return {"weight": self.weight, "cursor": self.cursor}

    def at(self, step: int) -> Tree:
        self.weight, self.cursor = torch.full((64,), float(step)), torch.tensor(step)
        return self.tree


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "job.safetensors"


def restored(path: Path, batch: str = "a-b") -> tuple[int, float, int]:
    task = Counting()
    step = Checkpoints(path, batch).restore(task.tree)
    return step, float(task.weight[0]), int(task.cursor)


def names(path: Path) -> set[str]:
    return {found.suffix for found in path.parent.iterdir()}


def test_the_newest_is_restored_and_the_one_before_kept(path: Path) -> None:
    assert restored(path) == (0, 0.0, 0)
    for step in (3, 7):
        assert Checkpoints(path, "a-b").save(Counting().at(step), step)
    assert restored(path) == (7, 7.0, 7)
    assert names(path) == {".safetensors", ".previous"}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def one_bit_flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


def header_only(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: 8 + int.from_bytes(data[:8], "little")])


def without_a_tensor(path: Path) -> None:
    save_file({"weight": torch.ones(64)}, path, {"batch": "a-b", "step": "7", "digest": "0"})


def without_a_step(path: Path) -> None:
    save_file({"weight": torch.ones(64), "cursor": torch.tensor(1)}, path, {"batch": "a-b"})


DAMAGES = [cut, emptied, zeroed, one_bit_flipped, header_only, without_a_tensor, without_a_step]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_set_aside_with_a_note_and_the_one_before_takes_its_place(
    path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (3, 7):
        Checkpoints(path, "a-b").save(Counting().at(step), step)
    damage(path)
    assert restored(path) == (3, 3.0, 3)
    assert names(path) == {".damaged", ".previous"}
    assert "job.safetensors is damaged and set aside as job.damaged" in capsys.readouterr().out
    Checkpoints(path, "a-b").save(Counting().at(9), 9)
    assert restored(path) == (9, 9.0, 9)


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_sound_one_training_starts_at_step_0(path: Path, damage: Callable[[Path], None]) -> None:
    for step in (3, 7):
        Checkpoints(path, "a-b").save(Counting().at(step), step)
    damage(path)
    damage(path.with_suffix(".previous"))
    assert restored(path) == (0, 0.0, 0)


def test_that_of_another_batch_or_order_is_left_alone(path: Path) -> None:
    Checkpoints(path, "a-b").save(Counting().at(3), 3)
    assert restored(path, "b-a") == (0, 0.0, 0)
    Checkpoints(path, "b-a").save(Counting().at(5), 5)
    assert restored(path, "b-a") == (5, 5.0, 5)
    assert restored(path) == (3, 3.0, 3), "the one before is of this batch"


def test_a_state_of_another_shape_is_not_restored(path: Path) -> None:
    Checkpoints(path, "a-b").save({"weight": torch.ones(65), "cursor": torch.tensor(3)}, 3)
    assert restored(path) == (0, 0.0, 0)


def test_a_disk_that_takes_nothing_costs_no_work(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Checkpoints(path, "a-b").save(Counting().at(3), 3)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("werank_core.training.checkpoints.os.fsync", refuse)
        assert not Checkpoints(path, "a-b").save(Counting().at(7), 7)
    assert "No space left on device" in capsys.readouterr().out
    assert names(path) == {".safetensors"}
    assert restored(path) == (3, 3.0, 3)


def test_a_folder_that_cannot_be_made_costs_no_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not Checkpoints(tmp_path / "file" / "job.safetensors", "a-b").save(Counting().tree, 1)
    assert Checkpoints(tmp_path / "file" / "job.safetensors", "a-b").restore(Counting().tree) == 0


def test_a_retired_one_still_serves(path: Path) -> None:
    """Whoever could not write the end down goes on from there."""
    Checkpoints(path, "a-b").save(Counting().at(3), 3)
    Checkpoints(path, "a-b").retire()
    assert names(path) == {".previous"}
    assert restored(path) == (3, 3.0, 3)


def test_scalars_empty_and_half_precision_tensors_come_back(path: Path) -> None:
    tensors = {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "half": torch.ones(3, dtype=torch.bfloat16)}
    assert Checkpoints(path, "a").save(tensors, 2)
    found = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    assert Checkpoints(path, "a").restore(found) == 2
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_a_tree_is_put_back_in_place_generators_and_shared_tensors_included(path: Path) -> None:
    """Whoever holds a tensor or a generator of the tree sees the saved one."""
    generator, weight = torch.Generator().manual_seed(3), torch.ones(2)
    tree = {"engine": {"weight": weight, "same": weight, "streams": {"0": generator}}}
    assert [name for name, _ in leaves(tree)] == ["engine.weight", "engine.same", "engine.streams.0"]
    Checkpoints(path, "a").save(tree, 5)
    expected = torch.rand(4, generator=generator)
    weight.zero_()
    assert Checkpoints(path, "a").restore(tree) == 5
    assert weight.tolist() == [1, 1]
    assert torch.equal(torch.rand(4, generator=generator), expected)
