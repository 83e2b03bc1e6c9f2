"""One job in its own process: find the trainer, train, keep the lease, and say how it ended."""

import faulthandler
import importlib
import io
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from werank_core.config import explain
from werank_core.datasets.errors import DataError
from werank_core.experiments import experiment
from werank_core.jobs.places import drop_checkpoints, drop_if_empty, tail
from werank_core.store import Store, StoreError, StoreUnavailable, open_store, queue
from werank_core.store.claims import Claim, Heartbeat
from werank_core.store.patience import Patience
from werank_core.store.recorder import StoreSink
from werank_core.vocabulary import RunState

if TYPE_CHECKING:
    from werank_core.training.recorder import Workplace

_BEAT_SECONDS = 0.5
_NICENESS = 5  # the dashboard stays quick while every core trains


@dataclass(frozen=True)
class Assignment:
    """Everything a worker process needs to know about its job."""

    claim: Claim
    store_url: str
    device: str
    visible_gpu: str | None
    threads: int
    data_folder: Path
    checkpoint: Path
    checkpoint_seconds: float
    log: Path


def run_in_child(assignment: Assignment) -> None:
    """The whole life of a worker process."""
    _print_to(assignment.log)
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C in a terminal is for the supervisor
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    os.nice(_NICENESS)
    if assignment.visible_gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = assignment.visible_gpu  # before the first CUDA call
    try:
        store = Patience(assignment.claim.lease_seconds).ask(
            lambda: open_store(assignment.store_url, create=False), stop
        )
        run_job(store, assignment, stop)
    except StoreUnavailable as error:
        # The lease is over by now: whoever looks after the queue takes the job back.
        print(f"The job is given back: {error}", flush=True)
    drop_if_empty(assignment.log)


def run_job(store: Store, assignment: Assignment, stop: threading.Event) -> RunState | None:
    """Train a claimed job to its end, or until `stop` is set.

    Returns:
        How the job ended, `QUEUED` when it was given back to go on later, None when it had been taken away.

    Raises:
        StoreUnavailable: when the store did not answer for a whole lease, so that nobody could be told.
    """
    claimed = assignment.claim
    ask = Patience(claimed.lease_seconds).ask
    sink = ask(lambda: StoreSink(store, claimed, stop), stop)
    error = trace = ""
    with _beating(store, assignment, sink):
        try:
            finished = _train(store, assignment, sink)
            outcome = sink.patience.ask(lambda: _outcome(store, claimed, sink, finished), stop)
        except StoreUnavailable as problem:
            outcome = RunState.QUEUED
            print(f"The job is given back: {problem}", flush=True)
        except Exception as problem:
            outcome, error, trace = RunState.FAILED, one_line(problem), traceback.format_exc()
            print(trace, file=sys.stderr, flush=True)
    (_, seconds), run_steps = sink.pace, sink.run_steps
    if outcome is RunState.QUEUED:
        held = sink.patience.ask(lambda: queue.release(store, claimed, seconds=seconds, run_steps=run_steps), stop)
        return outcome if held else None
    log = tail(assignment.log)

    def finish() -> bool:
        return queue.finish(
            store, claimed, outcome, error, traceback=trace, seconds=seconds, run_steps=run_steps, log=log
        )

    if not sink.patience.ask(finish):
        return None
    if outcome is not RunState.FAILED:  # a batch that failed can be tried again from there
        drop_checkpoints(assignment.checkpoint)
    return outcome


def _outcome(store: Store, claimed: Claim, sink: StoreSink, finished: bool) -> RunState:
    if finished or sink.all_ended:
        return RunState.FINISHED
    reply = queue.heartbeat(store, claimed, Heartbeat(step=sink.step))
    return RunState.CANCELLED if reply.cancel_requested else RunState.QUEUED


def _train(store: Store, assignment: Assignment, sink: StoreSink) -> bool:
    import torch

    from werank_core.training.recorder import Recorder, Workplace

    torch.set_num_threads(assignment.threads)
    device = usable_device(assignment.device)
    sink.patience.ask(lambda: queue.started_on(store, assignment.claim, device), sink.stop)
    place = Workplace(device, assignment.data_folder, assignment.checkpoint, assignment.checkpoint_seconds)
    return trainer(assignment.claim.experiment)(assignment.claim.batch, Recorder(sink), place)


def trainer(name: str) -> Callable[[Any, Any, "Workplace"], bool]:
    """The function the registry names for an experiment; only workers ever load it."""
    module, _, function = experiment(name).trainer.partition(":")
    loaded: Callable[[Any, Any, Workplace], bool] = getattr(importlib.import_module(module), function)
    return loaded


def usable_device(wanted: str) -> str:
    """The device to train on: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        RuntimeError: one sentence, when the wanted one is not there.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, available in present.items() if available)
    if not present[wanted]:
        raise RuntimeError(f"WERANK_DEVICE = {wanted}: PyTorch sees no such device here; use auto or cpu.")
    return wanted


def one_line(problem: Exception) -> str:
    """An error as one sentence for the run's row."""
    if isinstance(problem, ValidationError):
        return "The settings do not fit this version of the program: " + " ".join(explain(problem))
    text = next(iter(str(problem).strip().splitlines()), "") or "no message"
    return text if isinstance(problem, StoreError | DataError) else f"{type(problem).__name__}: {text}"[:400]


@contextmanager
def _beating(store: Store, assignment: Assignment, sink: StoreSink) -> Iterator[None]:
    """Heartbeats from a thread for as long as the block runs."""
    over = threading.Event()
    thread = threading.Thread(target=_beat, args=(store, assignment, sink, over), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _beat(store: Store, assignment: Assignment, sink: StoreSink, over: threading.Event) -> None:
    """Renew the lease and pass on what it hears; a job nobody could be told about for a whole lease is given back."""
    pause = min(_BEAT_SECONDS, assignment.claim.lease_seconds / 3)
    while not over.wait(pause):
        if _orphaned():
            sink.stop.set()
        try:
            steps, seconds = sink.pace
            told = Heartbeat(step=sink.step, log=tail(assignment.log), steps=steps, seconds=seconds)
            reply = queue.heartbeat(store, assignment.claim, told)
        except StoreError as error:
            if sink.patience.is_over() and not sink.stop.is_set():
                print(f"The job is given back: {error}", flush=True)
                sink.stop.set()
            continue
        sink.patience.answered()
        sink.lost = sink.lost or not reply.still_mine
        if reply.cancel_requested:
            sink.stop.set()


def _orphaned() -> bool:
    """Whether the supervisor that started this process is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


class _Log(io.RawIOBase):
    """The log as a file to print to; a full disk takes words away, never a job."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with suppress(OSError):
            os.write(self._descriptor, data)
        return len(data)


def _print_to(log: Path) -> None:
    """Everything this process prints goes to its log, crashes of native code included."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        descriptor = os.open(log, flags, 0o644)
    except OSError:
        descriptor = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.BufferedWriter(_Log(1)), errors="replace", line_buffering=True)
    faulthandler.enable(file=2)
