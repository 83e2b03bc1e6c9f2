"""One job in its own process: find the trainer, train, keep the lease, and say how it ended."""

import faulthandler
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from werank_core.config import explain
from werank_core.experiments import experiment
from werank_core.jobs.places import tail
from werank_core.store import Store, StoreError, open_store, queue
from werank_core.store.queue import Claim, Heartbeat
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
    run_job(open_store(assignment.store_url), assignment, stop)


def run_job(store: Store, assignment: Assignment, stop: threading.Event) -> RunState | None:
    """Train a claimed job to its end, or until `stop` is set.

    Returns:
        How the job ended, `QUEUED` when it was given back to go on later, None when it had been taken away.
    """
    claimed, started = assignment.claim, time.monotonic()
    sink = StoreSink(store, claimed, stop)
    error = trace = ""
    with _beating(store, assignment, sink):
        try:
            finished = _train(store, assignment, sink)
            outcome = _outcome(store, claimed, sink, finished)
        except Exception as problem:
            outcome, error, trace = RunState.FAILED, one_line(problem), traceback.format_exc()
            print(trace, file=sys.stderr, flush=True)
    seconds = time.monotonic() - started
    if outcome is RunState.QUEUED:
        return outcome if queue.release(store, claimed, seconds=seconds) else None
    log = tail(assignment.log)
    if not queue.finish(store, claimed, outcome, error, traceback=trace, seconds=seconds, log=log):
        return None
    assignment.checkpoint.unlink(missing_ok=True)
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
    queue.started_on(store, assignment.claim, device)
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
    return text if isinstance(problem, StoreError) else f"{type(problem).__name__}: {text}"[:400]


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
    """Renew the lease and pass on what it hears; a store that is busy is asked again at the next beat."""
    pause = min(_BEAT_SECONDS, assignment.claim.lease_seconds / 3)
    while not over.wait(pause):
        if _orphaned():
            sink.stop.set()
        with suppress(StoreError):
            told = Heartbeat(step=sink.step, log=tail(assignment.log))
            reply = queue.heartbeat(store, assignment.claim, told)
            sink.lost = sink.lost or not reply.still_mine
            if reply.cancel_requested:
                sink.stop.set()


def _orphaned() -> bool:
    """Whether the supervisor that started this process is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _print_to(log: Path) -> None:
    """Everything this process prints goes to its log, crashes of native code included."""
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    faulthandler.enable()
