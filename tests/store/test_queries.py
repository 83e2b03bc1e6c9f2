"""What is read back: tidy frames, lists, progress."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from werank_core.experiments import experiment
from werank_core.store import Store, StoreError, queries, queue
from werank_core.store.claims import Claim, Heartbeat
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import submit
from werank_core.store.schema import job
from werank_core.sweeps import SweepSpec, shape_key
from werank_core.vocabulary import RunState

MakeSpec = Callable[..., SweepSpec]


def record(store: Store, *, steps: tuple[int, ...] = (0, 5, 10), end: bool = True) -> Claim:
    """Record known numbers for the oldest job: value = 100 run + step (+ layer / 10)."""
    claimed = queue.claim(store, "test")
    assert claimed is not None
    queue.started_on(store, claimed, "cpu")
    sink = StoreSink(store, claimed)
    runs = 100.0 * np.arange(len(claimed.run_ids))
    for step in steps:
        layers = runs[:, None] + step + np.array([0.1, 0.2, 0.3])
        values = {"loss": runs + step, "weight_stable_rank": layers, "train/accuracy": runs, "test/accuracy": -runs}
        if step == 0:
            values["untrained_accuracy"] = runs + 0.5
        spectra = runs[:, None] + step + np.arange(4.0)
        sink.write(step, values, {("weight_spectrum", 2): spectra, ("picture", 0): spectra.reshape(-1, 2, 2)})
    if end:
        queue.finish(store, claimed, RunState.FINISHED, seconds=8.0)
    return claimed


def test_an_empty_store_gives_empty_frames_with_every_column(store: Store) -> None:
    for frame in (queries.final_metrics(store), queries.history(store, []), queries.history(store, ["0" * 16])):
        assert tuple(frame.columns) == queries.TIDY
        assert frame.empty
        assert frame["value"].dtype == np.float64
    assert queries.arrays(store, [], "x").empty
    assert queries.sweeps(store).empty
    assert queries.runs(store).empty
    assert queries.machine(store).queued_jobs == 0


def test_final_metrics_are_the_newest_values(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    claimed = record(store)
    frame = queries.final_metrics(store)
    assert tuple(frame.columns) == queries.TIDY
    assert len(frame) == 4 * (1 + 3 + 1 + 1 + 1)
    assert set(frame["sweep_id"]) == {done.sweep_id}
    assert set(frame["state"]) == {"finished"}
    assert set(frame["step"]) == {10}
    own = frame[frame["run_id"] == claimed.run_ids[2]].set_index(["metric", "split", "layer"])["value"]
    assert own["loss", "", 0] == 210.0
    assert own["untrained_accuracy", "", 0] == 200.5
    assert own["accuracy", "train", 0] == 200.0
    assert own["accuracy", "test", 0] == -200.0
    assert own["weight_stable_rank", "", 3] == 210.3
    configs = dict(zip(claimed.run_ids, claimed.batch.configs, strict=True))
    for run_id, strength, seed in zip(frame["run_id"], frame["strength"], frame["seed"], strict=True):
        assert (configs[run_id].strength, configs[run_id].model_seed) == (strength, seed)


def test_metrics_can_be_chosen_by_name_and_split(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    claimed = record(store)
    both = queries.final_metrics(store, metrics=["accuracy"])
    assert set(both["split"]) == {"train", "test"}
    assert set(queries.final_metrics(store, metrics=["test/accuracy", "loss"])["split"]) == {"test", ""}
    assert queries.final_metrics(store, metrics=["unheard of"]).empty
    assert set(queries.history(store, claimed.run_ids, ["weight_stable_rank"])["layer"]) == {1, 2, 3}


@pytest.mark.parametrize("end", [False, True])
def test_history_is_the_same_before_and_after_compaction(store: Store, make_spec: MakeSpec, end: bool) -> None:
    submit(store, make_spec())
    claimed = record(store, end=end)
    frame = queries.history(store, list(claimed.run_ids[1:2]))
    assert set(frame["run_id"]) == {claimed.run_ids[1]}
    assert set(frame["state"]) == {"finished" if end else "running"}
    loss = frame[frame["metric"] == "loss"]
    assert list(loss["step"]) == [0, 5, 10]
    assert list(loss["value"]) == [100.0, 105.0, 110.0]
    assert list(frame[frame["metric"] == "untrained_accuracy"]["step"]) == [0]
    layer = frame[(frame["metric"] == "weight_stable_rank") & (frame["layer"] == 2)]
    assert np.allclose(layer["value"], [100.2, 105.2, 110.2], rtol=1e-6)


def test_a_step_recorded_again_replaces_the_first(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    sink = StoreSink(store, claimed)
    for value in (1.0, 2.0):
        sink.write(5, {"loss": np.full(4, value)}, {("spectrum", 1): np.full((4, 2), value)})
    queue.finish(store, claimed, RunState.FINISHED)
    assert list(queries.history(store, claimed.run_ids[:1])["value"]) == [2.0]
    assert queries.arrays(store, claimed.run_ids[:1], "spectrum")["values"][0].tolist() == [2.0, 2.0]


def test_infinite_and_missing_values_survive(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    StoreSink(store, claimed).write(0, {"nc1": np.array([np.inf, np.nan, 1.0, 2.0])}, {})
    final = queries.final_metrics(store).set_index("run_id")["value"]
    assert final[claimed.run_ids[0]] == math.inf
    assert math.isnan(final[claimed.run_ids[1]])
    assert set(queries.runs(store)["state"]) == {"running"}


def test_arrays_keep_their_shape(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    claimed = record(store)
    last = queries.arrays(store, list(claimed.run_ids), "picture")
    assert tuple(last.columns) == queries.ARRAYS
    assert set(last["step"]) == {10}
    (picture,) = last.loc[last["run_id"] == claimed.run_ids[3], "values"]
    assert picture.dtype == np.float32
    assert picture.tolist() == [[310.0, 311.0], [312.0, 313.0]]
    assert list(queries.arrays(store, claimed.run_ids[:1], "weight_spectrum", "all")["step"]) == [0, 5, 10]
    assert set(queries.arrays(store, list(claimed.run_ids), "weight_spectrum", 5)["step"]) == {5}
    assert set(last["layer"]) == {0}


def test_a_choice_as_second_axis_is_read_as_its_words(store: Store, make_spec: MakeSpec) -> None:
    choice = {"second_axis": "encoder", "second_values": ("relu", "linear")}
    words = submit(store, make_spec(strengths=(0.0,), seeds=2, name="choice", **choice)).sweep_id
    number = submit(
        store, make_spec(strengths=(0.0,), seeds=1, name="number", second_axis="depth", second_values=(3,))
    ).sweep_id
    for _ in range(3):
        record(store)
    one = queries.final_metrics(store, sweep_ids=[words], metrics=["loss"])
    assert list(one["second_value"]) == ["relu", "linear"] * 2
    assert set(queries.history(store, list(one["run_id"]), sweep_id=words)["second_value"]) == {"relu", "linear"}
    assert set(queries.runs(store, [words])["second_value"]) == {"relu", "linear"}
    assert queries.final_metrics(store, sweep_ids=[number])["second_value"].dtype == float
    assert set(queries.final_metrics(store)["second_value"]) == {"relu", "linear", 3.0}


def test_the_second_axis_is_that_of_the_sweep_asked_for(store: Store, make_spec: MakeSpec) -> None:
    axis = {"second_axis": "augmentation_strength", "second_values": (0.1, 0.3)}
    wide = submit(store, make_spec(strengths=(0.0,), seeds=1, **axis))
    plain = submit(store, make_spec(strengths=(0.0,), seeds=1))  # augmentation_strength 0.3 is the default
    assert plain.reused_runs == 1
    record(store)
    one = queries.final_metrics(store, sweep_ids=[wide.sweep_id], metrics=["loss"])
    assert sorted(one["second_value"]) == [0.1, 0.3]
    assert set(one["second_axis"]) == {"augmentation_strength"}
    other = queries.final_metrics(store, sweep_ids=[plain.sweep_id], metrics=["loss"])
    assert other["second_value"].isna().all()
    assert other["second_axis"].isna().all()
    assert len(queries.final_metrics(store, sweep_ids=[wide.sweep_id, plain.sweep_id], metrics=["loss"])) == 3
    assert len(queries.final_metrics(store, metrics=["loss"])) == 2
    shared = list(other["run_id"])
    assert queries.history(store, shared)["second_value"].isna().all()
    assert set(queries.history(store, shared, sweep_id=wide.sweep_id)["second_value"]) == {0.3}
    assert set(queries.arrays(store, shared, "picture", sweep_id=wide.sweep_id)["second_value"]) == {0.3}


def test_lists_show_states_and_times(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec(strengths=(0.1, 1.0), seeds=7))
    record(store)
    row = queries.sweeps(store).iloc[0]
    assert (row["num_runs"], row["finished"], row["queued"], row["failed"]) == (21, 11, 10, 0)
    assert not row["stale"]
    assert abs((pd.Timestamp.now(tz="UTC") - row["created_at"]).total_seconds()) < 60
    table = queries.runs(store)
    assert len(table) == 21
    finished = queries.runs(store, states=["finished"])
    assert len(finished) == 11
    assert str(finished["finished_at"].dt.tz) == "UTC"
    assert (finished["seconds"] >= 0).all()
    assert set(finished["device"]) == {"cpu"}
    recorded = [key for key in table.columns if key in experiment("toy_ssl").headline]
    assert recorded == ["test/accuracy"], "no column for what nobody recorded"
    assert set(table["test/accuracy"].dropna()) == set(-100.0 * np.arange(11))
    assert len(queries.runs(store, limit=3)) == 3
    assert queries.runs(store, experiment="graph").empty
    assert queries.sweeps(store, experiment="graph").empty


def test_details_tell_everything(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec(name="mine", depth=3))
    claimed = record(store)
    details = queries.run_details(store, claimed.run_ids[1])
    assert details.config == claimed.configs[1]
    assert details.state is RunState.FINISHED
    assert (details.step, details.num_steps, details.device, details.attempts) == (10, 10, "cpu", 1)
    assert details.sweeps == ((done.sweep_id, "mine"),)
    with pytest.raises(StoreError, match="no run"):
        queries.run_details(store, "f" * 16)
    with pytest.raises(StoreError, match="no sweep"):
        queries.sweep_spec(store, "f" * 16)


def test_progress_counts_run_steps_and_tells_when(store: Store, make_spec: MakeSpec) -> None:
    spec = make_spec(strengths=(0.1, 1.0), seeds=7)
    done = submit(store, spec)
    fresh = queries.progress(store, done.sweep_id)
    assert (fresh.jobs_done, fresh.jobs_total, fresh.steps_total, fresh.eta_seconds) == (0, 2, 210, None)
    assert fresh.active
    assert fresh.runs[RunState.QUEUED] == 21
    record(store)  # 11 runs of 10 steps in 8 s
    key = shape_key(experiment("toy_ssl"), spec.config)
    each = 8 / 110
    assert queries.step_seconds(store, key) == pytest.approx(each)
    assert queries.step_seconds(store, "unheard of") is None
    assert queries.progress(store, done.sweep_id).eta_seconds == pytest.approx(10 * 10 * each)
    record(store, steps=(0, 5), end=False)
    half = queries.progress(store, done.sweep_id)
    assert (half.jobs_done, half.step, half.num_steps, half.devices) == (1, 5, 10, ("cpu",))
    assert half.steps_done == 110 + 50
    assert half.eta_seconds == pytest.approx(10 * 5 * each)
    assert half.share == pytest.approx(160 / 210)


def test_a_batch_that_ends_early_is_priced_at_the_steps_it_took(store: Store, make_spec: MakeSpec) -> None:
    spec = make_spec(strengths=(0.0,), seeds=4, steps=1000)
    key = shape_key(experiment("toy_ssl"), spec.config)
    submit(store, spec)
    claimed = queue.claim(store, "test")
    assert claimed is not None
    sink = StoreSink(store, claimed)
    sink.write(0, {"loss": np.ones(4)}, {})
    sink.write(2, {"loss": np.full(4, np.nan)}, {})
    queue.finish(store, claimed, RunState.FINISHED, seconds=20.0)
    assert set(queries.runs(store)["step"]) == {2}
    assert queries.step_seconds(store, key) == pytest.approx(20 / 8)
    others = make_spec(strengths=(0.0,), seeds=4, steps=1000, first_seed=50)
    assert queries.predicted_seconds(store, others) == pytest.approx(4 * 1000 * 2.5)


def test_a_run_that_stops_by_itself_keeps_the_step_it_stopped_at(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec(strengths=(0.0,), seeds=3, steps=1000))
    claimed = queue.claim(store, "test")
    assert claimed is not None
    sink, loss = StoreSink(store, claimed), {"loss": np.ones(3)}
    for step in range(501):
        sink.should_stop(step)
        if step == 100:
            sink.write(step, loss | {"stationary_at": np.array([100.0, np.nan, np.nan])}, {})
    sink.write(500, loss | {"stationary_at": np.array([100.0, 500.0, np.nan])}, {})
    assert sink.run_steps == 100 + 500 + 500
    queue.finish(store, claimed, RunState.FINISHED, seconds=11.0, run_steps=sink.run_steps)
    assert sorted(queries.runs(store)["step"]) == [100, 500, 500]
    key = shape_key(experiment("toy_ssl"), claimed.batch.config)
    assert queries.step_seconds(store, key) == pytest.approx(0.01)


def test_time_and_work_of_every_attempt_count(store: Store, make_spec: MakeSpec) -> None:
    spec = make_spec(strengths=(0.0,), seeds=2, steps=100)
    key = shape_key(experiment("toy_ssl"), spec.config)
    submit(store, spec)
    first = queue.claim(store, "test")
    assert first is not None
    queue.heartbeat(store, first, Heartbeat(step=20, steps=20, seconds=10.0))
    assert queries.step_seconds(store, key) == pytest.approx(10 / 40), "before the first batch has ended: its pace"
    queue.lose(store, first)
    second = queue.claim(store, "test")
    assert second is not None
    queue.release(store, second, seconds=5.0, run_steps=20)
    third = queue.claim(store, "test")
    assert third is not None
    queue.finish(store, third, RunState.FINISHED, seconds=35.0, run_steps=140)
    assert queries.step_seconds(store, key) == pytest.approx(50 / 200)


def test_a_running_batch_is_expected_by_its_own_pace(store: Store, make_spec: MakeSpec) -> None:
    """Nine of ten runs ended: the steps that are left take what they took, and the time asleep does not count."""
    done = submit(store, make_spec(strengths=(0.0,), seeds=10, steps=100))
    claimed = queue.claim(store, "test")
    assert claimed is not None
    StoreSink(store, claimed).write(10, {"loss": np.array([1.0, *[np.nan] * 9])}, {})
    assert queries.progress(store, done.sweep_id).eta_seconds is None
    queue.heartbeat(store, claimed, Heartbeat(step=20, steps=10, seconds=5.0))
    assert queries.progress(store, done.sweep_id).eta_seconds == pytest.approx(80 * 0.5)


def test_nothing_is_shown_as_running_without_a_live_lease(store: Store, make_spec: MakeSpec) -> None:
    done = submit(store, make_spec())
    claimed = queue.claim(store, "test")
    assert claimed is not None
    StoreSink(store, claimed).write(0, {"loss": np.ones(4)}, {})

    def shown() -> dict[str, object]:
        table, machine = queries.sweeps(store).iloc[0], queries.machine(store)
        counts = queries.progress(store, done.sweep_id)
        return {
            "runs": set(queries.runs(store)["state"]),
            "filtered": len(queries.runs(store, states=["running"])),
            "sweeps": (table["running"], table["queued"]),
            "progress": (counts.runs[RunState.RUNNING], counts.runs[RunState.QUEUED], counts.active),
            "machine": (machine.running_jobs, machine.queued_jobs),
            "details": queries.run_details(store, claimed.run_ids[0]).state,
            "finals": set(queries.final_metrics(store)["state"]),
            "history": set(queries.history(store, claimed.run_ids)["state"]),
        }

    lives, running = (queries.revision_and_silent(store), queries.sweep_revision(store, done.sweep_id)), shown()
    assert running == {
        "runs": {"running"}, "filtered": 4, "sweeps": (4, 0), "progress": (4, 0, True), "machine": (1, 0),
        "details": RunState.RUNNING, "finals": {"running"}, "history": {"running"},
    }  # fmt: skip
    with store.engine.begin() as connection:  # time passes; nobody writes that down
        connection.execute(sa.update(job).values(lease_until=job.c.lease_until - 60))
    assert shown() == {
        "runs": {"queued"}, "filtered": 0, "sweeps": (0, 4), "progress": (0, 4, True), "machine": (0, 1),
        "details": RunState.QUEUED, "finals": {"queued"}, "history": {"queued"},
    }  # fmt: skip
    over = queries.revision_and_silent(store), queries.sweep_revision(store, done.sweep_id)
    assert all(before != after for before, after in zip(lives, over, strict=True)), "what is kept must follow"
    assert queue.heartbeat(store, claimed, Heartbeat()).still_mine
    assert shown() == running


def test_every_change_moves_the_revision_and_reading_does_not(store: Store, make_spec: MakeSpec) -> None:
    seen = [queries.revision(store)]
    submit(store, make_spec())
    seen.append(queries.revision(store))
    claimed = queue.claim(store, "test")
    assert claimed is not None
    seen.append(queries.revision(store))
    StoreSink(store, claimed).write(0, {"loss": np.ones(4)}, {})
    seen.append(queries.revision(store))
    queue.finish(store, claimed, RunState.FINISHED)
    seen.append(queries.revision(store))
    assert sorted(set(seen)) == seen
    queries.final_metrics(store)
    queries.runs(store)
    assert queries.revision(store) == seen[-1]
