"""Recorded numbers as tidy frames: one row a value; `layer` and `split` are columns, never part of a name.

`split` says which rows a number is of. `series` is empty here: whoever draws several lines names them in it.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store import schema
from werank_core.store.claims import shown_state
from werank_core.store.layouts import Layout, decoded, layouts
from werank_core.store.schema import Store, run, sweep, sweep_run

TIDY = (
    "run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed",
    "step", "metric", "layer", "split", "series", "value", "state",
)  # fmt: skip
ARRAYS = ("run_id", "sweep_id", "strength", "second_value", "seed", "step", "layer", "values")

_PER_RUN = ("run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed", "state")
_WHOLE = ("seed", "step", "layer")
_REAL = ("strength", "value")


def final_metrics(
    store: Store,
    sweep_ids: Sequence[str] | None = None,
    run_ids: Sequence[str] | None = None,
    metrics: Iterable[str] | None = None,
) -> pd.DataFrame:
    """The newest recorded value of every metric of every run, whatever its state; `step` is the run's newest step.

    Args:
        store: an open store.
        sweep_ids: only runs of these sweeps, a run of two of them once for each; None: every run once, as part of
            its newest sweep.
        run_ids: only these runs.
        metrics: only these keys, `split/metric` or `metric` (every split).

    Returns:
        A tidy frame (columns `TIDY`); values are float64, NaN where a metric is undefined.
    """
    with store.reading() as connection:
        recorded = runs_with_sweep(sweep_ids, run_ids, run.c.step, run.c.layout_id, run.c.final)
        rows = connection.execute(recorded.where(run.c.layout_id.is_not(None))).all()
        known = layouts(connection, {row.layout_id for row in rows})
    parts = []
    for name, columns in known.items():
        chosen = [row for row in rows if row.layout_id == name]
        table = decoded([row.final for row in chosen], columns, "<f8")
        steps = np.array([row.step for row in chosen])
        parts.append(_tidy(chosen, np.arange(len(chosen)), steps, table, columns, metrics))
    return _joined(parts)


def history(
    store: Store, run_ids: Sequence[str], metrics: Iterable[str] | None = None, *, sweep_id: str | None = None
) -> pd.DataFrame:
    """Every recorded value of these runs, over steps (float32; NaN values are left out).

    Args:
        store: an open store.
        run_ids: the runs.
        metrics: only these keys, `split/metric` or `metric` (every split).
        sweep_id: the sweep whose second axis they are seen in; None: each run's newest.
    """
    with store.reading() as connection:
        chosen = connection.execute(runs_with_sweep(None if sweep_id is None else [sweep_id], run_ids)).all()
        rows = {row.run_id: row for row in chosen}
        pieces = [*_blocks(connection, rows), *_live(connection, rows)]
        known = layouts(connection, {piece[1] for piece in pieces})
    order = {run_id: place for place, run_id in enumerate(rows)}
    parts = []
    for name, columns in known.items():
        own = [(order[i], steps, data) for i, layout_id, steps, data in pieces if layout_id == name]
        owners = np.repeat([place for place, _, _ in own], [len(steps) for _, steps, _ in own])
        steps = np.concatenate([steps for _, steps, _ in own])
        table = decoded([data for _, _, data in own], columns)
        parts.append(_tidy(chosen, owners, steps, table, columns, metrics))
    frame = _joined(parts)
    return frame[frame["value"].notna()].reset_index(drop=True)


def arrays(
    store: Store,
    run_ids: Sequence[str],
    name: str,
    steps: Literal["last", "all"] | int = "last",
    *,
    sweep_id: str | None = None,
) -> pd.DataFrame:
    """Stored arrays (spectra, pictures of representations) of these runs.

    Args:
        store: an open store.
        run_ids: the runs.
        name: which array.
        steps: each run's newest step, every step, or one.
        sweep_id: the sweep whose second axis they are seen in; None: each run's newest.

    Returns:
        Columns `ARRAYS`; `values` holds float32 arrays.
    """
    with store.reading() as connection:
        chosen = connection.execute(runs_with_sweep(None if sweep_id is None else [sweep_id], run_ids)).all()
        found = connection.execute(_arrays(run_ids, name, steps)).all()
    rows = {row.run_id: row for row in chosen}
    records = [
        (r.run_id, r.sweep_id or "", r.strength, second_value(r), r.seed, a.step, a.layer, _array(a))
        for a in found
        for r in [rows[a.run_id]]
    ]
    frame = pd.DataFrame.from_records(records, columns=list(ARRAYS))
    frame["second_value"] = second_column(frame["second_value"])
    return frame.astype({"run_id": "str", "sweep_id": "str", "strength": float})


def second_value(row: Any) -> float | str | None:
    """Where the second axis of its sweep has a run of `runs_with_sweep`."""
    found: float | str | None = row.second_value if row.second_choice is None else row.second_choice
    return found


def second_column(values: Iterable[Any]) -> np.ndarray:
    """Second values as a column: floats, nan where there is no second axis; words beside them where one is a choice."""
    filled = [math.nan if value is None else value for value in values]
    return np.array(filled, dtype=object if any(isinstance(value, str) for value in filled) else float)


def runs_with_sweep(
    sweep_ids: Sequence[str] | None, run_ids: Sequence[str] | None, *extra: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """Runs beside the sweep they are seen in: those of `sweep_ids`, else each run's newest (or none)."""
    link = sweep_run if sweep_ids is not None else _newest_links(run_ids)
    statement = (
        sa.select(
            run.c.id.label("run_id"), sweep.c.id.label("sweep_id"), run.c.experiment, run.c.dataset, run.c.strength,
            sweep.c.second_axis, link.c.second_value, link.c.second_choice, run.c.seed, shown_state(), *extra,
        )
        .select_from(run.outerjoin(link, link.c.run_id == run.c.id).outerjoin(sweep, sweep.c.id == link.c.sweep_id))
        .order_by(sweep.c.created_at, link.c.position, run.c.created_at, run.c.id)
    )  # fmt: skip
    if sweep_ids is not None:
        statement = statement.where(sweep.c.id.in_(sweep_ids))
    return statement if run_ids is None else statement.where(run.c.id.in_(run_ids))


