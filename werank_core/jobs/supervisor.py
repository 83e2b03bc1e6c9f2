"""The supervisor: one a machine and store. It starts jobs, passes cancels on, takes back what dead workers held."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from werank_core.experiments import code_version
from werank_core.jobs.executors import PROJECT, Executor, LocalExecutor, StartedJob
from werank_core.jobs.places import Places, drop_checkpoints, drop_if_empty, tail
from werank_core.jobs.watch import Watch
from werank_core.settings import Settings
from werank_core.store import Store, StoreError, StoreUnavailable, machines, open_store, queue
from werank_core.store.errors import READ_ONLY
from werank_core.store.files import identity
from werank_core.vocabulary import RunState

POLL_SECONDS = 0.1
_HOUSEKEEPING_SECONDS = 2.0
_KILL_AFTER_SECONDS = 5.0
_LOCK_SECONDS = 2.0
"""Longer than anybody holds the lock just to see whether it is free."""


class Ending(StrEnum):
    """Why a supervisor returned."""

    BUSY = "another supervisor works on this store"
    IDLE = "nothing to do"
    STOPPED = "stopped"
    OUTDATED = "the code changed: start again"
    DISPLACED = "its lock was removed: another supervisor may be at work"


@dataclass
class _Watched:
    """A started job and when it was asked to stop."""

    job: StartedJob
    stopped_at: float | None = None


_started: dict[Path, subprocess.Popen[bytes]] = {}
"""The supervisors this process started, by lock: one that has not come to its lock yet is not started again."""


def ensure_supervisor(settings: Settings) -> bool:
    """Make sure that one runs for the settings' store; returns whether it had to be started.

    It is a process of its own and outlives whoever calls this; a second one would find the lock taken and leave.

    Raises:
        StoreError: one sentence, in a read-only demo or when the home folder cannot be used.
    """
    if settings.demo:
        raise StoreError(READ_ONLY)
    places = Places.of(settings)
    try:
        places.make()
        started = _started.get(places.lock)
        if (started is not None and started.poll() is None) or _is_held(places):
            return False
        with places.supervisor_log.open("ab") as log:
            _started[places.lock] = subprocess.Popen(
                [sys.executable, "-m", "werank_core", "worker", "--detached"],
                cwd=PROJECT, env={**os.environ, **environment(settings)}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
    except OSError as error:
        raise StoreUnavailable(f"The supervisor cannot be started from {places.folder}: {_reason(error)}.") from error
    return True


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables of a child process."""
    values = settings.model_dump() | {"store": settings.store_url}
    path = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {f"WERANK_{name.upper()}": str(value) for name, value in values.items()} | {"PYTHONPATH": path}


def code_on_disk() -> str:
    """The code version as it would be if this process started now."""
    return code_version.__wrapped__()


def _is_held(places: Places) -> bool:
    try:
        with FileLock(places.lock).acquire(blocking=False):
            return False
    except Timeout:
        return True


def serve(
    settings: Settings, *, stopped: Callable[[], bool], forever: bool = False, say: Callable[[str], None] = print
) -> Ending:
    """Supervise until stopped, idle for long (unless `forever`), or outdated.

    Raises:
        StoreError: one sentence, when the store cannot be opened or the home folder not be written.
    """
    if settings.demo:
        raise StoreError(READ_ONLY)
    places = Places.of(settings)
    store = open_store(settings.store_url)
    while True:
        try:
            places.make()
            with FileLock(places.lock).acquire(timeout=_LOCK_SECONDS):
                supervisor = Supervisor(store, LocalExecutor(settings), settings, say)
                ending = supervisor.run(stopped, forever=forever)
        except Timeout:
            return Ending.BUSY
        except OSError as error:
            raise StoreError(f"No jobs can be worked on from {places.folder}: {_reason(error)}.") from error
        # Somebody may have submitted between the last look at the queue and the release of the lock.
        if ending is not Ending.IDLE or not queue.has_queued(store):
            return ending


