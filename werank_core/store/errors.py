"""What can be wrong with a store, in one sentence a person can act on."""

from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

READ_ONLY = "This is a read-only demo: nothing can be launched, cancelled or deleted here."

_FULL = "The disk that holds the store is full: free some space and try again."
_NO_ANSWER = "The store's server does not answer: is it running, and is WERANK_STORE right?"

# What SQLite and PostgreSQL say -> what a person can do about it. The first passes by itself or by freeing something.
_FOR_NOW = {
    "database is locked": "The store is busy: another program has kept it locked for too long; try again in a moment.",
    "database table is locked": "The store is busy: another program has kept it locked; try again in a moment.",
    "database or disk is full": _FULL,
    "no space left": _FULL,
    "disk i/o error": "The disk that holds the store cannot be read or written: is it full or gone?",
    "readonly database": "The store cannot be written: its file or folder is read-only.",
    "unable to open database file": "The store's file cannot be opened: does its folder exist and may it be written?",
    "connection refused": _NO_ANSWER,
    "no such file or directory": _NO_ANSWER,  # PostgreSQL's socket
    "starting up": "The store's server is starting: try again in a moment.",
    "not yet accepting": "The store's server is starting: try again in a moment.",
    "shutting down": "The store's server is shutting down: try again in a moment.",
    "administrator command": "The store's server is shutting down: try again in a moment.",
    "server closed the connection": "The store's server broke the connection off: try again in a moment.",
}
_FOR_GOOD = {
    "read-only transaction": "The store cannot be written: it was opened read-only.",
    "file is not a database": "The store's file is not a database: choose another one with WERANK_STORE.",
    "malformed": "The store's file is damaged: restore it from a copy or choose another one with WERANK_STORE.",
    "no such table": "The store has none of WERank Lab's tables: choose another one with WERANK_STORE.",
    "port number": "WERANK_STORE names a port that is no whole number from 1 to 65535.",
    "nul (0x00)": "The store cannot keep a text with a NUL character in it: remove it.",
}


class StoreError(Exception):
    """Something is wrong with the store; the message is one sentence for the person."""


class StoreUnavailable(StoreError):
    """The store does not answer for now (locked, disk full, server away): to be waited for, nobody's failure."""


class StoreMissing(StoreUnavailable):
    """The store's file is not there any more."""


def explained(error: Exception) -> StoreError:
    """The error that says what the database answered in one sentence."""
    answer = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
    lowered = answer.lower()
    for known, kind in ((_FOR_GOOD, StoreError), (_FOR_NOW, StoreUnavailable)):
        for key, text in known.items():
            if key in lowered:
                return kind(text)
    if isinstance(error, UnicodeError):
        return StoreError("The store cannot keep a text with characters that are no Unicode: remove them.")
    return (StoreUnavailable if _is_passing(error) else StoreError)(f"The store answered: {answer}.")


def _is_passing(error: Exception) -> bool:
    """Whether it is about the connection and not about what was asked: all of PostgreSQL's operational errors are."""
    if isinstance(error, TimeoutError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return True
    from_sqlite = type(getattr(error, "orig", None)).__module__ == "sqlite3"
    return isinstance(error, OperationalError) and not from_sqlite
