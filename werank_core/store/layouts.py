"""Recorded values as rows of numbers: which column is which metric, split and layer, and how histories are kept."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store.schema import history, history_block, layout
from werank_core.vocabulary import MetricKey

LAYER_NONE = 0


@dataclass(frozen=True)
class Layout:
    """The columns of recorded values, as (metric, split, layer); layers count from 1, 0 is none, "" is no split."""

    columns: tuple[tuple[str, str, int], ...]

    @cached_property
    def id(self) -> str:
        """16 hex digits that name these columns."""
        return hashlib.sha256(json.dumps(self.columns).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.columns)


def flattened(values: Mapping[str, np.ndarray]) -> tuple[Layout, np.ndarray]:
    """Metrics of a batch as one table.

    Args:
        values: metric key -> `(R,)`, or `(R, L)` for one value a layer.

    Returns:
        The columns, and the values `(R, columns)` in float64.
    """
    parts = [np.asarray(value, float).reshape(len(value), -1) for value in values.values()]
    shapes = (
        (name, part.shape[1] if value.ndim > 1 else 0)
        for (name, value), part in zip(values.items(), parts, strict=True)
    )
    return _layout(tuple(shapes)), np.concatenate(parts, axis=1)


@lru_cache(256)
def _layout(shapes: tuple[tuple[str, int], ...]) -> Layout:
    """The columns of these metrics, each with its number of layers (0: not one a layer)."""
    columns: list[tuple[str, str, int]] = []
    for name, num_layers in shapes:
        key = MetricKey.parse(name)
        columns += [(key.metric, key.split, layer) for layer in (range(1, num_layers + 1) if num_layers else (0,))]
    return Layout(tuple(columns))


def keep_layout(connection: Connection, columns: Layout) -> None:
    """Make sure the layout is in the store."""
    if connection.execute(sa.select(layout.c.id).where(layout.c.id == columns.id)).first() is None:
        connection.execute(sa.insert(layout).values(id=columns.id, columns=[list(c) for c in columns.columns]))


def layouts(connection: Connection, ids: Iterable[str]) -> dict[str, Layout]:
    """The layouts of these ids."""
    rows = connection.execute(sa.select(layout).where(layout.c.id.in_(set(ids)))).all()
    return {row.id: Layout(tuple((m, s, int(n)) for m, s, n in row.columns)) for row in rows}


def decoded(parts: Sequence[bytes], columns: Layout, dtype: str = "<f4") -> np.ndarray:
    """Stored rows as one float64 table `(rows, columns)`."""
    return np.frombuffer(b"".join(parts), dtype=dtype).reshape(-1, len(columns)).astype(float)


def compact(connection: Connection, run_ids: Sequence[str]) -> None:
    """Put the live history rows of these runs into one float32 block a run."""
    rows = connection.execute(
        sa.select(history).where(history.c.run_id.in_(run_ids)).order_by(history.c.run_id, history.c.step)
    ).all()
    if not rows:
        return
    known = layouts(connection, {row.layout_id for row in rows})
    grouped: dict[str, list[tuple[int, Layout, bytes]]] = {}
    for row in rows:
        grouped.setdefault(row.run_id, []).append((row.step, known[row.layout_id], row.data))
    done = list(grouped)
    connection.execute(sa.delete(history_block).where(history_block.c.run_id.in_(done)))
    connection.execute(sa.insert(history_block), [_block(connection, i, records) for i, records in grouped.items()])
    connection.execute(sa.delete(history).where(history.c.run_id.in_(done)))


def _block(connection: Connection, run_id: str, records: Sequence[tuple[int, Layout, bytes]]) -> dict[str, object]:
    distinct = dict.fromkeys(columns for _, columns, _ in records)
    union = Layout(tuple(dict.fromkeys(column for columns in distinct for column in columns.columns)))
    keep_layout(connection, union)
    places = {column: index for index, column in enumerate(union.columns)}
    table = np.full((len(records), len(union)), np.nan, dtype="<f4")
    for row, (_, columns, values) in zip(table, records, strict=True):
        row[[places[column] for column in columns.columns]] = np.frombuffer(values, "<f4")
    steps = np.array([step for step, _, _ in records], dtype="<i8")
    return {"run_id": run_id, "layout_id": union.id, "steps": steps.tobytes(), "data": table.tobytes()}


def expand(connection: Connection, run_ids: Sequence[str]) -> None:
    """Put the blocks of these runs back into live rows, so that a history can go on: the opposite of `compact`."""
    chosen = history_block.c.run_id.in_(run_ids)
    blocks = connection.execute(sa.select(history_block).where(chosen)).all()
    known = layouts(connection, {block.layout_id for block in blocks})
    rows = [
        {"run_id": block.run_id, "step": step, "layout_id": block.layout_id, "data": values.tobytes()}
        for block in blocks
        for step, values in zip(
            np.frombuffer(block.steps, "<i8").tolist(),
            np.frombuffer(block.data, "<f4").reshape(-1, len(known[block.layout_id])),
            strict=True,
        )
    ]
    if rows:
        connection.execute(sa.delete(history_block).where(chosen))
        connection.execute(sa.insert(history), rows)
