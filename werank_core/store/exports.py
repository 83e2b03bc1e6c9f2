"""Everything of a sweep as one file: final metrics, history or arrays, as CSV or Parquet, read in parts."""

import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import sqlalchemy as sa

from werank_core.store import frames, schema
from werank_core.store.schema import Store

Contents = Literal["final", "history", "arrays"]
CONTENTS: dict[Contents, str] = {
    "final": "newest value of every metric of every run",
    "history": "every metric at every recorded step",
    "arrays": "singular values and pictures at every recorded step",
}
MOST_CSV_ROWS = 3_000_000
"""A CSV of more rows would be hundreds of megabytes in the web process; Parquet is a tenth of it."""

_AT_ONCE = 200  # runs: all at once would be larger than all else in the process
_TEXT, _WHOLE = pa.string(), pa.int64()
_COLUMNS = {
    **dict.fromkeys(frames.TIDY, _TEXT),
    **dict.fromkeys(("strength", "second_value", "value"), pa.float64()),
    **dict.fromkeys(("seed", "step", "layer"), _WHOLE),
    "name": _TEXT,
    "shape": pa.list_(_WHOLE),
    "values": pa.list_(pa.float32()),
}


def table_parts(store: Store, sweep_id: str, contents: Contents) -> Iterator[pd.DataFrame]:
    """The rows of a sweep, some runs at a time; at least one part, which may have no rows.

    `final` and `history` are tidy frames; `arrays` has one row an array, its values flattened beside their shape.
    """
    ids, read = run_ids(store, sweep_id), _READERS[contents]
    kind = object if _is_over_a_choice(store, sweep_id) else float  # in every part, whether it has rows or not
    for start in range(0, max(1, len(ids)), _AT_ONCE):
        yield read(store, sweep_id, ids[start : start + _AT_ONCE]).astype({"second_value": kind})


def run_ids(store: Store, sweep_id: str) -> list[str]:
    """The sweep's runs in the order of its grid."""
    of = schema.sweep_run
    statement = sa.select(of.c.run_id).where(of.c.sweep_id == sweep_id).order_by(of.c.position)
    with store.reading() as connection:
        return list(dict.fromkeys(connection.execute(statement).scalars()))


def _is_over_a_choice(store: Store, sweep_id: str) -> bool:
    of = schema.sweep_run
    with store.reading() as connection:
        return (
            connection.scalar(sa.select(sa.func.max(of.c.second_choice)).where(of.c.sweep_id == sweep_id)) is not None
        )


def is_too_long(store: Store, sweep_id: str) -> bool:
    """Whether the history has more than `MOST_CSV_ROWS` values, as far as its first run tells."""
    ids = run_ids(store, sweep_id)
    return len(ids) * len(frames.history(store, ids[:1], sweep_id=sweep_id)) > MOST_CSV_ROWS


def _arrays(store: Store, sweep_id: str, ids: list[str]) -> pd.DataFrame:
    table = schema.array
    with store.reading() as connection:
        names = connection.execute(sa.select(table.c.name).where(table.c.run_id.in_(ids)).distinct()).scalars().all()
    found = [frames.arrays(store, ids, name, "all", sweep_id=sweep_id).assign(name=name) for name in sorted(names)]
    rows = pd.concat(found, ignore_index=True) if found else frames.arrays(store, [], "").assign(name="")
    shapes = [list(np.shape(values)) for values in rows["values"]]
    flat = [np.ravel(values) for values in rows["values"]]
    return rows.assign(shape=pd.Series(shapes, dtype=object), values=pd.Series(flat, dtype=object))


_READERS: dict[Contents, Callable[[Store, str, list[str]], pd.DataFrame]] = {
    "final": lambda store, sweep_id, ids: frames.final_metrics(store, [sweep_id], ids),
    "history": lambda store, sweep_id, ids: frames.history(store, ids, sweep_id=sweep_id),
    "arrays": _arrays,
}


def as_csv(parts: Iterable[pd.DataFrame]) -> bytes:
    """The parts as one CSV file with one header."""
    text = io.StringIO()
    for number, part in enumerate(parts):
        part.to_csv(text, index=False, header=number == 0)
    return text.getvalue().encode()


def as_parquet(parts: Iterable[pd.DataFrame]) -> bytes:
    """The parts as one Parquet file with one schema, whatever a part leaves empty."""
    file, writer = io.BytesIO(), None
    for part in parts:
        words = {"second_value": _TEXT} if part["second_value"].dtype == object else {}
        columns = pa.schema([(name, (_COLUMNS | words)[name]) for name in part.columns])
        table = pa.Table.from_pydict({name: _values(part[name]) for name in part.columns}, schema=columns)
        writer = writer or pq.ParquetWriter(file, columns)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return file.getvalue()


def _values(column: pd.Series) -> Any:
    """The column as Arrow takes it: missing as null."""
    return column.tolist() if column.dtype == object else pa.Array.from_pandas(column)
