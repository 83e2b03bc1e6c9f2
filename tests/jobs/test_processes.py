"""The queue for real: a detached supervisor, its workers, and what happens when one of them is killed."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import streamlit as st
from filelock import FileLock
from streamlit.testing.v1 import AppTest

from werank_core import settings as settings_module
from werank_core.jobs.places import Places
from werank_core.jobs.supervisor import ensure_supervisor, environment
from werank_core.jobs.worker import Assignment, run_job
from werank_core.settings import Settings
from werank_core.store import Store, open_store, queries, queue
from werank_core.store.runs import request_cancel, submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

ROOT = Path(__file__).parents[2]
MakeSpec = Callable[..., SweepSpec]

PATIENCE = 180.0
LONG = {"steps": 1_000_000, "records": 1}


def wait_for(what: Callable[[], object]) -> None:
    """Wait until it is so; fails after minutes."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "waited for too long"
        time.sleep(0.02)


def supervisors(settings: Settings) -> list[psutil.Process]:
    """Supervisor processes of this store: found by the home folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if command[1:4] == ["-m", "werank_core", "worker"] and process.environ()["WERANK_HOME"] == str(
                settings.home
            ):
                found.append(process)
        except (psutil.Error, KeyError):
            continue
    return found


def workers(settings: Settings) -> list[psutil.Process]:
    """Processes that train for this store: the forkserver's children."""
    children = [child for parent in supervisors(settings) for child in parent.children(recursive=True)]
    return [child for child in children if child.is_running() and _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        return parent is not None and "forkserver" in " ".join(parent.cmdline()) and process.nice() > 0
    except psutil.Error:
        return False


def end(settings: Settings) -> None:
    for process in supervisors(settings):
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Store]]:
    """One supervisor for the tests that do not kill it."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(_env_file=None, store="", home=home, device="cpu", slots=2, checkpoint_seconds=0.2)
    store = open_store(settings.store_url)
    assert ensure_supervisor(settings)
    wait_for(lambda: queries.machine(store).supervisor_alive)
    yield settings, store
    end(settings)


def state(store: Store, sweep_id: str) -> set[str]:
    return set(queries.runs(store, sweep_ids=[sweep_id])["state"])


def recorded(store: Store, sweep_id: str) -> bool:
    return not queries.final_metrics(store, sweep_ids=[sweep_id]).empty


def test_a_sweep_is_trained_and_a_second_supervisor_is_not_started(
    shared: tuple[Settings, Store], make_spec: MakeSpec
) -> None:
    settings, store = shared
    done = submit(store, make_spec(seeds=2))
    assert ensure_supervisor(settings) is False
    wait_for(lambda: not queries.progress(store, done.sweep_id).active)
    assert state(store, done.sweep_id) == {"finished"}
    found = queries.final_metrics(store)
    recorded = set(zip(found["split"], found["metric"], strict=True))
    assert {("test", "loss"), ("test", "effective_rank"), ("test", "accuracy")} <= recorded
    assert len(supervisors(settings)) == 1


def test_a_cancel_ends_the_worker_and_nothing_else(shared: tuple[Settings, Store], make_spec: MakeSpec) -> None:
    settings, store = shared
    unwanted = submit(store, make_spec(width=9, **LONG))
    wanted = submit(store, make_spec(width=10, steps=50))
    wait_for(lambda: recorded(store, unwanted.sweep_id))
    request_cancel(store, sweep_id=unwanted.sweep_id)
    assert state(store, unwanted.sweep_id) == {"cancelled"}
    wait_for(lambda: state(store, wanted.sweep_id) == {"finished"})
    wait_for(lambda: not workers(settings))
    assert queries.machine(store).running_jobs == 0
    assert state(store, unwanted.sweep_id) == {"cancelled"}


def test_a_killed_worker_loses_nothing_and_the_numbers_stay_the_same(
    shared: tuple[Settings, Store], make_spec: MakeSpec, tmp_path: Path
) -> None:
    settings, store = shared
    spec = make_spec(width=12, steps=1500)
    done = submit(store, spec)
    checkpoints = Places.of(settings).folder / "checkpoints"
    wait_for(lambda: list(checkpoints.glob("*.safetensors")))
    (worker,) = workers(settings)
    worker.send_signal(signal.SIGKILL)
    wait_for(lambda: not queries.progress(store, done.sweep_id).active)
    assert state(store, done.sweep_id) == {"finished"}
    run_id = queries.runs(store, sweep_ids=[done.sweep_id])["run_id"][0]
    assert queries.run_details(store, run_id).attempts == 2

    assert_numbers_of_an_undisturbed_batch(store, spec, tmp_path)


def assert_numbers_of_an_undisturbed_batch(store: Store, spec: SweepSpec, tmp_path: Path) -> None:
    """Finals and histories of the sweep, bit for bit."""
    other = open_store(f"sqlite:///{tmp_path / 'other.sqlite'}")
    submit(other, spec)
    claimed = queue.claim(other, "uninterrupted")
    assert claimed is not None
    assignment = Assignment(
        claim=claimed, store_url="", device="cpu", visible_gpu=None, threads=1,
        data_folder=tmp_path, checkpoint=tmp_path / "c", checkpoint_seconds=20.0, log=tmp_path / "log",
    )  # fmt: skip
    assert run_job(other, assignment, threading.Event()) is RunState.FINISHED
    columns, ids = ["run_id", "metric", "layer", "split", "step", "value"], list(claimed.run_ids)
    readers: list[Callable[[Store], pd.DataFrame]] = [
        lambda s: queries.final_metrics(s, run_ids=ids),
        lambda s: queries.history(s, ids),
    ]
    for read in readers:
        frames = [read(s)[columns].sort_values(columns, ignore_index=True) for s in (store, other)]
        assert frames[0].equals(frames[1])
    other.close()


def forkservers(settings: Settings) -> list[psutil.Process]:
    """What the workers are forked from."""
    children = [child for parent in supervisors(settings) for child in parent.children()]
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


@pytest.fixture
def hurried(settings: Settings) -> Settings:
    """A lease of two seconds and a checkpoint at every look."""
    return settings.model_copy(update={"lease_seconds": 2.0, "checkpoint_seconds": 0.1})


def test_a_lid_that_closes_and_a_forkserver_that_dies_cost_no_attempt(
    hurried: Settings, store: Store, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(width=13, steps=2000, records=20)
    done = submit(store, spec)
    assert ensure_supervisor(hurried)
    try:
        wait_for(lambda: recorded(store, done.sweep_id) and workers(hurried))
        (forkserver,) = forkservers(hurried)
        everybody = [*supervisors(hurried), forkserver, *workers(hurried)]
        for _ in range(2):
            for process in everybody:
                process.suspend()
            time.sleep(2.5)
            assert state(store, done.sweep_id) == {"queued"}, "nobody is heard of"
            for process in everybody:
                process.resume()
            wait_for(lambda: state(store, done.sweep_id) in ({"running"}, {"finished"}))
        forkserver.kill()
        wait_for(lambda: state(store, done.sweep_id) == {"finished"})
        assert queries.run_details(store, queries.runs(store)["run_id"][0]).attempts == 1
        assert_numbers_of_an_undisturbed_batch(store, spec, tmp_path)
        second = submit(store, make_spec(width=14))
        wait_for(lambda: state(store, second.sweep_id) == {"finished"})
    finally:
        end(hurried)


@pytest.fixture
def page_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Settings], AppTest]]:
    """Opens the list of runs as a browser would, on these settings."""

    def opened(chosen: Settings) -> AppTest:
        for name, value in environment(chosen).items():
            monkeypatch.setenv(name, value)
        settings_module.settings.cache_clear()
        st.cache_resource.clear()
        return AppTest.from_file(str(ROOT / "pages" / "runs.py"), default_timeout=20).run()

    yield opened
    settings_module.settings.cache_clear()
    st.cache_resource.clear()


def test_after_a_power_cut_opening_a_page_is_enough(
    hurried: Settings,
    store: Store,
    make_spec: MakeSpec,
    tmp_path: Path,
    page_of: Callable[[Settings], AppTest],
) -> None:
    spec = make_spec(width=15, steps=2000, records=20)
    done = submit(store, spec)
    assert ensure_supervisor(hurried)
    try:
        wait_for(lambda: list((Places.of(hurried).folder / "checkpoints").glob("*.safetensors")))
        for process in [*supervisors(hurried), *forkservers(hurried), *workers(hurried)]:
            process.kill()
        wait_for(lambda: not supervisors(hurried))
        assert not page_of(hurried).exception
        wait_for(lambda: state(store, done.sweep_id) == {"finished"})
        assert len(supervisors(hurried)) == 1
    finally:
        end(hurried)
    assert_numbers_of_an_undisturbed_batch(store, spec, tmp_path)
    folder = Places.of(hurried).folder
    assert [path.name for part in ("checkpoints", "logs") for path in (folder / part).iterdir()] == []


def test_a_killed_supervisor_is_replaced_and_its_job_goes_on(
    settings: Settings, store: Store, make_spec: MakeSpec
) -> None:
    done = submit(store, make_spec(**LONG))
    assert ensure_supervisor(settings)
    try:
        wait_for(lambda: recorded(store, done.sweep_id))
        (first,), (orphan,) = supervisors(settings), workers(settings)
        first.kill()
        first.wait(10)
        wait_for(lambda: not orphan.is_running())
        assert state(store, done.sweep_id) == {"queued"}
        assert [path.suffix for path in (Places.of(settings).folder / "checkpoints").iterdir()] == [".safetensors"]
        assert ensure_supervisor(settings)
        wait_for(lambda: state(store, done.sweep_id) == {"running"})
        wait_for(lambda: workers(settings))
    finally:
        end(settings)
    assert state(store, done.sweep_id) == {"queued"}
    assert not workers(settings)
    with FileLock(Places.of(settings).lock).acquire(blocking=False):
        pass
