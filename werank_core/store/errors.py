"""What can be wrong with a store, in one sentence a person can act on."""

from sqlalchemy.exc import SQLAlchemyError

READ_ONLY = "This is a read-only demo: nothing can be launched, cancelled or deleted here."

# What SQLite and PostgreSQL say -> what a person can do about it.
_KNOWN = {
    "database is locked": "The store is busy: another program has kept it locked for too long; try again in a moment.",
    "readonly database": "The store cannot be written: its file or folder is read-only.",
    "read-only transaction": "The store cannot be written: it was opened read-only.",
    "database or disk is full": "The disk that holds the store is full: free some space and try again.",
    "no space left": "The disk that holds the store is full: free some space and try again.",
    "disk i/o error": "The disk that holds the store cannot be read or written: is it full or gone?",
    "file is not a database": "The store's file is not a database: choose another one with WERANK_STORE.",
    "malformed": "The store's file is damaged: restore it from a copy or choose another one with WERANK_STORE.",
    "unable to open database file": "The store's file cannot be opened: does its folder exist, and may it be used?",
    "no such table": "The store has none of WERank Lab's tables: choose another one with WERANK_STORE.",
    "connection refused": "The store's server does not answer: is it running, and is WERANK_STORE right?",
}


class StoreError(Exception):
    """Something is wrong with the store; the message is one sentence for the person."""


def sentence(error: SQLAlchemyError) -> str:
    """The sentence for what the database answered."""
    answer = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    lowered = answer.lower()
    return next((text for key, text in _KNOWN.items() if key in lowered), f"The store answered: {answer}.")
