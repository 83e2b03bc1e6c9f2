"""Opening: migrations say what the tables say, and everything that can be wrong is one sentence."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.store.processes import ROOT, said_by_all
from werank_core.store import Store, StoreError, open_store, opening, queries
from werank_core.store.runs import submit
from werank_core.store.schema import metadata
from werank_core.sweeps import SweepSpec


def test_migrations_give_exactly_the_tables(store: Store) -> None:
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    assert ScriptDirectory(str(opening.MIGRATIONS)).get_heads() == [opening.NEWEST]


def test_a_store_opens_again_with_what_it_held(url: str, make_spec: Callable[..., SweepSpec]) -> None:
    submit(open_store(url), make_spec())
    assert len(queries.runs(open_store(url))) == 4


_OPENER = """
import sys
from werank_core.store import open_store, queries
print("ready", flush=True)
sys.stdin.readline()
print(queries.revision(open_store(sys.argv[1])))
"""


def test_eight_processes_open_a_new_store_at_once(url: str) -> None:
    said = said_by_all(_OPENER, [(url,)] * 8)
    assert [(out, err.splitlines()[-1:]) for out, err in said] == [("0\n", [])] * 8


def test_many_openers_of_a_new_store_agree(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'new' / 'store.sqlite'}"
    with ThreadPoolExecutor(4) as pool:
        revisions = list(pool.map(lambda _: queries.revision(open_store(address)), range(4)))
    assert revisions == [0, 0, 0, 0]


def test_sqlite_waits_for_its_turn_and_keeps_a_write_ahead_log(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.sqlite'}")
    with store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000 * opening.BUSY_SECONDS


def test_a_newer_store_is_refused(url: str, store: Store) -> None:
    with store.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer version of WERank Lab"):
        open_store(url)


@pytest.mark.parametrize(
    "change",
    ["DELETE FROM alembic_version", "DROP TABLE alembic_version", "UPDATE alembic_version SET version_num = 'abc'"],
)
def test_a_store_that_does_not_say_its_version_is_refused(url: str, store: Store, change: str) -> None:
    with store.writing() as connection:
        connection.execute(sa.text(change))
    for read_only in (False, True):
        with pytest.raises(StoreError, match="does not say which version"):
            open_store(url, read_only=read_only)


def test_a_store_without_its_revision_is_damaged(store: Store) -> None:
    with store.writing() as connection:
        connection.execute(sa.text("DELETE FROM meta"))
    with pytest.raises(StoreError, match="damaged"):
        queries.revision(store)


def test_a_copy_in_another_journal_mode_gets_its_write_ahead_log(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 's.sqlite'}"
    open_store(address).close()
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    with open_store(address).reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_texts_that_a_database_refuses_are_named(store: Store) -> None:
    with pytest.raises(StoreError, match="no Unicode"):
        queries.sweep_name(store, "\udcff")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    path.write_text("these are notes, not a database\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{path}", read_only=True)


def test_a_locked_store_is_said_to_be_busy(
    tmp_path: Path, make_spec: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.05)
    store = open_store(f"sqlite:///{tmp_path / 's.sqlite'}")
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy"):
        submit(store, make_spec())
    assert queries.runs(store).empty
    other.execute("ROLLBACK")
    assert submit(store, make_spec()).new_runs == 4


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path, make_spec: Callable[..., SweepSpec]) -> None:
    store = open_store(f"sqlite:///{tmp_path / 's.sqlite'}")
    with store.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

    @sa.event.listens_for(store.engine, "begin")
    def _limit(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="disk that holds the store is full"):
        submit(store, make_spec(seeds=50))
    assert queries.runs(store).empty


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("not a url", "not a database URL"),
        ("nosuchdialect://x/y", "not a database URL"),
        ("sqlite:////proc/none/store.sqlite", "folder /proc/none cannot be made"),
        ("sqlite:////proc/store.sqlite", "file /proc/store.sqlite cannot be made"),
        ("sqlite:////tmp", "cannot be opened"),
        ("sqlite:////tmp/x.sqlite?timeout=5", "question mark"),
        ("sqlite:////tmp/a%00b.sqlite", "not a database URL"),
        ("postgresql://me:secret@host:12x/db", "not a database URL"),
        ("mysql://me:secret@host/db", "install it"),
    ],
)
def test_a_wrong_address_is_one_sentence(address: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        open_store(address)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_reading_needs_a_store_that_exists_and_is_ready(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        open_store(f"sqlite:///{tmp_path / 'none.sqlite'}", read_only=True)
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(StoreError, match="empty or older"):
        open_store(f"sqlite:///{tmp_path / 'empty.sqlite'}", read_only=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write read-only files")
def test_a_read_only_file_is_said_to_be_so(tmp_path: Path, make_spec: Callable[..., SweepSpec]) -> None:
    path = tmp_path / "s.sqlite"
    open_store(f"sqlite:///{path}").close()
    path.chmod(0o444)
    with pytest.raises(StoreError, match="read-only"):
        submit(open_store(f"sqlite:///{path}"), make_spec())


def test_the_store_needs_no_torch() -> None:
    code = "import sys, werank_core.store.queries, werank_core.store.runs; "
    code += "sys.exit('torch' in sys.modules or 'streamlit' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
