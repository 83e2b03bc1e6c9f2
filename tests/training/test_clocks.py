"""Clocks count what runs inside them; how long that is depends on the machine."""

from werank_core.training.clocks import StepClock, times_as_long


def test_a_clock_starts_anew_when_it_is_read() -> None:
    clock = StepClock()
    assert clock.read() is None
    for _ in range(2):
        with clock:
            sum(range(1000))
    mean = clock.read()
    assert mean is not None
    assert mean > 0
    assert clock.read() is None


def test_calls_are_compared_in_turn() -> None:
    calls: list[str] = []
    ratio = times_as_long(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3)
    assert calls == ["a", "b"] * 3
    assert ratio > 0
