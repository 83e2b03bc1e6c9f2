"""Sleep, stopped processes and outages, told from silence."""

import time


class Watch:
    """Whether leases that ran out say anything: only to somebody who was awake and saw the store all the while.

    A machine that sleeps stops workers and supervisor alike; the monotonic clock then stands still and the wall clock
    goes on, while a stopped process misses both; a clock that is set makes leases look long over, or endless. After any
    such gap every worker has a whole lease to be heard again.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._looked_at = time.time(), time.monotonic()
        self._since = -lease_seconds + time.monotonic()

    def look(self) -> None:
        """Note that this moment is lived through; often."""
        before, self._looked_at = self._looked_at, (time.time(), time.monotonic())
        if max(abs(now - then) for now, then in zip(self._looked_at, before, strict=True)) > self._lease_seconds / 3:
            self.interrupt()

    def interrupt(self) -> None:
        """Note that the store could not be seen just now."""
        self._since = time.monotonic()

    def is_reliable(self) -> bool:
        """Whether a whole lease was watched without a gap."""
        return time.monotonic() - self._since >= self._lease_seconds
