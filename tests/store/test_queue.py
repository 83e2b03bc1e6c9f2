"""The queue: one worker a job, leases, fencing tokens, poison jobs."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from werank_core.store import Store, queries, queue
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import request_cancel, submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

MakeSpec = Callable[..., SweepSpec]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def claimed(store: Store, make_spec: MakeSpec) -> queue.Claim:
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
    command = [sys.executable, "-c", _CLAIMER, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    workers = [subprocess.Popen([*command, f"worker {i}"], **pipes) for i in range(4)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    taken = [worker.communicate(timeout=60)[0].split() for worker in workers]
    everything = [job_id for part in taken for job_id in part]
    assert len(everything) == len(set(everything)) == 400
    assert sum(bool(part) for part in taken) > 1


def test_a_heartbeat_renews_the_lease(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    taken = queue.claim(store, "worker", lease_seconds=0.2)
    assert taken is not None
    for _ in range(3):
        time.sleep(0.1)
        assert queue.heartbeat(store, taken, queue.Heartbeat(step=3, device="cpu")).still_mine
        assert queue.take_back_expired(store) == 0
    time.sleep(0.25)
    assert queue.take_back_expired(store) == 1
    assert not queue.heartbeat(store, taken, queue.Heartbeat()).still_mine


def test_a_worker_that_lost_its_job_writes_nothing_more(store: Store, claimed: queue.Claim) -> None:
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


def test_a_released_job_goes_back_without_blame(store: Store, claimed: queue.Claim) -> None:
    for _ in range(queue.MAX_LOST + 1):
        assert queue.release(store, claimed)
        assert set(queries.runs(store)["state"]) == {"queued"}
        again = queue.claim(store, "worker")
        assert again is not None
        assert again.run_ids == claimed.run_ids
        claimed = again


def test_a_job_that_kills_its_workers_is_given_up(store: Store, claimed: queue.Claim) -> None:
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


def test_a_cancelled_job_whose_worker_dies_is_cancelled(store: Store, claimed: queue.Claim) -> None:
    request_cancel(store, run_ids=claimed.run_ids)
    assert queue.cancelled_jobs(store, [claimed.job_id]) == {claimed.job_id}
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


def test_what_was_recorded_before_a_resume_is_kept(store: Store, claimed: queue.Claim) -> None:
    StoreSink(store, claimed).write(0, {"untrained_accuracy": np.arange(4.0), "loss": np.ones(4)}, {})
    queue.release(store, claimed)
    again = queue.claim(store, "worker")
    assert again is not None
    StoreSink(store, again).write(10, {"loss": np.zeros(4)}, {})
    final = queries.final_metrics(store, run_ids=list(claimed.run_ids)[2:3])
    assert dict(zip(final["metric"], final["value"], strict=True)) == {"untrained_accuracy": 2.0, "loss": 0.0}


def test_the_end_of_every_run_ends_training(store: Store, claimed: queue.Claim) -> None:
    sink = StoreSink(store, claimed)
    sink.write(1, {"loss": np.array([1.0, np.nan, 1.0, np.inf])}, {})
    assert not sink.should_stop(2)
    sink.write(2, {"loss": np.full(4, np.nan)}, {})
    assert sink.should_stop(2)
    queue.finish(store, claimed, RunState.FINISHED)
    table = queries.runs(store).set_index("run_id")
    assert set(table["state"]) == {"diverged"}
    assert "step 1" in table.loc[claimed.run_ids[1], "error"]
    assert "step 2" in table.loc[claimed.run_ids[0], "error"]
