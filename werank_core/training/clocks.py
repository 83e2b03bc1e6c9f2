"""What a step costs: recorded beside the metrics, and different every time."""

import statistics
import time
from collections.abc import Callable


class StepClock:
    """Counts the steps that run inside it, and their seconds."""

    def __init__(self) -> None:
        self._seconds, self._steps = 0.0, 0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds += time.perf_counter() - self._start
        self._steps += 1

    def read(self) -> float | None:
        """Mean seconds of a step since the last reading; None if there was none."""
        mean = self._seconds / self._steps if self._steps else None
        self._seconds, self._steps = 0.0, 0
        return mean


def times_as_long(call: Callable[[], object], other: Callable[[], object], rounds: int = 5) -> float:
    """How many times as long as the other a call takes: the median of several rounds in turn."""
    clock, ratios = StepClock(), []
    for _ in range(rounds):
        seconds = []
        for each in (call, other):
            with clock:
                each()
            seconds.append(clock.read() or 0.0)
        ratios.append(seconds[0] / max(seconds[1], 1e-9))
    return statistics.median(ratios)
