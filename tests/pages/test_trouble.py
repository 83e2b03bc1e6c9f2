"""What a page does about work nobody does, leases that ran out, wrong settings and a store that goes away."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from pages.components import actions, cached
from pages.components.plain import plain
from tests.pages.conftest import OpenPage, button_named, checked, words
from tests.pages.stores import claimed_job, finished_cleanly, running_sweep, small_spec, write_records
from werank_core.settings import Settings, settings
from werank_core.store import Store, StoreUnavailable, queries, queue
from werank_core.store.runs import request_cancel, submit
from werank_core.store.schema import job
from werank_core.vocabulary import RunState

PAGES = ["app.py", *(f"pages/{name}.py" for name in ("toy", "graph", "rank_collapse", "compare", "runs"))]


def left_by_a_dead_machine(store: Store) -> str:
    """A sweep whose only job was claimed by a machine that lost power: two records, no live lease."""
    sweep_id = submit(store, small_spec(name="left alone")).sweep_id
    claimed = claimed_job(store)
    queue.started_on(store, claimed, "cpu")
    write_records(store, claimed, steps=(0, 10))
    let_leases_run_out(store)
    return sweep_id


def let_leases_run_out(store: Store) -> None:
    """Time passes; nobody writes that down."""
    with store.engine.begin() as connection:
        connection.execute(sa.update(job).values(lease_until=1.0))


@pytest.mark.parametrize("script", PAGES)
def test_opening_any_page_starts_a_supervisor_for_what_waits(
    open_page: OpenPage, store: Store, started: list[Settings], script: str
) -> None:
    open_page(script)
    finished_cleanly(store)
    open_page(script)
    assert started == []
    submit(store, small_spec(depth=3))
    open_page(script)
    assert started == [settings()]


@pytest.mark.parametrize("script", PAGES)
def test_opening_any_page_starts_a_supervisor_for_what_was_left_and_says_running_of_nothing(
    open_page: OpenPage, store: Store, started: list[Settings], script: str
) -> None:
    left_by_a_dead_machine(store)
    at = open_page(script)
    assert started == [settings()]
    said = words(at) + " ".join(option for box in at.selectbox for option in box.options)
    assert "9 running" not in said
    assert "**running**" not in said
    for table in at.dataframe:
        assert "running" not in set(table.value.get("state", []))


def test_the_strip_shows_a_lease_that_ran_out_while_the_page_was_open(
    open_page: OpenPage, store: Store, started: list[Settings]
) -> None:
    sweep_id = submit(store, small_spec()).sweep_id
    claimed_job(store)
    at = open_page("pages/toy.py", toy_sweep=sweep_id)
    assert "**running**" in words(at)
    assert cached.sweeps("toy_ssl")["running"].tolist() == [9]
    assert started == []
    let_leases_run_out(store)
    checked(at.run())
    assert "**starting a worker**" in words(at)
    assert cached.sweeps("toy_ssl")["running"].tolist() == [0], "what is kept must follow"
    assert started == [settings()]


def test_work_of_another_machine_that_is_heard_of_starts_nobody_here(
    open_page: OpenPage, store: Store, started: list[Settings]
) -> None:
    running_sweep(store)
    request_cancel(store, run_ids=list(queries.runs(store, states=["queued"])["run_id"]))
    open_page("pages/runs.py")
    assert started == []


def test_a_demo_starts_nobody_and_says_running_of_nothing(
    open_page: OpenPage, store: Store, started: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_a_dead_machine(store)
    monkeypatch.setenv("WERANK_DEMO", "true")
    settings.cache_clear()
    for script in PAGES:
        at = open_page(script)
        assert "**running**" not in words(at)
        assert "9 running" not in words(at)
    assert started == []


def test_a_supervisor_that_cannot_be_started_is_a_warning_and_the_page_is_there(
    open_page: OpenPage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_cleanly(store)
    submit(store, small_spec(depth=3))

    def refuse(_: Settings) -> bool:
        raise StoreUnavailable("The supervisor cannot be started from /home: No space left on device.")

    monkeypatch.setattr(actions, "ensure_supervisor", refuse)
    at = open_page("pages/runs.py")
    assert [warning.value for warning in at.warning] == [
        "The supervisor cannot be started from /home: No space left on device."
    ]
    assert len(at.dataframe[0].value) == 18


@pytest.mark.parametrize("script", PAGES)
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("SLOTS", "0", "slots = '0' (WERANK_SLOTS): should be greater than or equal to 1."),
        ("DEVICE", "gpu", "device = 'gpu' (WERANK_DEVICE): should be 'auto', 'cpu', 'cuda' or 'mps'."),
    ],
)
def test_a_wrong_setting_is_one_sentence_on_every_page(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, script: str, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(f"WERANK_{name}", value)
    settings.cache_clear()
    assert [error.value for error in open_page(script).error] == [plain(sentence)]


def test_pages_follow_a_store_that_is_removed_and_restored(
    open_page: OpenPage, store: Store, home: Path, started: list[Settings]
) -> None:
    finished_cleanly(store, name="before the backup")
    store.close()
    shutil.copy(home / "store.sqlite", home / "backup")
    finished_cleanly(store, depth=3, name="after the backup")
    store.close()
    at = open_page("pages/runs.py")
    assert set(at.dataframe[0].value["sweep_name"]) == {"before the backup", "after the backup"}
    for part in ("", "-wal", "-shm"):
        (home / f"store.sqlite{part}").unlink(missing_ok=True)
    for script in PAGES:
        (error,) = open_page(script).error
        said = f"The store's file {home / 'store.sqlite'} is gone: put it back, or start again for an empty one."
        assert error.value == plain(said)
    assert not (home / "store.sqlite").exists()
    shutil.copy(home / "backup", home / "store.sqlite")
    checked(at.run())
    assert set(at.dataframe[0].value["sweep_name"]) == {"before the backup"}
    page = open_page("pages/toy.py")
    checked(button_named(page, "Run sweep").click().run())
    assert queries.machine(store).queued_jobs > 0, "what is queued is in the file that is there"
    assert started


def test_a_run_whose_batch_is_lost_for_good_says_why(open_page: OpenPage, store: Store) -> None:
    submit(store, small_spec())
    while claimed := queue.claim(store, "worker"):
        if queue.lose(store, claimed) is RunState.FAILED:
            break
    at = open_page("pages/runs.py")
    assert at.dataframe[0].value["error"].str.startswith("The worker died 3 times").all()


def test_a_run_that_stopped_early_by_itself_is_done(open_page: OpenPage, store: Store) -> None:
    submit(store, small_spec())
    claimed = claimed_job(store)
    write_records(store, claimed, steps=(0, 10))
    queue.finish(store, claimed, RunState.FINISHED)
    assert set(queries.runs(store)["step"]) == {10}
    assert set(open_page("pages/runs.py").dataframe[0].value["progress"]) == {100}
