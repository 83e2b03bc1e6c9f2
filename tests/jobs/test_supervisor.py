"""The supervisor's decisions, with an executor that starts nothing."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from werank_core.experiments import code_version
from werank_core.jobs import supervisor
from werank_core.jobs.places import Places
from werank_core.jobs.supervisor import Ending, Supervisor, ensure_supervisor, environment, serve
from werank_core.settings import Settings
from werank_core.store import Store, StoreError, queries, queue
from werank_core.store.queue import Claim
from werank_core.store.runs import request_cancel, submit
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
    monkeypatch.setattr(supervisor.time, "sleep", lambda _: None)
    assert watching.run(lambda: not answers) is Ending.STOPPED


def test_only_one_serves_a_store(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_LOCK_SECONDS", 0.05)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a second supervisor was started"))
    places = Places.of(settings)
    places.make()
    with FileLock(places.lock):
        assert serve(settings, stopped=lambda: False, say=lambda _: None) is Ending.BUSY
        assert ensure_supervisor(settings) is False


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
