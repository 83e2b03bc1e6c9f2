"""Blocks of runs: how they are cut, and the loss of one run made one of many."""

import pytest
import torch

from werank_core.training.run_blocks import Block, PerRun, blocks, of_runs, runs_at_once, whole
from werank_core.training.stacked import State


@pytest.mark.parametrize("left_out", [None, 2])
def test_values_of_blocks_are_put_together_and_0_where_a_run_is_in_none(left_out: int | None) -> None:
    values = torch.arange(10.0).reshape(5, 2)
    cut = blocks([lambda p, f, i: p] * 5, 2, [run for run in range(5) if run != left_out])
    found = whole(cut, [of_runs({"v": values})(block) for block in cut], 5)["v"]
    expected = values.clone()
    expected[slice(0, 0) if left_out is None else left_out] = 0
    assert torch.equal(found, expected)


def test_on_a_cpu_so_many_runs_go_together_as_the_limit_holds() -> None:
    assert runs_at_once(100, torch.zeros(1), 1_000) == 10
    assert runs_at_once(2_000, torch.zeros(1), 1_000) == 1


class TestPerRun:
    def parts(self) -> tuple[State, State, list[State]]:
        shared = torch.rand(5)
        return {"w": torch.rand(3, 5)}, {"b": torch.zeros(3, 2)}, [{"x": shared, "a": torch.rand(2)} for _ in range(3)]

    def test_one_run_is_called_directly_and_several_are_mapped(self) -> None:
        seen = []

        def of_one(parameters: State, frozen: State, own: State) -> State:
            seen.append({name: tuple(tensor.shape) for name, tensor in (parameters | frozen | own).items()})
            frozen["b"] += own["a"]
            return {"loss": (parameters["w"] * own["x"]).sum() + own["a"].sum()}

        parameters, frozen, own = self.parts()
        together = PerRun(of_one)(parameters, frozen, own)["loss"]
        assert torch.equal(frozen["b"], torch.stack([part["a"] for part in own])), "changed in place"
        alone = [PerRun(of_one)({"w": parameters["w"][r : r + 1]}, {"b": frozen["b"][r : r + 1]}, own[r : r + 1])
                 for r in range(3)]  # fmt: skip
        torch.testing.assert_close(together, torch.cat([part["loss"] for part in alone]))
        assert seen == [{"w": (5,), "b": (2,), "x": (5,), "a": (2,)}] * 4

    def test_runs_of_different_losses_are_different_blocks(self) -> None:
        one, two = PerRun(lambda p, f, i: p), PerRun(lambda p, f, i: f)
        cut = blocks([one, one, one, two], 2)
        assert [(block.loss, block.numbers, block.runs) for block in cut] == [
            (one, (0, 1), slice(0, 2)), (one, (2,), slice(2, 3)), (two, (3,), slice(3, 4)),
        ]  # fmt: skip
        assert isinstance(cut[0], Block)
