"""The queue: one worker a job, leases, fencing tokens, poison jobs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import sqlalchemy as sa

from tests.store.processes import said_by_all
from werank_core.store import Store, StoreUnavailable, queries, queue
from werank_core.store.claims import Claim, Heartbeat
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import request_cancel, retry, submit
from werank_core.store.schema import layout
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

MakeSpec = Callable[..., SweepSpec]


@pytest.fixture
def claimed(store: Store, make_spec: MakeSpec) -> Claim:
    """A job of four runs, in the hands of one worker."""
    submit(store, make_spec())
    taken = queue.claim(store, "first worker")
    assert taken is not None
    return taken


def test_a_claim_carries_its_runs_in_order(store: Store, make_spec: MakeSpec) -> None:
    spec = make_spec()
    submit(store, spec)
    taken = queue.claim(store, "worker")
    assert taken is not None
    assert taken.batch.runs == spec.runs()
    assert taken.run_ids == tuple(item.id for item in spec.runs())
    assert queue.claim(store, "worker") is None


def test_jobs_come_in_the_order_they_were_submitted(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec(depth=2, strengths=(0.1,), seeds=25))
    submit(store, make_spec(depth=3))
    depths = []
    while taken := queue.claim(store, "worker"):
        depths.append(taken.batch.config.depth)
    assert depths == [2, 2, 2, 3]


_CLAIMER = """
import sys
from werank_core.store import open_store, queue
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
while claimed := queue.claim(store, sys.argv[2]):
    print(claimed.job_id)
