"""The file behind an SQLite store: is it still the one that was opened?

A connection goes on with the file it has open, also after somebody removed or replaced it: what it writes then is read
by nobody. So the file is looked at before and after every transaction.
"""

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from werank_core.store.errors import StoreMissing, StoreUnavailable

Identity = tuple[int, int]
"""Device and inode."""


class StoreFile:
    """The file of one open store.

    Args:
        path: where it is.
        make_ready: what opening does with an engine whose file is another one: check its version, bring it up to date.
    """

    def __init__(self, path: Path, make_ready: Callable[[Engine], None]) -> None:
        self._path = path
        self._log = Path(f"{path}-wal")
        self._make_ready = make_ready
        self._changing = threading.RLock()
        self.generation = 0
        self._opened = identity(path)
        self._opened_log: Identity | None = None

    def look(self, engine: Engine) -> None:
        """Before a transaction: open anew what was replaced.

        Raises:
            StoreMissing: when the file is gone.
            StoreError: when what stands in its place is no store.
        """
        found = identity(self._path)
        if found is not None and found == self._opened and self._opened_log in (None, identity(self._log)):
            return
        with self._changing:
            found = identity(self._path)
            if found is None:
                # Connections stay open: so its number is not given to another file, and it is known when it comes back.
                raise StoreMissing(
                    f"The store's file {self._path} is gone: put it back, or start again for an empty one."
                )
            if self._opened_log is not None and identity(self._log) in (None, self._opened_log):
                _rescue(engine)
            engine.dispose()
            replaced = found != self._opened
            if replaced:
                self._set_log_aside()
                self._opened = None  # its number may be given to another file from here on
            self._opened_log = None
            if replaced:
                self._make_ready(engine)
                self._opened = found
                self.generation += 1

    def _set_log_aside(self) -> None:
        """The write-ahead log of the file that was replaced must not be played onto the one that replaced it."""
        if self._opened_log is None or identity(self._log) != self._opened_log:
            return
        with suppress(OSError):
            if self._log.stat().st_size:
                os.replace(self._log, f"{self._log}.old")
            else:
                self._log.unlink()
            Path(f"{self._path}-shm").unlink(missing_ok=True)

    def confirm(self) -> None:
        """After a transaction that wrote: was it this file all the time?

        Raises:
            StoreUnavailable: when it went away meanwhile; what was written is lost.
        """
        if identity(self._path) != self._opened:
            raise StoreUnavailable(
                f"The store's file {self._path} was removed or replaced while it was written: try again."
            )

    def note_log(self) -> None:
        """After any transaction: which write-ahead log the connections now have open."""
        if self._opened_log is None:
            self._opened_log = identity(self._log)


def identity(path: Path) -> Identity | None:
    """Which file that is; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _rescue(engine: Engine) -> None:
    """Bring the newest data from the write-ahead log into the file, through connections that have both still open.

    One of them may have been removed or replaced under its name; then this is the last chance.
    """
    with suppress(SQLAlchemyError, sqlite3.Error):
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA busy_timeout = 1000").close()  # this connection serves nobody after it
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        finally:
            raw.close()
