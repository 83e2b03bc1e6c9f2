"""The tables, and how a store is opened: SQLite in WAL mode by default, PostgreSQL by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property

import sqlalchemy as sa
from sqlalchemy import Boolean, Column, Connection, Engine, Float, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from werank_core.store.errors import READ_ONLY, StoreError, explained
from werank_core.store.files import StoreFile

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _run_key() -> Column[str]:
    """A reference to a run, part of the primary key; the row goes when the run goes."""
    return Column("run_id", String(16), ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)


# Times are seconds since 1970 in UTC: the same number in every database; frames turn them into aware timestamps.
meta = sa.Table(
    "meta", metadata, Column("name", String(40), primary_key=True), Column("number", sa.BigInteger, nullable=False)
)

sweep = sa.Table(
    "sweep",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", Text, nullable=False),
    Column("experiment", String(40), nullable=False),
    Column("spec", sa.JSON, nullable=False),
    Column("second_axis", String(60)),
    Column("code_version", String(40), nullable=False),
    Column("created_at", Float, nullable=False, index=True),
)

# What a worker claims. `attempt` counts claims and is the fencing token. `lost` counts workers that died under it and
# `silent` those that were not heard of any more, both since it last got further than step `reached` (recorded, or kept
# in a checkpoint). `seconds` went into `run_steps` steps of single runs, the current attempt's `attempt_seconds` into
# `attempt_steps` steps of the batch; set-up is left out of both, for it does not grow with the steps.
job = sa.Table(
    "job",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("experiment", String(40), nullable=False),
    Column("run_ids", sa.JSON, nullable=False),
    Column("configs", sa.JSON, nullable=False),
    Column("shape", String(16), nullable=False),
    Column("num_steps", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("silent", Integer, nullable=False, server_default="0"),
    Column("reached", Integer),
    Column("cancel_requested", Boolean, nullable=False),
    Column("worker", String(120)),
    Column("device", String(60)),
    Column("step", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("run_steps", sa.BigInteger),
    Column("attempt_seconds", Float),
    Column("attempt_steps", Integer),
    Column("log", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("position", Integer, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("heartbeat_at", Float),
    Column("lease_until", Float),
    Index("ix_job_queue", "state", "created_at", "position"),
    Index("ix_job_shape", "shape", "finished_at"),
)

# The columns of recorded values, [[metric, split, layer], ...]: written once, referred to by many rows.
layout = sa.Table(
    "layout", metadata, Column("id", String(16), primary_key=True), Column("columns", sa.JSON, nullable=False)
)

run = sa.Table(
    "run",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("experiment", String(40), nullable=False),
    Column("dataset", String(60), nullable=False),
    Column("config", sa.JSON, nullable=False),
    Column("differs", Text, nullable=False),
    Column("strength", Float, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("num_steps", Integer, nullable=False),
    Column("code_version", String(40), nullable=False),
    Column("state", String(10), nullable=False, index=True),
    Column("step", Integer, nullable=False),
    Column("device", String(60)),
    Column("error", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("job_id", String(16), ForeignKey("job.id"), index=True),
    Column("layout_id", String(16), ForeignKey("layout.id")),
    Column("final", LargeBinary),  # the newest value of every metric, float64, in the columns of the layout
)

sweep_run = sa.Table(
    "sweep_run",
    metadata,
    Column("sweep_id", String(16), ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("run_id", String(16), ForeignKey("run.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("second_value", Float),
    Column("second_choice", String(60)),  # instead, where the second axis is a choice
)

history = sa.Table(
    "history",
    metadata,
    _run_key(),
    Column("step", Integer, primary_key=True),
    Column("layout_id", String(16), ForeignKey("layout.id"), nullable=False),
    Column("data", LargeBinary, nullable=False),  # float32
)

history_block = sa.Table(
    "history_block",
    metadata,
    _run_key(),
    Column("layout_id", String(16), ForeignKey("layout.id"), nullable=False),
    Column("steps", LargeBinary, nullable=False),  # int64 (S,)
    Column("data", LargeBinary, nullable=False),  # float32 (S, columns), NaN where nothing was recorded
)

array = sa.Table(
    "array",
    metadata,
    _run_key(),
    Column("name", String(60), primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("layer", Integer, primary_key=True),
    Column("shape", sa.JSON, nullable=False),
    Column("data", LargeBinary, nullable=False),  # float32
)

# One row a supervisor: who works on this store, seen when.
machine = sa.Table(
    "machine",
    metadata,
    Column("name", String(120), primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("devices", String(120), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

_BUMP = sa.update(meta).where(meta.c.name == "revision").values(number=meta.c.number + 1)


@dataclass(frozen=True)
class Store:
    """An open store; safe to share between threads, not between processes."""

    engine: Engine
    read_only: bool = False
    file: StoreFile | None = None
    """Where the store is one file: that which was opened, watched for being replaced."""

    @property
    def opened(self) -> int:
        """How often another file was found in its place: part of the key of everything that is kept of the store."""
        return 0 if self.file is None else self.file.generation

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection inside one transaction: everything read through it is of one moment."""
        with _explained():
            if self.file is not None:
                self.file.look(self.engine)
            with self.engine.begin() as connection:
                yield connection
                if self.file is not None:
                    self.file.note_log()

    @contextmanager
    def writing(self, *, bump: bool = True, durable: bool = False) -> Iterator[Connection]:
        """A connection inside one write transaction that moves `store_revision` on, unless told not to.

        A `durable` one survives a power cut, and with it every transaction before it; others survive every crash but
        that one.
        """
        if self.read_only:
            raise StoreError(READ_ONLY)
        with _explained():
            if self.file is not None:
                self.file.look(self.engine)
            with self._writers[durable].begin() as connection:
                if bump:
                    # First: its row lock makes writers take turns in every database, as SQLite's one lock does.
                    connection.execute(_BUMP)
                yield connection
                if self.file is not None:
                    self.file.note_log()
            if self.file is not None:
                self.file.confirm()

    @cached_property
    def _writers(self) -> dict[bool, Engine]:
        return {durable: self.engine.execution_options(write=True, durable=durable) for durable in (False, True)}

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, UnicodeError) as error:
        raise explained(error) from error


@cache
def upsert(dialect: str, table: sa.Table) -> sa.Insert:
    """An insert into the table that replaces a row with the same primary key, in this dialect."""
    statement = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