"""


def test_four_processes_claiming_400_jobs_never_share_one(url: str, store: Store, make_spec: MakeSpec) -> None:
    # batches differ in `batch_size`, which may not vary within one
    axis = {"second_axis": "batch_size", "second_values": tuple(range(2, 402))}
    assert submit(store, make_spec(strengths=(0.0,), seeds=1, **axis)).num_jobs == 400
    taken = [out.split() for out, _ in said_by_all(_CLAIMER, [(url, f"worker {i}") for i in range(4)])]
    everything = [job_id for part in taken for job_id in part]
    assert len(everything) == len(set(everything)) == 400
    assert sum(bool(part) for part in taken) > 1


def test_a_heartbeat_renews_the_lease(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    taken = queue.claim(store, "worker", lease_seconds=0.2)
    assert taken is not None
    for _ in range(3):
        time.sleep(0.1)
        assert queue.heartbeat(store, taken, Heartbeat(step=3, device="cpu")).still_mine
        assert queue.take_back_expired(store) == 0
    time.sleep(0.25)
    assert queue.take_back_expired(store) == 1
    assert not queue.heartbeat(store, taken, Heartbeat()).still_mine


def test_a_worker_that_lost_its_job_writes_nothing_more(store: Store, claimed: Claim) -> None:
    stale = StoreSink(store, claimed)
    stale.write(0, {"loss": np.full(4, 1.0)}, {})
    assert queue.lose(store, claimed) is RunState.QUEUED
    second = queue.claim(store, "second worker")
    assert second is not None
    assert (second.job_id, second.attempt) == (claimed.job_id, 2)
    stale.write(5, {"loss": np.full(4, np.nan)}, {("spectrum", 1): np.zeros((4, 3))})
    assert stale.lost
    assert stale.should_stop(6)
    assert not queue.finish(store, claimed, RunState.FAILED, "too late")
    assert not queue.release(store, claimed)
    assert queue.lose(store, claimed) is None
    assert set(queries.runs(store)["state"]) == {"running"}
    assert set(queries.history(store, list(claimed.run_ids))["step"]) == {0}
    assert queries.arrays(store, list(claimed.run_ids), "spectrum").empty
    assert queue.finish(store, second, RunState.FINISHED)


def record(store: Store, claimed: Claim, *steps: int) -> StoreSink:
    """Record one number a run at these steps."""
    sink = StoreSink(store, claimed)
    for step in steps:
        sink.write(step, {"loss": step + np.arange(len(claimed.run_ids), dtype=float)}, {})
    return sink


@pytest.mark.parametrize("end", ["finish", "fail", "lose"])
def test_the_end_of_an_old_batch_leaves_runs_alone_that_are_tried_again(store: Store, claimed: Claim, end: str) -> None:
    """A run that was cancelled and tried again while its batch still trains has two: only the new one is its own."""
    sink = record(store, claimed, 0, 2, 4)
    again = claimed.run_ids[1]
    request_cancel(store, run_ids=[again])
    assert retry(store, [again]) == 1
    second = queue.claim(store, "second worker")
    assert second is not None
    assert second.run_ids == (again,)
    newer = record(store, second, 0, 2, 4)
    sink.write(6, {"loss": np.full(4, np.nan)}, {})
    if end == "lose":
        for _ in range(queue.MAX_LOST):
            outcome = queue.lose(store, claimed)
            claimed = queue.claim(store, "worker") or claimed
        assert outcome is RunState.FAILED
    else:
        queue.finish(store, claimed, RunState.FINISHED if end == "finish" else RunState.FAILED, "it broke")
    assert queries.run_details(store, again).state is RunState.RUNNING
    for step in (6, 8, 10):
        newer.write(step, {"loss": np.array([float(step)])}, {})
    assert queue.finish(store, second, RunState.FINISHED)
    history = queries.history(store, [again])
    assert list(history["step"]) == [0, 2, 4, 6, 8, 10]
    assert list(history["value"]) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert queries.run_details(store, again).state is RunState.FINISHED
    assert queries.run_details(store, again).step == 10


def test_a_diverged_run_that_is_tried_again_is_not_the_old_batchs(store: Store, claimed: Claim) -> None:
    sink = record(store, claimed, 0)
    first = claimed.run_ids[0]
    sink.write(5, {"loss": np.array([np.nan, 1.0, 1.0, 1.0])}, {})
    assert retry(store, [first]) == 1
    queue.finish(store, claimed, RunState.FINISHED)
    assert queries.run_details(store, first).state is RunState.QUEUED
    assert queries.history(store, [first]).empty
    assert queries.final_metrics(store, run_ids=[first]).empty


def test_losses_with_progress_between_them_never_add_up(store: Store, claimed: Claim) -> None:
    for step in range(2 * queue.MAX_LOST):
        record(store, claimed, step)
        assert queue.lose(store, claimed) is RunState.QUEUED
        claimed = _again(store)
    for step in range(10, 10 + 2 * queue.MAX_LOST):
        assert queue.note_checkpoint(store, claimed, step)
        assert queue.lose(store, claimed) is RunState.QUEUED
        claimed = _again(store)


def test_the_same_records_again_are_no_progress(store: Store, claimed: Claim) -> None:
    """A batch that dies after its first records, each time, ends: it must not be tried for ever."""
    outcomes = []
    for _ in range(queue.MAX_LOST):
        record(store, claimed, 0, 5)
        outcomes.append(queue.lose(store, claimed))
        if outcomes[-1] is RunState.QUEUED:
            claimed = _again(store)
    assert outcomes == [RunState.QUEUED] * (queue.MAX_LOST - 1) + [RunState.FAILED]


def test_silence_is_not_death_and_still_ends_some_time(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    for number in range(1, queue.MAX_SILENT + 1):
        assert queue.claim(store, "worker", lease_seconds=-1) is not None
        assert queue.take_back_expired(store) == 1
        expected = "queued" if number < queue.MAX_SILENT else "failed"
        assert set(queries.runs(store)["state"]) == {expected}
    assert queries.runs(store)["error"].str.startswith("Nothing was heard of the worker").all()


def test_a_worker_that_died_long_after_its_lease_fell_silent(store: Store, make_spec: MakeSpec) -> None:
    """During an outage nobody can say when it died, nor that the batch was to blame."""
    submit(store, make_spec())
    for _ in range(queue.MAX_LOST + 1):
        taken = queue.claim(store, "worker", lease_seconds=-1)
        assert taken is not None
        assert queue.lose(store, taken) is RunState.QUEUED


def test_a_clock_that_was_set_back_leaves_no_job_running(
    store: Store, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut on a machine that keeps no time the lease would live for as long as the clock had run ahead."""
    submit(store, make_spec())
    taken, now = queue.claim(store, "worker"), time.time()
    assert taken is not None
    assert queue.take_back_expired(store) == 0
    monkeypatch.setattr(time, "time", lambda: now - 60)
    assert queue.take_back_expired(store) == 0, "two machines' clocks may differ by so much"
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    assert set(queries.runs(store)["state"]) == {"queued"}
    assert queue.take_back_expired(store) == 1
    with store.reading() as connection:
        row = connection.execute(sa.text("SELECT lost, silent FROM job")).one()
    assert tuple(row) == (0, 1)
    assert queue.claim(store, "worker") is not None


