"""The supervisor's decisions, with an executor that starts nothing."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from werank_core.experiments import code_version
from werank_core.jobs import supervisor
from werank_core.jobs.places import Places
from werank_core.jobs.supervisor import Ending, Supervisor, ensure_supervisor, environment, serve
from werank_core.settings import Settings
from werank_core.store import Store, StoreError, StoreUnavailable, queries, queue
from werank_core.store.claims import Claim, Heartbeat
from werank_core.store.runs import delete_runs, request_cancel, submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

MakeSpec = Callable[..., SweepSpec]


class PretendedJob:
    """Lives until told otherwise, and says what it was told."""

    def __init__(self, claimed: Claim) -> None:
        self.claim = claimed
        self.alive = True
        self.told: list[str] = []

    def is_alive(self) -> bool:
        return self.alive

    def stop(self) -> None:
        self.told.append("stop")

    def kill(self) -> None:
        self.told.append("kill")
        self.alive = False


class Pretending:
    """An executor with two slots that starts pretended jobs."""

    slots = 2
    devices = "cpu"

    def __init__(self) -> None:
        self.jobs: list[PretendedJob] = []
        self.warm = True

    def warm_up(self) -> None:
        pass

    def is_warm(self) -> bool:
        return self.warm

    def start(self, claimed: Claim) -> PretendedJob:
        self.jobs.append(PretendedJob(claimed))
        return self.jobs[-1]

    def wait(self, seconds: float) -> None:
        pass


@pytest.fixture
def executor() -> Pretending:
    return Pretending()


@pytest.fixture
def watching(store: Store, settings: Settings, executor: Pretending, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """A supervisor over the pretending executor; the code on disk is the code that runs, whoever edits it now."""
    monkeypatch.setattr(supervisor, "code_on_disk", code_version)
    return Supervisor(store, executor, settings, say=lambda _: None)


def submit_jobs(store: Store, make_spec: MakeSpec, count: int) -> None:
    for depth in range(1, count + 1):
        submit(store, make_spec(depth=depth))


def test_slots_are_filled_and_refilled(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec
) -> None:
    submit_jobs(store, make_spec, 3)
    executor.warm = False
    watching.turn()
    assert not executor.jobs
    executor.warm = True
    watching.turn()
    assert len(executor.jobs) == 2
    queue.finish(store, executor.jobs[0].claim, RunState.FINISHED)
    executor.jobs[0].alive = False
    watching.turn()
    assert len(executor.jobs) == 3
    assert sorted(queries.runs(store)["state"]) == ["finished"] * 2 + ["running"] * 4


def test_a_dead_worker_is_noticed_at_once_and_its_job_tried_again(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec
) -> None:
    submit_jobs(store, make_spec, 1)
    for attempt in range(1, queue.MAX_LOST + 1):
        watching.turn()
        assert executor.jobs[-1].claim.attempt == attempt
        executor.jobs[-1].alive = False
    watching.turn()
    assert len(executor.jobs) == queue.MAX_LOST
    assert set(queries.runs(store)["state"]) == {"failed"}
    assert queries.runs(store)["error"].str.startswith("The worker died 3 times").all()


def test_a_cancel_is_a_stop_and_after_a_while_a_kill(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_jobs(store, make_spec, 2)
    watching.turn()
    first, second = executor.jobs
    request_cancel(store, run_ids=first.claim.run_ids)
    watching.turn()
    watching.turn()
    assert first.told == ["stop"]
    monkeypatch.setattr(supervisor, "_KILL_AFTER_SECONDS", 0.0)
    watching.turn()
    assert first.told == ["stop", "kill"]
    watching.turn()
    assert second.told == []
    table = queries.runs(store).set_index("run_id")["state"]
    assert set(table[list(first.claim.run_ids)]) == {"cancelled"}
    assert set(table[list(second.claim.run_ids)]) == {"running"}
    assert queries.machine(store).running_jobs == 1


def test_stopping_gives_every_job_back(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_KILL_AFTER_SECONDS", 0.05)
    submit_jobs(store, make_spec, 2)
    assert watching.run(lambda: len(executor.jobs) == 2) is Ending.STOPPED
    assert [job.told for job in executor.jobs] == [["stop", "kill"]] * 2
    assert set(queries.runs(store)["state"]) == {"queued"}
    assert not queries.machine(store).supervisor_alive


def test_the_store_knows_who_works_on_it(store: Store, watching: Supervisor) -> None:
    assert not queries.machine(store).supervisor_alive
    watching.turn()
    status = queries.machine(store)
    assert status.supervisor_alive
    assert (status.slots, status.devices) == (2, ("cpu",))


def test_expired_leases_of_others_are_taken_back(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec
) -> None:
    submit_jobs(store, make_spec, 1)
    gone = queue.claim(store, "a machine that lost power", lease_seconds=-1)
    assert gone is not None
    watching.turn()
    assert [job.claim.attempt for job in executor.jobs] == [2]


def test_a_silent_worker_is_killed_before_its_job_is_taken_back(
    store: Store, settings: Settings, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "code_on_disk", code_version)
    monkeypatch.setattr(supervisor, "_HOUSEKEEPING_SECONDS", 0.0)
    hurried = settings.model_copy(update={"lease_seconds": 0.2})
    watching = Supervisor(store, executor, hurried, say=lambda _: None)
    submit_jobs(store, make_spec, 3)
    watching.turn()
    assert len(executor.jobs) == 2
    time.sleep(0.3)
    told = executor.jobs[0].told
    monkeypatch.setattr(executor.jobs[0], "kill", lambda: told.append("kill"))  # a process the system cannot end yet
    watching.turn()  # the gap since the last turn was longer than a lease: nothing is believed yet
    assert told == []
    deadline = time.monotonic() + 20
    while "kill" not in told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
        watching.turn()
    watching.turn()
    jobs = [job.claim.job_id for job in executor.jobs if job.alive]
    assert len(jobs) == len(set(jobs)) == executor.slots, "never two processes for one job"
    for job in executor.jobs:
        job.alive = False
    watching.turn()
    assert len({job.claim.job_id for job in executor.jobs if job.alive}) == 2
    assert executor.jobs[0].claim.job_id in {job.claim.job_id for job in executor.jobs[2:]}


def test_a_job_that_another_supervisor_took_is_stopped_here_and_its_slot_stays_taken(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_jobs(store, make_spec, 2)
    watching.turn()
    first, second = executor.jobs
    assert queue.lose(store, first.claim) is RunState.QUEUED
    watching.turn()
    assert first.told == ["stop"]
    assert len(executor.jobs) == 2, "no third process on two slots"
    monkeypatch.setattr(supervisor, "_KILL_AFTER_SECONDS", 0.0)
    watching.turn()
    assert first.told == ["stop", "kill"]
    watching.turn()
    assert [job.claim.key for job in executor.jobs if job.alive] == [second.claim.key, (first.claim.job_id, 2)]


def test_after_an_outage_workers_have_a_whole_lease_to_be_heard_of(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_jobs(store, make_spec, 1)
    with monkeypatch.context() as outage:
        outage.setattr(queue, "has_queued", lambda _: (_ for _ in ()).throw(StoreUnavailable("locked")))
        outage.setattr(time, "sleep", lambda _: None)
        watching._turn_safely()
    gone = queue.claim(store, "silent during the outage", lease_seconds=-1)
    assert gone is not None
    monkeypatch.setattr(supervisor, "_HOUSEKEEPING_SECONDS", 0.0)
    watching.turn()
    assert executor.jobs == []
    assert queue.heartbeat(store, gone, Heartbeat()).still_mine


def test_a_job_that_cannot_be_started_goes_back(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_jobs(store, make_spec, 1)

    def refuse(_: Claim) -> PretendedJob:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(executor, "start", refuse)
        patched.setattr(time, "sleep", lambda _: None)
        watching._turn_safely()
    assert set(queries.runs(store)["state"]) == {"queued"}
    watching.turn()
    assert [job.claim.attempt for job in executor.jobs] == [2]


def test_a_supervisor_whose_lock_was_removed_leaves(
    settings: Settings, store: Store, executor: Pretending, make_spec: MakeSpec
) -> None:
    """Somebody removed the home folder: another one may have started on what is there now."""
    places = Places.of(settings)
    places.make()
    with FileLock(places.lock):
        watching = Supervisor(store, executor, settings, say=lambda _: None)
        places.lock.unlink()
        assert watching.run(lambda: False) is Ending.DISPLACED


def test_checkpoints_of_failed_jobs_are_kept_for_another_try(
    store: Store, settings: Settings, watching: Supervisor, executor: Pretending, make_spec: MakeSpec
) -> None:
    submit_jobs(store, make_spec, 1)
    watching.turn()
    claimed, places = executor.jobs[0].claim, Places.of(settings)
    places.make()
    places.checkpoint(claimed).touch()
    queue.finish(store, claimed, RunState.FAILED, "it broke")
    executor.jobs[0].alive = False
    watching.turn()
    places.tidy(queue.resumable_jobs(store))
    assert places.checkpoint(claimed).exists()
    delete_runs(store, claimed.run_ids)
    places.tidy(queue.resumable_jobs(store))
    assert not places.checkpoint(claimed).exists()


@pytest.mark.parametrize("end", ["dies", "finishes", "is stopped"])
def test_no_empty_log_is_left(
    store: Store, settings: Settings, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, end: str
) -> None:
    submit_jobs(store, make_spec, 1)
    watching.turn()
    job, places = executor.jobs[0], Places.of(settings)
    places.make()
    log = places.log(job.claim.job_id)
    log.touch()
    if end == "is stopped":
        watching.run(lambda: True)
    elif end == "finishes":
        queue.finish(store, job.claim, RunState.FINISHED)
    job.alive = False
    watching._reap()
    assert not log.exists()
    log.touch()
    places.tidy(())
    assert not log.exists()


def test_nothing_to_do_for_long_ends_it(settings: Settings, store: Store, executor: Pretending) -> None:
    hurried = settings.model_copy(update={"idle_minutes": 0.001})
    assert Supervisor(store, executor, hurried, say=lambda _: None).run(lambda: False) is Ending.IDLE


def test_changed_code_ends_it_before_it_claims(
    store: Store, watching: Supervisor, executor: Pretending, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit_jobs(store, make_spec, 1)
    monkeypatch.setattr(supervisor, "code_on_disk", lambda: "another version")
    assert watching.run(lambda: False) is Ending.OUTDATED
    assert not executor.jobs


def test_a_store_in_trouble_is_waited_for(store: Store, watching: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [StoreError("The disk is full."), None]

    def turn() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    monkeypatch.setattr(watching, "turn", turn)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert watching.run(lambda: not answers) is Ending.STOPPED


def test_only_one_serves_a_store(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_LOCK_SECONDS", 0.05)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a second supervisor was started"))
    places = Places.of(settings)
    places.make()
    with FileLock(places.lock):
        assert serve(settings, stopped=lambda: False, say=lambda _: None) is Ending.BUSY
        assert ensure_supervisor(settings) is False


def test_a_home_that_cannot_be_written_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    elsewhere = settings.model_copy(update={"home": tmp_path / "file", "store": f"sqlite:///{tmp_path}/s.sqlite"})
    with pytest.raises(StoreError, match="cannot be started from"):
        ensure_supervisor(elsewhere)
    with pytest.raises(StoreError, match="No jobs can be worked on from"):
        serve(elsewhere, stopped=lambda: True, say=lambda _: None)


def test_one_that_was_started_is_not_started_again_before_it_has_its_lock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def sleeper(*_: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", sleeper)
    assert [ensure_supervisor(settings) for _ in range(3)] == [True, False, False]
    started[0].communicate(b"\n")
    assert ensure_supervisor(settings) is True
    started[1].communicate(b"\n")
    assert len(started) == 2


def test_a_demo_starts_nothing(settings: Settings) -> None:
    demo = settings.model_copy(update={"demo": True})
    with pytest.raises(StoreError, match="read-only demo"):
        ensure_supervisor(demo)
    with pytest.raises(StoreError, match="read-only demo"):
        serve(demo, stopped=lambda: True)


def test_a_child_reads_the_same_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    again = Settings(_env_file=None)
    assert again.store_url == settings.store_url
    assert again.model_copy(update={"store": ""}) == settings


def test_looking_after_the_queue_needs_no_torch() -> None:
    code = "import sys, werank_core.jobs.supervisor, werank_core.cli; "
    code += "sys.exit('torch' in sys.modules or 'streamlit' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
