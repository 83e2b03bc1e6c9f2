"""Where a job runs: the protocol, and this machine.

A cluster (Ray, Slurm) is one more class here: it starts `worker.run_in_child` elsewhere, and the store does the rest.
"""

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from werank_core.jobs.places import Places
from werank_core.jobs.worker import Assignment, run_in_child
from werank_core.settings import Settings
from werank_core.store.claims import Claim


class StartedJob(Protocol):
    """A job somebody started."""

    claim: Claim

    def is_alive(self) -> bool:
        """Whether its process still runs."""

    def stop(self) -> None:
        """Ask it to save its checkpoint and end."""

    def kill(self) -> None:
        """End it at once."""


class Executor(Protocol):
    """A place with room for some jobs at once."""

    slots: int
    devices: str

    def warm_up(self) -> None:
        """Begin to prepare, so that jobs start at once later; returns at once."""

    def is_warm(self) -> bool:
        """Whether it is prepared: before that no job is claimed."""

    def start(self, claimed: Claim) -> StartedJob:
        """Start a job in a free slot.

        Raises:
            OSError: when no process can be started now.
        """

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until a job ends."""


class LocalJob:
    """A job in a child process of this machine.

    Where the system has them, the process is watched and signalled by a file descriptor of its own: that goes on when
    the forkserver, through which Python would learn of its end, was killed.
    """

    def __init__(self, claimed: Claim, process: BaseProcess, slot: int) -> None:
        self.claim = claimed
        self.process = process
        self.slot = slot
        self._descriptor = _process_descriptor(process)
        self._ended = False

    def is_alive(self) -> bool:
        """Whether its process still runs."""
        if not self._ended:
            self._ended = bool(connection.wait([self.sentinel], 0))
            if self._ended and self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
        return not self._ended

    @property
    def sentinel(self) -> int:
        """Becomes ready to read when the process ends."""
        return self.process.sentinel if self._descriptor is None else self._descriptor

    def stop(self) -> None:
        """SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            elif not self._ended and self.process.pid is not None:
                os.kill(self.process.pid, number)


def _process_descriptor(process: BaseProcess) -> int | None:
    """A descriptor that stands for this very process; None where the system has none, or it has ended already."""
    if not hasattr(os, "pidfd_open") or process.pid is None:
        return None
    try:
        return os.pidfd_open(process.pid)
    except OSError:
        return None


class LocalExecutor:
    """This machine: children of a forkserver that has torch loaded, CPU threads shared out, one GPU a slot."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._places = Places.of(settings)
        self._gpus = () if settings.device == "cpu" else visible_gpus()
        self._threads = max(1, (os.cpu_count() or 1) // settings.slots)
        self._jobs: list[LocalJob] = []
        self._warm = threading.Event()
        self._context = multiprocessing.get_context("forkserver")
        self.slots = settings.slots
        self.devices = f"cuda x{len(self._gpus)}" if self._gpus else "cpu"

    def warm_up(self) -> None:
        """Start the forkserver, which loads torch and the trainers: seconds once, milliseconds a job after that."""
        # BLAS reads the variable when it is loaded, and the forkserver looks for modules by the path alone.
        os.environ.setdefault("OMP_NUM_THREADS", str(self._threads))
        os.environ["PYTHONPATH"] = os.pathsep.join(_with_project(os.environ.get("PYTHONPATH", "")))
        self._context.set_forkserver_preload(["werank_core.jobs.preload"])
        threading.Thread(target=self._load, name="warm-up", daemon=True).start()

    def is_warm(self) -> bool:
        """Whether everything is loaded."""
        return self._warm.is_set()

    def _load(self) -> None:
        with suppress(OSError, EOFError):  # where nothing can be started, starting the first job says why
            first = self._context.Process(target=_nothing)
            first.start()
            first.join()
        self._warm.set()

    def start(self, claimed: Claim) -> LocalJob:
        """Start a job in a free slot."""
        self._jobs = [job for job in self._jobs if job.is_alive()]
        slot = min(set(range(self.slots)) - {job.slot for job in self._jobs})
        process = self._context.Process(target=run_in_child, args=(self._assignment(claimed, slot),))
        try:
            process.start()
        except EOFError as error:
            raise OSError("the process that workers are forked from has ended") from error
        job = LocalJob(claimed, process, slot)
        self._jobs.append(job)
        return job

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until a job ends."""
        connection.wait([job.sentinel for job in self._jobs if job.is_alive()], seconds)

    def _assignment(self, claimed: Claim, slot: int) -> Assignment:
        return Assignment(
            claim=claimed,
            store_url=self._settings.store_url,
            device=self._settings.device,
            visible_gpu=self._gpus[slot % len(self._gpus)] if len(self._gpus) > 1 else None,
            threads=self._threads,
            data_folder=self._settings.data_folder,
            checkpoint=self._places.checkpoint(claimed),
            checkpoint_seconds=self._settings.checkpoint_seconds,
            log=self._places.log(claimed.job_id),
        )


def _nothing() -> None:
    """What the first child does: by the time it ends, the forkserver has loaded everything."""


PROJECT = Path(__file__).parents[2]
"""The folder that holds the package: what has to be on the path of a new process."""


def _with_project(path: str) -> Iterable[str]:
    parts = [part for part in path.split(os.pathsep) if part and part != str(PROJECT)]
    return [str(PROJECT), *parts]


def visible_gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs this process may use, as CUDA_VISIBLE_DEVICES wants them, without loading torch."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(part.strip() for part in allowed.split(",") if part.strip() not in ("", "-1"))
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(number) for number in range(sum(line.startswith("GPU ") for line in listed.splitlines())))
