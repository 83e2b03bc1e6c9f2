"""Opening a store: its folder, its connection settings, its schema version."""

import os
import re
import sqlite3
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from werank_core.store.errors import StoreError, StoreMissing, explained
from werank_core.store.files import StoreFile
from werank_core.store.schema import Store, metadata

MIGRATIONS = Path(__file__).parent / "migrations"
VERSIONS = ("0001", "0002", "0003", "0004")
"""The schema versions there have been; the file names in `migrations/versions` start with theirs."""

NEWEST = VERSIONS[-1]
"""The one this code reads and writes."""

BUSY_SECONDS = 15.0
_CONNECT_SECONDS = 10
_UPGRADE_LOCK = 0x57_45_52_41_4E_4B
"""Who brings a PostgreSQL store up to date holds this advisory lock."""


def open_store(url: str, *, read_only: bool = False, create: bool = True) -> Store:
    """The store at that SQLAlchemy URL, created or brought up to date where needed (never when `read_only`).

    Raises:
        StoreError: one sentence, when there is none, it is newer than this code, locked, unreadable or no store.
    """
    engine, path = _engine(url, read_only, create and not read_only)
    make_ready = partial(_make_ready, read_only=read_only)
    try:
        make_ready(engine)
    except SQLAlchemyError as error:
        raise explained(error) from error
    return Store(engine, read_only, None if path is None else StoreFile(path, make_ready))


def _engine(url: str, read_only: bool, create: bool) -> tuple[Engine, Path | None]:
    """An engine that has not connected yet, and the file it will open if it opens one."""
    try:
        address = sa.make_url(url)
        if address.get_backend_name() == "sqlite":
            path = _file(address, create)
            return _sqlite(path, read_only), path
        options = {"connect_timeout": _CONNECT_SECONDS} if "psycopg" in address.get_driver_name() else {}
        read = {"postgresql_readonly": read_only}
        return sa.create_engine(address, pool_pre_ping=True, connect_args=options, execution_options=read), None
    except (ArgumentError, ValueError) as error:
        raise StoreError(
            f"WERANK_STORE = {without_password(url)!r} is not a database URL such as sqlite:////folder/store.sqlite "
            "or postgresql://user@host:5432/name."
        ) from error
    except ModuleNotFoundError as error:
        raise StoreError(f"This store needs the Python package {error.name!r}: install it.") from error


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1:***@", url)


def _file(address: URL, create: bool) -> Path:
    """The file of an SQLite store; it exists afterwards."""
    if address.query:
        raise StoreError(
            "WERANK_STORE has options after a question mark, which SQLite stores have none of; in the name of a file "
            "or folder, write %3F for it and %25 for a percent sign."
        )
    if not address.database or address.database.startswith((":memory:", "file:")):
        raise StoreError("The store must be a file: several processes share it.")
    path = Path(address.database).absolute()
    if path.exists():
        return path
    if not create:
        raise StoreMissing(f"There is no store at {path} yet.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        what, where = ("file", path) if path.parent.is_dir() else ("folder", path.parent)
        raise StoreError(f"The store's {what} {where} cannot be made: {error.strerror}.") from error
    return path


def _sqlite(path: Path, read_only: bool) -> Engine:
    # Never created by a connection: a store that was removed must not come back as an empty one in the middle of work.
    mode = "mode=rw"
    if read_only:
        # A write-ahead log needs its side files; where none can be made, nobody can write either.
        mode = "mode=ro" if os.access(path.parent, os.W_OK) else "immutable=1"
    address = URL.create("sqlite", database=f"file:{quote(os.fsencode(path))}?{mode}", query={"uri": "true"})
    engine = sa.create_engine(address, connect_args={"timeout": BUSY_SECONDS}, max_overflow=32)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(raw: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    """SQLite's settings of one connection; transactions begin where `_begin` says, not where the driver guesses."""
    raw.isolation_level = None
    cursor = raw.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("write", False):
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options.get('durable', False) else 'NORMAL'}")
    # Taking the write lock at once waits for its turn; upgrading a read transaction fails instead.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _make_ready(engine: Engine, read_only: bool) -> None:
    """Check the version, and bring the store up to date where that is wanted and allowed."""
    version = _version(engine)
    if version != NEWEST:
        if read_only:
            raise StoreError("This store is empty or older than the program: open it once without the read-only mode.")
        _upgrade(engine)
    elif engine.dialect.name == "sqlite" and not read_only:
        _use_write_ahead_log(engine)


def _version(engine: Engine) -> str | None:
    """The schema version, None where there is no store yet.

    Raises:
        StoreError: one sentence, when it is none of this program's.
    """
    with engine.begin() as connection:
        return _version_seen(connection)


def _version_seen(connection: Connection) -> str | None:
    there = set(sa.inspect(connection).get_table_names())
    versions: list[str] = []
    if "alembic_version" in there:
        versions += connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
    if not versions and not there & set(metadata.tables):
        return None
    (version,) = versions if len(versions) == 1 else ("",)
    if version in VERSIONS:
        return version
    if re.fullmatch(r"\d{4}", version) and version > NEWEST:
        raise StoreError(
            f"This store was written by a newer version of WERank Lab (schema {version}, this one knows {NEWEST}): "
            "update the program or choose another store with WERANK_STORE."
        )
    raise StoreError(
        "This store does not say which version of WERank Lab wrote it: restore it from a copy or choose another one "
        "with WERANK_STORE."
    )


def _upgrade(engine: Engine) -> None:
    from alembic import command  # slow to import and needed once in a store's life
    from alembic.config import Config

    if engine.dialect.name == "sqlite":
        _use_write_ahead_log(engine)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(write=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            # Of several that open a new store at once, the others wait here and find it done.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_UPGRADE_LOCK)))
        if _version_seen(connection) != NEWEST:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _use_write_ahead_log(engine: Engine) -> None:
    """SQLite does not wait for its turn when the kind of log changes: so this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise explained(error) from error
            time.sleep(0.05)
        finally:
            raw.close()
