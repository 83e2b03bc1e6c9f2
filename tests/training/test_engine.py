"""The engine on a quadratic loss whose steps are known: blocks, targets, stopped runs, checkpoints."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from werank_core.training.checkpoints import Checkpoints
from werank_core.training.engine import Engine
from werank_core.training.optim import SGD, Adam
from werank_core.training.run_blocks import of_runs
from werank_core.training.stacked import StackedModel, State

GOALS = torch.tensor([1.0, 2.0, 3.0, 4.0])


def loss(parameters: State, frozen: State, inputs: State) -> State:
    """½ ‖W − goal‖² of every run; counts its calls in a buffer, as BatchNorm does."""
    frozen["num_batches_tracked"] += 1
    return {"loss": (parameters["weight"] - inputs["goal"][:, None, None]).square().sum((1, 2)) / 2}


def new_engine(size: int = 4, *, target: bool = False, adam: bool = False) -> Engine:
    model = StackedModel([nn.BatchNorm1d(1) for _ in GOALS])
    model.parameters = {"weight": torch.zeros(4, 1, 1)}
    model.buffers = {"num_batches_tracked": torch.zeros(4)}
    rates = [0.5] * 4
    optimizer = Adam(model.parameters, rates) if adam else SGD(model.parameters, rates)
    followed = {"weight": torch.full((4, 1, 1), 8.0)} if target else None
    return Engine(
        model, optimizer, [loss] * 4, size, target=followed, decay=lambda s: 0.75, rate=lambda s: 1.0 if s else 0.5
    )


def weights(engine: Engine) -> list[float]:
    return [float(w) for w in engine.parameters["weight"].flatten()]


def inputs(goals: Tensor = GOALS):
    return of_runs({"goal": goals})


@pytest.mark.parametrize("size", [1, 3, 4, 9])
def test_steps_are_those_of_the_formula_whatever_the_block_size(size: int) -> None:
    engine = new_engine(size)
    first = engine.step(0, inputs())
    assert first["loss"].tolist() == [0.5, 2.0, 4.5, 8.0]
    assert weights(engine) == [0.25, 0.5, 0.75, 1.0], "half of the rate at step 0"
    engine.step(1, inputs())
    assert weights(engine) == [0.625, 1.25, 1.875, 2.5]
    assert engine.frozen["num_batches_tracked"].tolist() == [2, 2, 2, 2]


def test_a_target_follows_after_the_step() -> None:
    engine = new_engine(target=True)
    engine.step(1, inputs())
    assert weights(engine) == [0.5, 1.0, 1.5, 2.0]
    assert engine.frozen["target.weight"].flatten().tolist() == [6.125, 6.25, 6.375, 6.5]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_stopped_runs_stay_and_the_others_train_as_before(size: int) -> None:
    engine = new_engine(size)
    engine.step(1, inputs())
    engine.stopped[1] = True
    assert [block.numbers for block in engine.blocks] == {
        1: [(0,), (2,), (3,)], 2: [(0, 2), (3,)], 4: [(0, 2, 3)]
    }[size]  # fmt: skip
    engine.step(2, inputs())
    assert weights(engine) == [0.75, 1.0, 2.25, 3.0]
    assert engine.frozen["num_batches_tracked"].tolist() == [2, 1, 2, 2]


def test_blocks_and_what_they_keep_live_until_others_stop() -> None:
    engine = new_engine(2)
    before = engine.blocks
    before[0].kept["rows"] = 1
    engine.step(0, inputs())
    assert engine.blocks is before
    engine.stopped[3] = True
    assert all(not block.kept for block in engine.blocks)


def test_a_nan_stays_in_its_run() -> None:
    clean, broken = new_engine(), new_engine()
    clean.step(0, inputs())
    broken.step(0, inputs(torch.tensor([1.0, torch.nan, 3.0, 4.0])))
    assert broken.parameters["weight"][1].isnan().all()
    assert [w for run, w in enumerate(weights(broken)) if run != 1] == [0.25, 0.75, 1.0]
    assert weights(clean) == [0.25, 0.5, 0.75, 1.0]


def test_losses_without_a_step_change_nothing() -> None:
    engine = new_engine(3)
    engine.stopped[0] = True
    assert engine.losses(inputs())["loss"].tolist() == [0.5, 2.0, 4.5, 8.0], "of stopped runs too"
    assert weights(engine) == [0, 0, 0, 0]
    assert not engine.frozen["num_batches_tracked"].any()


def test_a_restored_engine_goes_on_bit_by_bit(tmp_path: Path) -> None:
    whole, first, second = (new_engine(2, target=True, adam=True) for _ in range(3))
    checkpoints = Checkpoints(tmp_path / "c", "a")
    for step in range(6):
        for engine in (whole, first) if step < 3 else (whole,):
            engine.step(step, inputs())
            if step == 1:
                engine.stopped[2] = True
    checkpoints.save(first.tree, 3)
    second.step(0, inputs())  # blocks are cut before it is restored
    for step in range(checkpoints.restore(second.tree), 6):
        second.step(step, inputs())
    assert torch.equal(whole.parameters["weight"], second.parameters["weight"])
    assert torch.equal(whole.frozen["target.weight"], second.frozen["target.weight"])


def test_blocks_that_do_not_fit_are_halved_and_numbers_stay(capsys: pytest.CaptureFixture[str]) -> None:
    """Running statistics of what had been computed before memory was out are not counted twice."""
    engine, calls = new_engine(4), []

    def greedy(parameters: State, frozen: State, own: State) -> State:
        values = loss(parameters, frozen, own)
        calls.append(len(values["loss"]))
        if calls[-1] > 1 and own["goal"][-1] == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return values

    engine.run_losses = [greedy] * 4
    engine.step(0, inputs())
    engine.step(1, inputs())
    assert calls == [4, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    assert weights(engine) == [0.625, 1.25, 1.875, 2.5]
    assert engine.frozen["num_batches_tracked"].tolist() == [2, 2, 2, 2]
    assert capsys.readouterr().out.splitlines() == [
        "4 runs do not fit in memory together: 2 at a time from now on.",
        "2 runs do not fit in memory together: 1 at a time from now on.",
    ]


@pytest.mark.parametrize("size", [1, 4])
def test_one_run_that_does_not_fit_is_an_error(size: int) -> None:
    engine = new_engine(size)

    def greedy(parameters: State, frozen: State, own: State) -> State:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine.run_losses = [greedy] * 4
    for call in (lambda: engine.step(0, inputs()), lambda: engine.losses(inputs())):
        with pytest.raises(torch.OutOfMemoryError):
            call()
