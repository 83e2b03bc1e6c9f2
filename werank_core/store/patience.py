"""Waiting for a store that does not answer."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from werank_core.store.errors import StoreUnavailable

Answer = TypeVar("Answer")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class Patience:
    """Asks again, with growing pauses, until the store has not answered for so many seconds.

    Seconds are those this process lived through: sleep of the machine does not count.

    Args:
        seconds: how long it may give no answer.
        say: told once, when waiting begins.
    """

    def __init__(self, seconds: float, say: Callable[[str], None] | None = None) -> None:
        self._seconds = seconds
        self._say = say
        self._answered_at = time.monotonic()
        self.waited = 0.0
        """Seconds spent on waiting so far."""

    def answered(self) -> None:
        """Note that the store answered just now."""
        self._answered_at = time.monotonic()

    def is_over(self) -> bool:
        """Whether it has not answered for too long."""
        return time.monotonic() - self._answered_at > self._seconds

    def ask(self, question: Callable[[], Answer], stop: threading.Event | None = None) -> Answer:
        """What the question returns, as soon as the store answers.

        Args:
            question: reads or writes the store; asked again from the start, so it must do its work in one transaction.
            stop: set from outside when waiting has become pointless.

        Raises:
            StoreUnavailable: when patience is over or `stop` was set.
        """
        stop, pause, began = stop or threading.Event(), _FIRST_PAUSE, time.monotonic()
        while True:
            try:
                answer = question()
            except StoreUnavailable as error:
                if pause == _FIRST_PAUSE and self._say is not None:
                    self._say(f"Waiting for the store: {error}")
                if self.is_over() or stop.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.answered()
                self.waited += time.monotonic() - began if pause > _FIRST_PAUSE else 0.0
                return answer