def _newest_links(run_ids: Sequence[str] | None) -> sa.Subquery:
    newest = sa.func.row_number().over(
        partition_by=sweep_run.c.run_id, order_by=(sweep.c.created_at.desc(), sweep_run.c.position)
    )
    ranked = sa.select(sweep_run, newest.label("rank")).join(sweep, sweep.c.id == sweep_run.c.sweep_id)
    if run_ids is not None:
        ranked = ranked.where(sweep_run.c.run_id.in_(run_ids))
    first = ranked.subquery()
    return sa.select(first).where(first.c.rank == 1).subquery()


def _tidy(
    rows: Sequence[Any],
    owners: np.ndarray,
    steps: np.ndarray,
    table: np.ndarray,
    columns: Layout,
    metrics: Iterable[str] | None,
) -> pd.DataFrame:
    """Long form of a table `(records, columns)` whose record i belongs to run `rows[owners[i]]`.

    Sorted by run, then column, then step. Text is looked up once a run or column and repeated by position.
    """
    kept = [place for place, column in enumerate(columns.columns) if _wanted(column, metrics)]
    metric, split, layer = zip(*(columns.columns[place] for place in kept), strict=True) if kept else ((), (), ())
    record, column = np.repeat(np.arange(len(owners)), len(kept)), np.tile(np.arange(len(kept)), len(owners))
    order = np.lexsort((steps[record], column, owners[record]))
    record, column = record[order], column[order]
    values: dict[str, Any] = {
        name: _repeated(name, [getattr(row, name) for row in rows], owners[record])
        for name in _PER_RUN
        if name != "second_value"
    }
    values["second_value"] = second_column([second_value(row) for row in rows])[owners[record]]
    values |= {"step": steps[record], "value": table[:, kept].ravel()[order]}
    values |= {"metric": _repeated("metric", metric, column), "split": _repeated("split", split, column)}
    values["layer"] = np.array(layer, dtype="int64")[column]
    values["series"] = _repeated("series", [""], np.zeros(len(column), int))
    return pd.DataFrame({name: values[name] for name in TIDY}, copy=False)


def _repeated(name: str, values: Sequence[Any], places: np.ndarray) -> Any:
    """The values at these places, in the type the column has."""
    if name in _REAL:
        return np.array(values, dtype=float)[places]
    if name in _WHOLE:
        return np.array(values, dtype="int64")[places]
    if name == "second_axis":
        return np.array(values, dtype=object)[places]
    return pd.array(["" if value is None else value for value in values], dtype="str").take(places)


def _wanted(column: tuple[str, str, int], metrics: Iterable[str] | None) -> bool:
    metric, split, _ = column
    return metrics is None or metric in metrics or f"{split}/{metric}" in metrics


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    full = [part for part in parts if len(part)]
    if not full:
        return _tidy([], np.zeros(0, int), np.zeros(0, int), np.zeros((0, 0)), Layout(()), None)
    return full[0] if len(full) == 1 else pd.concat(full, ignore_index=True)


def _blocks(connection: Connection, run_ids: Collection[str]) -> Iterator[tuple[str, str, np.ndarray, bytes]]:
    block = schema.history_block
    for row in connection.execute(sa.select(block).where(block.c.run_id.in_(run_ids))):
        yield row.run_id, row.layout_id, np.frombuffer(row.steps, "<i8"), row.data


def _live(connection: Connection, run_ids: Collection[str]) -> Iterator[tuple[str, str, np.ndarray, bytes]]:
    live = schema.history
    for row in connection.execute(sa.select(live).where(live.c.run_id.in_(run_ids))):
        yield row.run_id, row.layout_id, np.array([row.step]), row.data


def _arrays(run_ids: Sequence[str], name: str, steps: Literal["last", "all"] | int) -> sa.Select[Any]:
    table = schema.array
    # As text: many arrays have few shapes, and each is parsed once.
    shape = sa.cast(table.c.shape, sa.Text).label("shape")
    statement = sa.select(table.c.run_id, table.c.step, table.c.layer, table.c.data, shape).where(
        table.c.run_id.in_(run_ids), table.c.name == name
    )
    statement = statement.order_by(table.c.run_id, table.c.step, table.c.layer)
    if isinstance(steps, int):
        return statement.where(table.c.step == steps)
    if steps == "all":
        return statement
    other = table.alias()
    same = (other.c.run_id == table.c.run_id, other.c.name == table.c.name)
    return statement.where(table.c.step == sa.select(sa.func.max(other.c.step)).where(*same).scalar_subquery())


def _array(row: Any) -> np.ndarray:
    return np.frombuffer(row.data, "<f4").reshape(_shape(row.shape))


@lru_cache(1024)
def _shape(text: str) -> tuple[int, ...]:
    return tuple(json.loads(text))
