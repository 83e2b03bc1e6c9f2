"""Opening a store: its folder, its connection settings, its schema version."""

import os
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from werank_core.store.errors import StoreError, sentence
from werank_core.store.schema import Store

MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST = "0003"
"""The schema version this code writes; the file names in `migrations/versions` start with theirs."""

BUSY_SECONDS = 15.0


def open_store(url: str, *, read_only: bool = False) -> Store:
    """The store at that SQLAlchemy URL, created or brought up to date where needed (never when `read_only`).

    Raises:
        StoreError: one sentence, when there is none, it is newer than this code, locked, unreadable or no store.
    """
    engine = _engine(url, read_only)
    try:
        _check_version(engine, read_only)
    except SQLAlchemyError as error:
        raise StoreError(sentence(error)) from error
    return Store(engine, read_only)


def _engine(url: str, read_only: bool) -> Engine:
    try:
        address = sa.make_url(url)
        if address.get_backend_name() == "sqlite":
            return _sqlite(address, read_only)
        return sa.create_engine(address, pool_pre_ping=True, execution_options={"postgresql_readonly": read_only})
    except ArgumentError as error:
        raise StoreError(
            f"WERANK_STORE = {url!r} is not a database URL such as sqlite:////folder/store.sqlite."
        ) from error
    except ModuleNotFoundError as error:
        raise StoreError(f"This store needs the Python package {error.name!r}: install it.") from error


def _sqlite(address: URL, read_only: bool) -> Engine:
    path = Path(address.database or "")
    if not address.database or address.database == ":memory:":
        raise StoreError("The store must be a file: several processes share it.")
    if read_only and not path.exists():
        raise StoreError(f"There is no store at {path} yet.")
    if read_only:
        # A write-ahead log needs its side files; where none can be made, nobody can write either.
        mode = "mode=ro" if os.access(path.parent, os.W_OK) else "immutable=1"
        address = address.set(database=f"file:{quote(str(path.absolute()))}?{mode}", query={"uri": "true"})
    else:
        _make_folder(path.parent)
    engine = sa.create_engine(address, connect_args={"timeout": BUSY_SECONDS}, max_overflow=32)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"The store's folder {folder} cannot be made: {error.strerror}.") from error


def _prepare(raw: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
    """SQLite's settings of one connection; transactions begin where `_begin` says, not where the driver guesses."""
    raw.isolation_level = None
    cursor = raw.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin(connection: Connection) -> None:
    # Taking the write lock at once waits for its turn; upgrading a read transaction fails instead.
    writes = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _check_version(engine: Engine, read_only: bool) -> None:
    version = _version(engine)
    if version == NEWEST:
        return
    if version is not None and version > NEWEST:
        raise StoreError(
            f"This store was written by a newer version of WERank Lab (schema {version}, this one knows {NEWEST}): "
            "update the program or choose another store with WERANK_STORE."
        )
    if read_only:
        raise StoreError("This store is empty or older than the program: open it once without the read-only mode.")
    _upgrade(engine)


def _version(engine: Engine) -> str | None:
    with engine.begin() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(engine: Engine) -> None:
    from alembic import command  # slow to import and needed once in a store's life
    from alembic.config import Config

    if engine.dialect.name == "sqlite":
        _use_write_ahead_log(engine)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _use_write_ahead_log(engine: Engine) -> None:
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL").close()
    finally:
        raw.close()
