"""Submitting, cancelling, trying again and deleting: what a person does with runs."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from werank_core.store import Store, StoreError, open_store, queries, queue
from werank_core.store.claims import Claim, Heartbeat
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import delete_runs, delete_sweep, request_cancel, retry, submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

MakeSpec = Callable[..., SweepSpec]


def states(store: Store) -> list[str]:
    return sorted(queries.runs(store)["state"])


def finish_all(store: Store, outcome: RunState = RunState.FINISHED) -> int:
    """Work through the queue without training; returns the number of jobs."""
    count = 0
    while claimed := queue.claim(store, "test"):
        StoreSink(store, claimed).write(0, {"loss": np.ones(len(claimed.run_ids))}, {})
        queue.finish(store, claimed, outcome, "it broke" if outcome is RunState.FAILED else "", seconds=2.0)
        count += 1
    return count


def test_a_sweep_becomes_runs_and_jobs(store: Store, make_spec: MakeSpec) -> None:
    spec = make_spec(strengths=(0.1, 1.0), seeds=7)
    done = submit(store, spec)
    assert (done.new_runs, done.reused_runs, done.num_jobs) == (21, 0, 2)  # batches of at most 20
    assert states(store) == ["queued"] * 21
    assert queries.sweep_spec(store, done.sweep_id) == spec


def test_the_same_sweep_again_queues_nothing(store: Store, make_spec: MakeSpec) -> None:
    first = submit(store, make_spec())
    before = queries.revision(store)
    again = submit(store, make_spec(name="under another name"))
    assert again.sweep_id == first.sweep_id
    assert (again.new_runs, again.reused_runs, again.num_jobs) == (0, 4, 0)
    assert len(queries.sweeps(store)) == 1
    assert queries.revision(store) > before


def test_an_overlapping_sweep_trains_only_what_is_new(store: Store, make_spec: MakeSpec) -> None:
    first = submit(store, make_spec(seeds=2))
    second = submit(store, make_spec(seeds=3))
    assert second.sweep_id != first.sweep_id
    assert (second.new_runs, second.reused_runs) == (2, 4)
    assert list(queries.sweeps(store)["num_runs"]) == [6, 4]


def test_eight_threads_submitting_one_sweep_train_it_once(store: Store, make_spec: MakeSpec) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: submit(store, make_spec()), range(8)))
    assert len({item.sweep_id for item in done}) == 1
    assert sum(item.new_runs for item in done) == 4
    assert sum(item.num_jobs for item in done) == finish_all(store) == 1


@pytest.mark.parametrize(
    ("outcome", "new"),
    [(RunState.FINISHED, 0), (RunState.FAILED, 4), (RunState.CANCELLED, 4)],
)
def test_submitting_again_repeats_only_what_failed(
    store: Store, make_spec: MakeSpec, outcome: RunState, new: int
) -> None:
    submit(store, make_spec())
    finish_all(store, outcome)
    assert submit(store, make_spec()).new_runs == new
    assert states(store) == (["queued"] if new else [outcome.value]) * 4


def test_diverged_runs_are_repeated_only_when_asked(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec(strengths=(0.0,), seeds=1))
    claimed = queue.claim(store, "test")
    assert claimed is not None
    StoreSink(store, claimed).write(3, {"loss": np.array([np.nan])}, {})
    queue.finish(store, claimed, RunState.FINISHED)
    assert submit(store, make_spec(strengths=(0.0,), seeds=1)).new_runs == 0
    assert states(store) == ["diverged"]
    assert retry(store, list(claimed.run_ids)) == 1
    assert states(store) == ["queued"]
    assert queries.final_metrics(store).empty


def test_retry_ignores_runs_that_need_none(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    ids = list(queries.runs(store)["run_id"])
    assert retry(store, [*ids, "0000000000000000"]) == 0
    finish_all(store)
    assert retry(store, ids) == 0


def test_cancelling_a_waiting_sweep_empties_the_queue(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    assert request_cancel(store, sweep_id=done.sweep_id) == 4
    assert states(store) == ["cancelled"] * 4
    assert queue.claim(store, "test") is None
    assert request_cancel(store, sweep_id=done.sweep_id) == 0


def test_cancelling_a_running_batch_reaches_its_worker(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    request_cancel(store, run_ids=claimed.run_ids[:1])
    assert not queue.heartbeat(store, claimed, Heartbeat()).cancel_requested
    request_cancel(store, sweep_id=done.sweep_id)
    assert queue.heartbeat(store, claimed, Heartbeat()).cancel_requested
    assert states(store) == ["cancelled"] * 4


def test_a_cancelled_run_of_a_running_batch_records_nothing_more(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    sink = StoreSink(store, claimed)
    sink.write(0, {"loss": np.full(4, 1.0)}, {})
    request_cancel(store, run_ids=claimed.run_ids[:1])
    sink.write(5, {"loss": np.full(4, 2.0)}, {})
    queue.finish(store, claimed, RunState.FINISHED)
    final = queries.final_metrics(store).set_index("run_id")["value"]
    assert [final[run_id] for run_id in claimed.run_ids] == [1.0, 2.0, 2.0, 2.0]
    assert states(store) == ["cancelled", "finished", "finished", "finished"]


def test_runs_cancelled_before_the_start_never_enter_the_batch(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    ids = list(queries.runs(store)["run_id"])
    request_cancel(store, run_ids=ids[:3])
    claimed = queue.claim(store, "test")
    assert claimed is not None
    assert claimed.run_ids == (ids[3],)
    assert len(claimed.batch) == 1


def test_deleting_takes_everything_along(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    finish_all(store)
    ids = list(queries.runs(store)["run_id"])
    assert delete_runs(store, ids[:1]) == 1
    assert queries.history(store, ids[:1]).empty
    assert list(queries.sweeps(store)["num_runs"]) == [3]
    assert submit(store, make_spec()).new_runs == 1
    assert delete_sweep(store, done.sweep_id) == 4
    assert queries.sweeps(store).empty
    assert queries.runs(store).empty


def test_deleting_a_sweep_keeps_runs_another_one_uses(store: Store, make_spec: MakeSpec) -> None:
    first = submit(store, make_spec(seeds=2))
    second = submit(store, make_spec(seeds=3))
    assert delete_sweep(store, second.sweep_id) == 2
    assert list(queries.sweeps(store)["sweep_id"]) == [first.sweep_id]
    assert states(store) == ["queued"] * 4


def test_deleting_a_running_run_stops_its_worker(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    delete_sweep(store, done.sweep_id)
    sink = StoreSink(store, claimed)
    sink.write(1, {"loss": np.ones(4)}, {})
    assert sink.should_stop(2)
    assert queue.finish(store, claimed, RunState.CANCELLED)
    assert queries.runs(store).empty


def test_a_read_only_store_refuses_every_change(url: str, store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    demo = open_store(url, read_only=True)
    assert len(queries.runs(demo)) == 4
    for change in (
        lambda: submit(demo, make_spec(seeds=3)),
        lambda: request_cancel(demo, sweep_id=done.sweep_id),
        lambda: delete_sweep(demo, done.sweep_id),
        lambda: retry(demo, ["0" * 16]),
        lambda: queue.claim(demo, "test"),
    ):
        with pytest.raises(StoreError, match="read-only demo"):
            change()
    assert states(store) == ["queued"] * 4


def test_a_sweep_is_named_after_what_it_is(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec(depth=2, objective="vicreg", second_axis="augmentation_strength", second_values=(0.1, 0.5)))
    submit(store, make_spec(steps=600, records=20))
    submit(store, make_spec(name="mine", depth=3))
    names = list(queries.sweeps(store)["name"])
    assert names[:2] == ["mine", "Digits"]
    assert names[2] == "Digits over noise · depth 2, VICReg, steps 10, records 5"


def test_an_axis_without_effect_trains_once_and_shows_everywhere(store: Store, make_spec: MakeSpec) -> None:
    axis = {"second_axis": "temperature", "second_values": (0.1, 0.2)}
    done = submit(store, make_spec(objective="vicreg", strengths=(0.0,), seeds=1, **axis))
    assert done.new_runs == 1
    finish_all(store)
    frame = queries.final_metrics(store, sweep_ids=[done.sweep_id])
    assert list(frame["second_value"]) == [0.1, 0.2]


def failed(store: Store, *steps: int) -> Claim:
    """The oldest batch, failed after records at these steps."""
    claimed = queue.claim(store, "test")
    assert claimed is not None
    sink = StoreSink(store, claimed)
    for step in steps:
        sink.write(step, {"loss": np.full(len(claimed.run_ids), float(step))}, {("spectrum", 1): np.ones((4, 2))})
    queue.finish(store, claimed, RunState.FAILED, "it broke", traceback="Traceback")
    return claimed


@pytest.mark.parametrize("how", ["retry", "submit"])
def test_a_failed_batch_tried_again_as_a_whole_is_the_same_job_and_keeps_its_records(
    store: Store, make_spec: MakeSpec, how: str
) -> None:
    submit(store, make_spec())
    first = failed(store, 0, 5)
    assert first.job_id in queue.resumable_jobs(store)
    if how == "retry":
        assert retry(store, [*first.run_ids, *first.run_ids]) == 4
        assert retry(store, first.run_ids) == 0
    else:
        again = submit(store, make_spec())
        assert (again.new_runs, again.reused_runs, again.num_jobs) == (4, 0, 1)
    details = queries.run_details(store, first.run_ids[0])
    assert (details.state, details.error, details.traceback) == (RunState.QUEUED, "", "")
    second = queue.claim(store, "test")
    assert second is not None
    assert (second.job_id, second.run_ids, second.checkpoint) == (first.job_id, first.run_ids, first.checkpoint)
    assert second.attempt == first.attempt + 1
    assert list(queries.history(store, first.run_ids[:1])["step"]) == [0, 5]
    sink = StoreSink(store, second)
    for step in (5, 10):
        sink.write(step, {"loss": np.full(4, float(step))}, {})
    assert list(queries.history(store, first.run_ids[:1])["step"]) == [0, 5, 10]
    queue.finish(store, second, RunState.FINISHED)
    assert list(queries.history(store, first.run_ids[:1])["value"]) == [0.0, 5.0, 10.0]
    assert list(queries.arrays(store, first.run_ids[:1], "spectrum", "all")["step"]) == [0, 5]


def test_a_part_of_a_failed_batch_starts_at_step_0_in_a_job_of_its_own(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    first = failed(store, 0, 5)
    assert retry(store, first.run_ids[:3]) == 3
    second = queue.claim(store, "test")
    assert second is not None
    assert second.job_id != first.job_id
    assert queries.history(store, list(second.run_ids)).empty
    assert retry(store, first.run_ids[3:]) == 1, "what is left of the old batch is all that is its own: it goes on"
    third = queue.claim(store, "test")
    assert third is not None
    assert third.job_id == first.job_id
    assert list(queries.history(store, first.run_ids[3:])["step"]) == [0, 5]


def test_what_was_cancelled_or_diverged_before_the_batch_failed_starts_at_step_0(
    store: Store, make_spec: MakeSpec
) -> None:
    """It lacks records from before the checkpoint: going on would leave a hole."""
    submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    sink = StoreSink(store, claimed)
    sink.write(0, {"loss": np.array([np.nan, 1.0, 1.0, 1.0])}, {})
    request_cancel(store, run_ids=claimed.run_ids[1:2])
    sink.write(5, {"loss": np.ones(4)}, {})
    queue.finish(store, claimed, RunState.FAILED, "it broke")
    assert retry(store, claimed.run_ids) == 4
    jobs = [taken for _ in range(2) if (taken := queue.claim(store, "test")) is not None]
    assert len(jobs) == 2
    (resumed,) = [taken for taken in jobs if taken.job_id == claimed.job_id]
    (anew,) = [taken for taken in jobs if taken.job_id != claimed.job_id]
    assert set(anew.run_ids) == set(claimed.run_ids[:2])
    assert queries.history(store, list(anew.run_ids)).empty
    assert set(queries.history(store, claimed.run_ids[2:])["step"]) == {0, 5}
    table = queries.runs(store).set_index("run_id")["state"]
    assert set(table) == {"running"}
    assert queue.finish(store, resumed, RunState.FINISHED)
    assert sorted(queries.runs(store)["state"]) == ["finished", "finished", "running", "running"]


def test_cancelled_batches_start_at_step_0(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    StoreSink(store, claimed).write(0, {"loss": np.ones(4)}, {})
    request_cancel(store, run_ids=claimed.run_ids)
    queue.finish(store, claimed, RunState.CANCELLED)
    assert claimed.job_id not in queue.resumable_jobs(store)
    assert retry(store, claimed.run_ids) == 4
    assert queries.final_metrics(store).empty
    second = queue.claim(store, "test")
    assert second is not None
    assert second.job_id != claimed.job_id


def test_another_version_of_the_code_never_goes_on_from_records_of_this_one(
    store: Store, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(store, make_spec())
    first = failed(store, 0, 5)
    retry(store, first.run_ids)
    for module in ("queue", "resuming"):
        monkeypatch.setattr(f"werank_core.store.{module}.code_version", lambda: "another+version")
    again = queue.claim(store, "test")
    assert again is not None
    assert queries.history(store, list(again.run_ids)).empty
    queue.finish(store, again, RunState.FAILED, "it broke")
    monkeypatch.undo()
    assert retry(store, first.run_ids) == 4
    third = queue.claim(store, "test")
    assert third is not None
    assert third.job_id != first.job_id


@pytest.mark.parametrize("action", [request_cancel, retry, delete_runs])
def test_everything_twice_is_the_same_as_once(store: Store, make_spec: MakeSpec, action: Callable[..., int]) -> None:
    submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    call: dict[Callable[..., int], Callable[[], int]] = {
        request_cancel: lambda: request_cancel(store, run_ids=claimed.run_ids)
    }
    twice = call.get(action, lambda: action(store, claimed.run_ids))
    if action is retry:
        request_cancel(store, run_ids=claimed.run_ids)
    assert twice() == 4
    before = sorted(queries.runs(store)["state"])
    assert twice() == 0
    assert sorted(queries.runs(store)["state"]) == before
