"""When leases that ran out say something: after a whole lease awake and with the store in sight."""

import pytest

from werank_core.jobs import watch
from werank_core.jobs.watch import Watch


class Clocks:
    """Both clocks, moved by hand: a machine asleep stops the monotonic one only."""

    def __init__(self) -> None:
        self.wall, self.lived = 1_000_000.0, 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.lived

    def live(self, seconds: float) -> None:
        self.wall, self.lived = self.wall + seconds, self.lived + seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(watch, "time", made)
    return made


def watched(watch: Watch, clocks: Clocks, seconds: int) -> bool:
    for _ in range(seconds):
        clocks.live(1.0)
        watch.look()
    return watch.is_reliable()


def test_a_new_supervisor_trusts_what_it_finds(clocks: Clocks) -> None:
    assert Watch(30.0).is_reliable()


@pytest.mark.parametrize("asleep", [True, False])
def test_after_a_gap_every_worker_has_a_whole_lease(clocks: Clocks, asleep: bool) -> None:
    """A machine that slept stops one clock, a stopped process sees both move on."""
    seen = Watch(30.0)
    for _ in range(6):
        assert watched(seen, clocks, 40)
        clocks.wall += 7200
        clocks.lived += 0 if asleep else 7200
        seen.look()
        assert not seen.is_reliable()
        assert not watched(seen, clocks, 29)
        assert watched(seen, clocks, 2)


def test_a_clock_that_is_set_back_says_nothing_of_workers(clocks: Clocks) -> None:
    """Until they are heard again, their last words are from the future."""
    seen = Watch(30.0)
    assert watched(seen, clocks, 40)
    clocks.wall -= 3600
    seen.look()
    assert not watched(seen, clocks, 29)
    assert watched(seen, clocks, 2)


def test_a_store_out_of_sight_says_nothing_of_workers(clocks: Clocks) -> None:
    seen = Watch(30.0)
    assert watched(seen, clocks, 40)
    seen.interrupt()
    assert not watched(seen, clocks, 29)
    assert watched(seen, clocks, 2)