class Supervisor:
    """The loop over one store and one executor."""

    def __init__(
        self, store: Store, executor: Executor, settings: Settings, say: Callable[[str], None] = print
    ) -> None:
        self._store = store
        self._executor = executor
        self._settings = settings
        self._places = Places.of(settings)
        self._say = say
        self._jobs: dict[tuple[str, int], _Watched] = {}
        self._name = queue.worker_name(socket.gethostname(), os.getpid())
        self._started_at = time.time()
        self._kept_house_at = -_HOUSEKEEPING_SECONDS
        self._busy_at = time.monotonic()
        self._watch = Watch(settings.lease_seconds)
        self._trouble = ""
        self._lock = identity(self._places.lock)
        self._outdated = False

    def run(self, stopped: Callable[[], bool], *, forever: bool = False) -> Ending:
        """Work until stopped, idle or outdated; leaves no child behind."""
        self._say(f"supervisor {self._name}: {self._executor.slots} slots on {self._executor.devices}")
        self._places.make()
        self._executor.warm_up()
        with suppress(StoreError):
            self._places.tidy(queue.resumable_jobs(self._store))
        try:
            while (ending := self._ending(stopped, forever)) is None:
                self._turn_safely()
                self._executor.wait(POLL_SECONDS) if self._jobs else time.sleep(POLL_SECONDS)
        finally:
            self._stop_all()
            with suppress(StoreError):
                machines.sign_off(self._store, self._name)
        self._say(f"supervisor {self._name}: {ending}")
        return ending

    def _ending(self, stopped: Callable[[], bool], forever: bool) -> Ending | None:
        if stopped():
            return Ending.STOPPED
        if identity(self._places.lock) != self._lock:
            return Ending.DISPLACED
        if self._outdated and not self._jobs:
            return Ending.OUTDATED
        idle = time.monotonic() - self._busy_at
        return Ending.IDLE if idle > 60 * self._settings.idle_minutes and not forever else None

    def _turn_safely(self) -> None:
        """One look at everything; a store or disk that cannot be used for a while is no reason to give up."""
        try:
            self.turn()
        except (StoreError, OSError) as error:
            self._watch.interrupt()
            if str(error) != self._trouble:
                self._say(f"supervisor: {error}")
            self._trouble = str(error)
            time.sleep(1.0)

    def turn(self) -> None:
        """Reap, pass cancels on, keep house, start what waits."""
        self._watch.look()
        self._reap()
        self._stop_unwanted()
        if time.monotonic() - self._kept_house_at >= _HOUSEKEEPING_SECONDS:
            self._keep_house()
        if self._executor.is_warm():
            self._start_waiting()
        if self._jobs or not self._executor.is_warm():
            self._busy_at = time.monotonic()

    def _reap(self) -> None:
        """Forget the jobs whose process has ended; one that ended without a word is taken back."""
        for key, watched in list(self._jobs.items()):
            if watched.job.is_alive():
                continue
            claimed, log = watched.job.claim, self._places.log(key[0])
            outcome = queue.lose(self._store, claimed, log=tail(log))
            if outcome is not None:
                self._say(f"job {claimed.job_id}: its worker is gone; now {outcome}")
            if outcome is RunState.CANCELLED:
                drop_checkpoints(self._places.checkpoint(claimed))
            drop_if_empty(log)
            del self._jobs[key]

    def _stop_unwanted(self) -> None:
        """Stop the jobs somebody cancelled, and those that are somebody else's by now; kill what does not listen."""
        claims = [watched.job.claim for watched in self._jobs.values()]
        for key in queue.unwanted(self._store, claims) if claims else ():
            watched, now = self._jobs[key], time.monotonic()
            if watched.stopped_at is None:
                watched.job.stop()
                watched.stopped_at = now
            elif now - watched.stopped_at > _KILL_AFTER_SECONDS:
                watched.job.kill()

    def _keep_house(self) -> None:
        self._kept_house_at = time.monotonic()
        machines.sign_on(self._store, self._name, self._executor.slots, self._executor.devices, self._started_at)
        self._trouble = ""  # it could be written to
        if not self._watch.is_reliable():
            return
        expired, own = queue.expired_jobs(self._store), {watched.job.claim.job_id for watched in self._jobs.values()}
        for watched in self._jobs.values():
            if watched.job.claim.job_id in expired and watched.job.is_alive():
                # Taken back when it has ended: two processes never train one job.
                self._say(f"job {watched.job.claim.job_id}: its worker fell silent and is killed")
                watched.job.kill()
        if count := queue.take_back_expired(self._store, spared=own) if expired - own else 0:
            self._say(f"took back {count} jobs whose workers fell silent")

    def _start_waiting(self) -> None:
        while len(self._jobs) < self._executor.slots and queue.has_queued(self._store):
            # A job is trained by the code that is there when it starts, not by what was there when this process did.
            self._outdated = self._outdated or code_version() != code_on_disk()
            if self._outdated:
                return
            claimed = queue.claim(self._store, self._name, self._settings.lease_seconds)
            if claimed is None:
                return
            try:
                started = self._executor.start(claimed)
            except OSError:
                queue.release(self._store, claimed)
                raise
            self._jobs[claimed.key] = _Watched(started)
            self._say(f"job {claimed.job_id}: {len(claimed.run_ids)} runs of {claimed.experiment}")

    def _stop_all(self) -> None:
        """Let every job save its checkpoint and go back to the queue; what does not end in time is killed."""
        for watched in self._jobs.values():
            watched.job.stop()
        deadline = time.monotonic() + _KILL_AFTER_SECONDS
        while any(watched.job.is_alive() for watched in self._jobs.values()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for watched in self._jobs.values():
            watched.job.kill()
            with suppress(StoreError):
                queue.release(self._store, watched.job.claim)
            drop_if_empty(self._places.log(watched.job.claim.job_id))
        self._jobs.clear()
