"""How one job ends: every outcome is written where a person looks, and a lost job writes nothing."""

import io
import sqlite3
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from torch import Tensor

from werank_core.experiments import EXPERIMENTS
from werank_core.jobs import worker
from werank_core.jobs.places import Places
from werank_core.jobs.worker import Assignment, run_job, usable_device
from werank_core.settings import Settings
from werank_core.store import Store, StoreUnavailable, open_store, opening, queries, queue, recorder
from werank_core.store.runs import request_cancel, retry, submit
from werank_core.store.schema import job
from werank_core.sweeps import RunBatch, SweepSpec
from werank_core.training import toy_ssl
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.vocabulary import RunState

Train = Callable[[RunBatch, Recorder, Workplace], bool]
Start = Callable[..., Assignment]


@pytest.fixture
def start(
    store: Store, settings: Settings, make_spec: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> Start:
    """Submit a sweep that this trainer trains, and claim its job."""

    def started(train: Train, lease_seconds: float = 30.0, **changes: object) -> Assignment:
        module = types.ModuleType("trainer_of_this_test")
        vars(module)["train"] = train
        monkeypatch.setitem(sys.modules, module.__name__, module)
        changed = replace(EXPERIMENTS["toy_ssl"], trainer=f"{module.__name__}:train")
        monkeypatch.setitem(EXPERIMENTS, "toy_ssl", changed)
        submit(store, make_spec(**changes))
        claimed = queue.claim(store, "test", lease_seconds)
        assert claimed is not None
        places = Places.of(settings)
        places.make()
        return Assignment(
            claim=claimed, store_url=settings.store_url, device="cpu", visible_gpu=None,
            threads=1, data_folder=settings.data_folder,
            checkpoint=places.checkpoint(claimed), checkpoint_seconds=1.0, log=places.log(claimed.job_id),
        )  # fmt: skip

    return started


def finishes(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Records once and ends."""
    recorder.record(batch.config.num_steps, {"loss": torch.ones(len(batch))})
    return True


def waits_for_the_end(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
    """Never done by itself: saves a checkpoint when told to stop."""
    step = 0
    while not recorder.should_stop(step):
        step += 1
        threading.Event().wait(0.01)
    assert place.checkpoint is not None
    place.checkpoint.write_text("where I was")
    return False


def states(store: Store) -> set[str]:
    return set(queries.runs(store)["state"])


def test_a_job_that_ends_well(store: Store, start: Start) -> None:
    assignment = start(finishes)
    assignment.checkpoint.write_text("left over")
    assert run_job(store, assignment, threading.Event()) is RunState.FINISHED
    row = queries.runs(store).iloc[0]
    assert (row["state"], row["step"], row["device"]) == ("finished", 10, "cpu")
    assert set(queries.final_metrics(store)["value"]) == {1.0}
    assert not assignment.checkpoint.exists()


def test_an_exception_is_one_line_and_a_traceback(store: Store, start: Start) -> None:
    def breaks(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        raise ArithmeticError("it broke\nin two lines")

    assert run_job(store, start(breaks), threading.Event()) is RunState.FAILED
    details = queries.run_details(store, queries.runs(store)["run_id"][0])
    assert details.state is RunState.FAILED
    assert details.error == "ArithmeticError: it broke"
    assert "Traceback (most recent call last)" in details.traceback
    assert "in breaks" in details.traceback


def test_a_job_told_to_stop_goes_back_with_its_checkpoint(store: Store, start: Start) -> None:
    assignment, stop = start(waits_for_the_end), threading.Event()
    threading.Timer(0.1, stop.set).start()
    assert run_job(store, assignment, stop) is RunState.QUEUED
    assert states(store) == {"queued"}
    assert assignment.checkpoint.exists()
    again = queue.claim(store, "test")
    assert again is not None
    assert again.attempt == 2


def test_a_cancel_reaches_a_job_by_its_heartbeat(store: Store, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_BEAT_SECONDS", 0.05)
    assignment = start(waits_for_the_end)
    threading.Timer(0.1, lambda: request_cancel(store, run_ids=assignment.claim.run_ids)).start()
    assert run_job(store, assignment, threading.Event()) is RunState.CANCELLED
    assert states(store) == {"cancelled"}
    assert not assignment.checkpoint.exists()


def test_a_job_that_was_taken_away_ends_without_a_word(
    store: Store, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_BEAT_SECONDS", 0.05)
    assignment = start(waits_for_the_end)
    threading.Timer(0.1, lambda: queue.lose(store, assignment.claim)).start()
    assert run_job(store, assignment, threading.Event()) is None
    assert states(store) == {"queued"}


def test_heartbeats_keep_a_lease_that_is_shorter_than_the_training(store: Store, start: Start) -> None:
    taken: list[int] = []

    def slow(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        for step in range(8):
            recorder.should_stop(step)
            threading.Event().wait(0.1)
            taken.append(queue.take_back_expired(store))
        return finishes(batch, recorder, place)

    assert run_job(store, start(slow, lease_seconds=0.4), threading.Event()) is RunState.FINISHED
    assert not any(taken)


def test_a_batch_whose_every_run_diverged_is_over(store: Store, start: Start) -> None:
    def diverges(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        recorder.record(3, {"loss": torch.full((len(batch),), torch.nan)})
        return not recorder.should_stop(4)

    assert run_job(store, start(diverges), threading.Event()) is RunState.FINISHED
    assert states(store) == {"diverged"}
    assert queries.runs(store)["step"][0] == 3


def test_a_batch_that_fails_keeps_its_checkpoint_and_goes_on_from_it(store: Store, start: Start) -> None:
    """The real loop: the numbers are those of a batch that never failed."""
    spec_runs: list[str] = []

    def breaks_once(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        step_of_failure = None if spec_runs else 7
        spec_runs.append("started")
        return toy_ssl.train(batch, Breaking(recorder, step_of_failure), replace(place, checkpoint_seconds=0.0))

    class Breaking(Recorder):
        def __init__(self, inner: Recorder, at: int | None) -> None:
            self.inner, self.at, self.first = inner, at, None

        def record(
            self, step: int, values: Mapping[str, Tensor], arrays: Mapping[tuple[str, int], Tensor] | None = None
        ) -> bool:
            return self.inner.record(step, values, arrays)

        def may_save(self, step: int) -> bool:
            return self.inner.may_save(step)

        def should_stop(self, step: int) -> bool:
            resumed.append(step)
            if step == self.at:
                raise MemoryError("no room")
            return self.inner.should_stop(step)

    resumed: list[int] = []
    assignment = start(breaks_once, records=10)
    assert run_job(store, assignment, threading.Event()) is RunState.FAILED
    assert assignment.checkpoint.exists()
    assert retry(store, assignment.claim.run_ids) == 2
    again = queue.claim(store, "test")
    assert again is not None
    resumed.clear()
    assert run_job(store, replace(assignment, claim=again), threading.Event()) is RunState.FINISHED
    assert resumed[0] == 7
    assert not list(assignment.checkpoint.parent.iterdir())
    history = queries.history(store, again.run_ids)

    whole = MemorySink()
    toy_ssl.train(again.batch, Recorder(whole), Workplace())
    loss = history[history["metric"] == "loss"].pivot_table(index="step", columns="run_id", values="value")
    expected = np.array([values["test/loss"] for values in whole.values]).astype("float32").astype(float)
    assert list(loss.index) == whole.steps
    assert np.array_equal(loss[list(again.run_ids)].to_numpy(), expected)


def locked(path: Path) -> sqlite3.Connection:
    """Another program that writes into the store's file."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.fixture
def impatient(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The store, opened so that a lock is an error at once and not after fifteen seconds."""
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.05)
    opened = open_store(settings.store_url)
    yield opened
    opened.close()


def test_a_store_locked_while_a_batch_trains_is_waited_for(impatient: Store, settings: Settings, start: Start) -> None:
    def trains_on(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        assert not recorder.should_stop(0)
        other = locked(settings.home / "store.sqlite")
        threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
        return finishes(batch, recorder, place)

    assignment = start(trains_on)
    assert run_job(impatient, assignment, threading.Event()) is RunState.FINISHED
    assert states(impatient) == {"finished"}
    with impatient.reading() as connection:
        seconds = connection.execute(sa.select(job.c.seconds)).scalar_one()
    assert seconds < 0.9, "waiting is no training time"


def test_a_store_locked_for_longer_than_the_lease_gets_its_job_back_and_nobody_failed(
    impatient: Store, settings: Settings, start: Start
) -> None:
    others = []

    def trains_on(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        others.append(locked(settings.home / "store.sqlite"))
        if recorder.record(3, {"loss": torch.ones(len(batch))}):
            return True
        assert recorder.should_stop(3)
        assert recorder.may_save(3)
        assert place.checkpoint is not None
        place.checkpoint.write_text("where I was")
        return False

    assignment = start(trains_on, lease_seconds=0.5)
    with pytest.raises(StoreUnavailable):
        run_job(impatient, assignment, threading.Event())
    others[0].execute("ROLLBACK")
    assert states(impatient) == {"queued"}
    assert queue.lose(impatient, assignment.claim) is RunState.QUEUED
    assert assignment.checkpoint.exists()
    assert queries.runs(impatient)["error"].tolist() == ["", ""]


def test_a_store_locked_when_the_batch_ends_hears_of_it_afterwards(
    impatient: Store, settings: Settings, start: Start
) -> None:
    def ends(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        finishes(batch, recorder, place)
        other = locked(settings.home / "store.sqlite")
        threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
        return True

    assert run_job(impatient, start(ends), threading.Event()) is RunState.FINISHED
    assert states(impatient) == {"finished"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_takes_words_from_the_log_and_no_job() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        log = io.TextIOWrapper(io.BufferedWriter(worker._Log(full.fileno())), line_buffering=True)
        print("words", file=log, flush=True)
        log.detach().detach()


def test_settings_of_another_version_fail_with_a_sentence(store: Store, start: Start) -> None:
    assignment = start(finishes)
    claimed = replace(assignment.claim, configs=({"no_such_field": 1},) * len(assignment.claim.configs))
    assert run_job(store, replace(assignment, claim=claimed), threading.Event()) is RunState.FAILED
    assert "no_such_field is not a field" in queries.runs(store)["error"][0]


def test_a_device_that_is_not_there_fails_with_a_sentence(
    store: Store, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run_job(store, replace(start(finishes), device="cuda"), threading.Event()) is RunState.FAILED
    assert "WERANK_DEVICE = cuda" in queries.runs(store)["error"][0]


@pytest.mark.parametrize(("cuda", "mps", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_the_best_device_there_is(
    cuda: bool, mps: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert usable_device("auto") == device
    assert usable_device("cpu") == "cpu"


def test_the_end_of_the_log_is_kept(store: Store, start: Start) -> None:
    assignment = start(finishes)
    assignment.log.write_text("x" * 20_000 + "the last words")
    run_job(store, assignment, threading.Event())
    log = queries.run_details(store, assignment.claim.run_ids[0]).log
    assert log.endswith("the last words")
    assert len(log) < 10_000


def test_file_names_are_made_of_ids_only(settings: Settings, start: Start) -> None:
    places, claimed = Places.of(settings), start(finishes).claim
    assert places.checkpoint(claimed).parent.parent == places.folder
    assert places.folder.parent == settings.home
    for name in ("../../etc/passwd", "0123", "0123456789abcdeG"):
        with pytest.raises(ValueError, match="not a job's id"):
            places.log(name)
        with pytest.raises(ValueError, match="not a job's id"):
            places.checkpoint(replace(claimed, job_id=name))


def test_training_time_adds_up_over_attempts(store: Store, start: Start) -> None:
    stop = threading.Event()

    def trains_until_it_is_stopped(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        assert not recorder.should_stop(0)
        threading.Timer(0.1, stop.set).start()
        return waits_for_the_end(batch, recorder, place)

    assignment = start(trains_until_it_is_stopped)
    assert run_job(store, assignment, stop) is RunState.QUEUED
    again = queue.claim(store, "test")
    assert again is not None
    stop.clear()
    assert run_job(store, replace(assignment, claim=again), stop) is RunState.QUEUED
    with store.reading() as connection:
        assert connection.execute(sa.select(job.c.seconds)).scalar_one() >= 0.2


def test_what_a_job_needs_before_its_first_step_is_not_priced(
    store: Store, start: Start, make_spec: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 s until everything is loaded and compiled, 5 s for the 10 steps: more steps cost half a second each."""
    now = [1000.0]
    monkeypatch.setattr(recorder, "time", types.SimpleNamespace(monotonic=lambda: now[0], time=time.time))

    def loads_for_long(batch: RunBatch, recorder: Recorder, place: Workplace) -> bool:
        now[0] += 100
        recorder.record(0, {"loss": torch.ones(len(batch))})
        assert not recorder.should_stop(0)
        now[0] += 5
        return finishes(batch, recorder, place)

    assert run_job(store, start(loads_for_long, steps=10), threading.Event()) is RunState.FINISHED
    assert queries.predicted_seconds(store, make_spec(steps=3000)) == pytest.approx(3000 * 0.5)


def test_left_over_files_are_removed_when_nobody_needs_them(settings: Settings, tmp_path: Path) -> None:
    places = Places.of(settings)
    places.make()
    for name in ("a" * 16, "b" * 16):
        (places.folder / "checkpoints" / f"{name}-12345678.safetensors").touch()
    places.tidy({"a" * 16})
    assert [path.name[0] for path in (places.folder / "checkpoints").iterdir()] == ["a"]