def test_a_checkpoint_of_a_job_that_is_somebody_elses_must_not_be_kept(store: Store, claimed: Claim) -> None:
    sink = record(store, claimed, 0)
    assert sink.may_save(1)
    queue.lose(store, claimed)
    assert not queue.note_checkpoint(store, claimed, 2)
    assert not sink.may_save(2)
    assert sink.should_stop(2)


def _again(store: Store) -> Claim:
    taken = queue.claim(store, "worker")
    assert taken is not None
    return taken


def test_a_claim_is_unwanted_once_it_is_cancelled_or_lost(store: Store, claimed: Claim) -> None:
    assert queue.unwanted(store, [claimed]) == set()
    queue.lose(store, claimed)
    second = _again(store)
    assert queue.unwanted(store, [claimed, second]) == {claimed.key}
    request_cancel(store, run_ids=second.run_ids)
    assert queue.unwanted(store, [claimed, second]) == {claimed.key, second.key}


def test_work_for_a_supervisor(store: Store, make_spec: MakeSpec) -> None:
    assert not queue.has_work(store, "here")
    submit(store, make_spec())
    assert queue.has_work(store, "here")
    taken = queue.claim(store, queue.worker_name("here", 1))
    assert taken is not None
    assert queue.has_work(store, "here"), "its supervisor may be gone with the machine"
    assert not queue.has_work(store, "her"), "another machine's, and it is heard of"
    queue.release(store, taken)
    assert queue.claim(store, queue.worker_name("there", 1), lease_seconds=-1) is not None
    assert queue.has_work(store, "here"), "left by another machine"


def test_a_released_job_goes_back_without_blame(store: Store, claimed: Claim) -> None:
    for _ in range(queue.MAX_LOST + 1):
        assert queue.release(store, claimed)
        assert set(queries.runs(store)["state"]) == {"queued"}
        again = queue.claim(store, "worker")
        assert again is not None
        assert again.run_ids == claimed.run_ids
        claimed = again


def test_a_job_that_kills_its_workers_is_given_up(store: Store, claimed: Claim) -> None:
    for _ in range(queue.MAX_LOST - 1):
        assert queue.lose(store, claimed) is RunState.QUEUED
        again = queue.claim(store, "worker")
        assert again is not None
        claimed = again
    assert queue.lose(store, claimed, log="Killed") is RunState.FAILED
    details = queries.run_details(store, claimed.run_ids[0])
    assert details.state is RunState.FAILED
    assert details.error.startswith("The worker died 3 times")
    assert (details.attempts, details.log) == (3, "Killed")
    assert queue.claim(store, "worker") is None


def test_a_cancelled_job_whose_worker_dies_is_cancelled(store: Store, claimed: Claim) -> None:
    request_cancel(store, run_ids=claimed.run_ids)
    assert queue.unwanted(store, [claimed]) == {claimed.key}
    assert queue.lose(store, claimed) is RunState.CANCELLED
    assert set(queries.runs(store)["state"]) == {"cancelled"}
    assert queue.active_jobs(store) == set()


def test_a_failure_stays_with_its_batch(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec(depth=2))
    submit(store, make_spec(depth=3))
    first, second = queue.claim(store, "a"), queue.claim(store, "b")
    assert first is not None
    assert second is not None
    queue.finish(store, first, RunState.FAILED, "ValueError: no", traceback="Traceback ...")
    queue.finish(store, second, RunState.FINISHED)
    table = queries.runs(store).set_index("run_id")
    assert set(table.loc[list(first.run_ids), "state"]) == {"failed"}
    assert set(table.loc[list(first.run_ids), "error"]) == {"ValueError: no"}
    assert set(table.loc[list(second.run_ids), "state"]) == {"finished"}
    assert queries.run_details(store, first.run_ids[0]).traceback == "Traceback ..."


