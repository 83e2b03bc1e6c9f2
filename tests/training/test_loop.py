"""The loop around a task: when it records."""

from werank_core.training.loop import record_steps


def test_records_are_evenly_spaced_with_both_ends() -> None:
    assert record_steps(10, 5) == {0, 2, 4, 6, 8, 10}
    assert record_steps(3, 50) == {0, 1, 2, 3}
    assert record_steps(1, 1) == {0, 1}
