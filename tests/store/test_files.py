"""A store's file that is removed, moved, replaced or loses its log under an open store is noticed."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from werank_core.store import Store, StoreError, StoreMissing, StoreUnavailable, open_store, queries
from werank_core.store.runs import submit
from werank_core.sweeps import SweepSpec

MakeSpec = Callable[..., SweepSpec]
SIDE_FILES = ("", "-wal", "-shm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


@pytest.fixture
def store(path: Path, make_spec: MakeSpec) -> Iterator[Store]:
    """A store of one sweep, most of it in its write-ahead log."""
    opened = open_store(f"sqlite:///{path}")
    submit(opened, make_spec(name="first"))
    yield opened
    opened.close()


@pytest.fixture
def copy(path: Path, store: Store) -> Path:
    """A backup made with one sweep; the store has two afterwards."""
    backup = path.with_name("backup")
    with sqlite3.connect(path) as source, sqlite3.connect(backup) as target:
        source.backup(target)
    return backup


def names(store: Store) -> list[str]:
    return sorted(queries.sweeps(store)["name"])


def remove(path: Path, parts: tuple[str, ...] = SIDE_FILES) -> None:
    for part in parts:
        Path(f"{path}{part}").unlink(missing_ok=True)


def test_a_removed_store_is_said_to_be_gone_and_nothing_is_written_into_the_void(
    store: Store, path: Path, make_spec: MakeSpec
) -> None:
    remove(path)
    with pytest.raises(StoreMissing, match=r"s\.sqlite is gone"):
        queries.revision(store)
    with pytest.raises(StoreMissing, match=r"s\.sqlite is gone"):
        submit(store, make_spec(depth=2))
    assert not path.exists(), "asking must not make an empty one"


def test_a_store_that_was_moved_away_comes_back_whole(store: Store, path: Path) -> None:
    path.rename(path.with_suffix(".away"))
    with pytest.raises(StoreMissing):
        queries.revision(store)
    path.with_suffix(".away").rename(path)
    assert names(store) == ["first"]
    assert store.opened == 0


@pytest.mark.parametrize("left", [(), ("-wal", "-shm"), ("-wal",)])
def test_a_restored_copy_is_opened_anew_without_the_log_of_what_it_replaced(
    store: Store, path: Path, copy: Path, make_spec: MakeSpec, left: tuple[str, ...]
) -> None:
    submit(store, make_spec(depth=2, name="second"))
    assert names(store) == ["first", "second"]
    copy.replace(path)
    remove(path, tuple(part for part in SIDE_FILES[1:] if part not in left))
    assert names(store) == ["first"]
    assert store.opened == 1
    submit(store, make_spec(depth=3, name="third"))
    store.close()
    again = open_store(f"sqlite:///{path}")
    assert names(again) == ["first", "third"]
    with again.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    again.close()


def test_a_log_that_somebody_still_reads_is_not_played_onto_the_copy(
    store: Store, path: Path, copy: Path, make_spec: MakeSpec
) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM run").fetchone()
    submit(store, make_spec(depth=2, name="second"))
    assert names(store) == ["first", "second"]
    copy.replace(path)
    assert names(store) == ["first"]
    reader.close()
    store.close()
    again = open_store(f"sqlite:///{path}")
    assert names(again) == ["first"]
    again.close()


def test_a_write_into_a_file_that_is_replaced_meanwhile_is_no_success(store: Store, path: Path, copy: Path) -> None:
    with pytest.raises(StoreUnavailable, match="while it was written"), store.writing():
        copy.replace(path)


def test_an_empty_or_foreign_file_in_its_place(store: Store, path: Path, make_spec: MakeSpec) -> None:
    remove(path)
    path.write_text("notes, not a database\n" * 200)
    with pytest.raises(StoreError, match="not a database"):
        queries.revision(store)
    remove(path)
    path.touch()
    assert names(store) == []
    submit(store, make_spec(name="second"))
    assert names(store) == ["second"]


@pytest.mark.parametrize("gone", [("-wal",), ("-shm",), ("-wal", "-shm")])
def test_a_log_removed_under_an_open_store_loses_nothing(
    store: Store, path: Path, make_spec: MakeSpec, gone: tuple[str, ...]
) -> None:
    other = open_store(f"sqlite:///{path}")
    assert names(other) == ["first"]
    remove(path, gone)
    submit(store, make_spec(depth=2, name="second"))
    assert names(other) == names(store) == ["first", "second"]
    other.close()
    store.close()
    fresh = open_store(f"sqlite:///{path}")
    assert names(fresh) == ["first", "second"]
    fresh.close()


def test_a_demo_follows_too(store: Store, path: Path, copy: Path, make_spec: MakeSpec) -> None:
    submit(store, make_spec(depth=2, name="second"))
    demo = open_store(f"sqlite:///{path}", read_only=True)
    assert names(demo) == ["first", "second"]
    store.close()
    shutil.copy(copy, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)
    remove(path, ("-wal", "-shm"))
    assert names(demo) == ["first"]
    demo.close()