def test_what_was_recorded_before_a_resume_is_kept(store: Store, claimed: Claim) -> None:
    StoreSink(store, claimed).write(0, {"untrained_accuracy": np.arange(4.0), "loss": np.ones(4)}, {})
    queue.release(store, claimed)
    again = queue.claim(store, "worker")
    assert again is not None
    StoreSink(store, again).write(10, {"loss": np.zeros(4)}, {})
    final = queries.final_metrics(store, run_ids=list(claimed.run_ids)[2:3])
    assert dict(zip(final["metric"], final["value"], strict=True)) == {"untrained_accuracy": 2.0, "loss": 0.0}


def test_what_each_run_recorded_before_a_resume_is_kept_whoever_ended_earlier(store: Store, claimed: Claim) -> None:
    sink = StoreSink(store, claimed)
    sink.write(0, {"loss": np.array([np.nan, 1.0, 1.0, 1.0])}, {})
    sink.write(5, {"loss": np.ones(4), "untrained_accuracy": np.arange(4.0)}, {})
    queue.release(store, claimed)
    StoreSink(store, _again(store)).write(10, {"loss": np.zeros(4)}, {})
    final = queries.final_metrics(store, metrics=["untrained_accuracy"]).set_index("run_id")["value"]
    assert [final[run_id] for run_id in claimed.run_ids[1:]] == [1.0, 2.0, 3.0]


def test_a_busy_store_is_waited_for(store: Store, claimed: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, answers = StoreSink(store, claimed), [StoreUnavailable("busy"), StoreUnavailable("busy")]
    kept = sink._write

    def write(step: int, values: Mapping[str, np.ndarray], arrays: Mapping[tuple[str, int], np.ndarray]) -> None:
        kept(step, values, arrays)
        if answers:
            raise answers.pop()  # after the transaction: what did not commit must not be believed

    monkeypatch.setattr(sink, "_write", write)
    assert sink.write(0, {"loss": np.ones(4)}, {})
    assert sink.patience.waited > 0
    assert not sink.stop.is_set()


def test_a_store_without_an_answer_for_a_whole_lease_gives_the_job_back(
    store: Store, claimed: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = StoreSink(store, replace(claimed, lease_seconds=0.2))

    def refuse(*_: object) -> None:
        raise StoreUnavailable("busy")

    monkeypatch.setattr(sink, "_write", refuse)
    assert not sink.write(0, {"loss": np.ones(4)}, {})
    assert sink.should_stop(0)
    assert not sink.lost
    assert sink.may_save(0), "the checkpoint is what the job goes on from"


def test_a_record_that_was_rolled_back_leaves_nothing_behind(store: Store, claimed: Claim) -> None:
    sink = StoreSink(store, claimed)
    blocker = sa.text("CREATE TRIGGER no BEFORE INSERT ON history BEGIN SELECT RAISE(ABORT, 'database is locked'); END")
    if store.engine.dialect.name != "sqlite":
        pytest.skip("the trigger is SQLite's")
    with store.writing() as connection:
        connection.execute(blocker)
    sink.stop.set()
    with store.reading() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(layout)).scalar()
    assert not sink.write(0, {"loss": np.full(4, np.nan)}, {})
    assert not sink.all_ended
    with store.writing() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(layout)).scalar() == before
        connection.execute(sa.text("DROP TRIGGER no"))
    assert sink.write(0, {"loss": np.ones(4)}, {})


def test_the_end_of_every_run_ends_training(store: Store, claimed: Claim) -> None:
    sink = StoreSink(store, claimed)
    sink.write(1, {"loss": np.array([1.0, np.nan, 1.0, np.inf])}, {})
    assert not sink.should_stop(2)
    sink.write(2, {"loss": np.full(4, np.nan)}, {})
    assert sink.should_stop(2)
    queue.finish(store, claimed, RunState.FINISHED)
    table = queries.runs(store).set_index("run_id")
    assert set(table["state"]) == {"diverged"}
    assert "step 1" in table["error"][claimed.run_ids[1]]
    assert "step 2" in table["error"][claimed.run_ids[0]]
