"""What is recorded of runs, forgotten as a whole."""

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store.schema import array, history, history_block, run

_CHUNK = 5_000


def chunks(run_ids: Iterable[str]) -> Iterator[list[str]]:
    """The ids in parts no longer than a statement may have parameters."""
    ids = list(run_ids)
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def forget_records(connection: Connection, run_ids: Iterable[str]) -> None:
    """Histories, arrays and newest values of these runs: gone, as if they had never begun."""
    for part in chunks(run_ids):
        for table in (history, history_block, array):
            connection.execute(sa.delete(table).where(table.c.run_id.in_(part)))
        connection.execute(sa.update(run).where(run.c.id.in_(part)).values(layout_id=None, final=None, step=0))
