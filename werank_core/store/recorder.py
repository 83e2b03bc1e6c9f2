"""The sink a trainer's recorder writes to: one transaction a record, and nothing once the job is somebody else's."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store.layouts import Layout, decoded, flattened, keep_layout, layouts
from werank_core.store.queue import Claim
from werank_core.store.schema import Store, array, history, job, run, upsert
from werank_core.vocabulary import MetricKey, RunState

# Built once: a record is a handful of statements, and building them costs more than running them.
_UPDATE_RUN = sa.update(run).where(run.c.id == sa.bindparam("b_id"))
_AT_STEP = (
    sa.update(job)
    .where(
        job.c.id == sa.bindparam("b_id"),
        job.c.attempt == sa.bindparam("b_attempt"),
        job.c.state == RunState.RUNNING.value,
    )
    .values(step=sa.bindparam("b_step"))
)
_RUNNING = sa.select(run.c.id).where(run.c.job_id == sa.bindparam("b_id"), run.c.state == RunState.RUNNING.value)


class StoreSink:
    """Keeps the records of one claimed job (structurally a `training.recorder.Sink`).

    Args:
        store: an open store.
        claimed: the job; its `run_ids` are the run axis.
        stop: set from outside (a signal, a cancel, a lost lease) to end training at the next chance.
    """

    def __init__(self, store: Store, claimed: Claim, stop: threading.Event | None = None) -> None:
        self._store = store
        self._claim = claimed
        self._latest: dict[str, np.ndarray] = _recorded_before(store, claimed)
        self._known: set[str] = set()
        self.stop = stop or threading.Event()
        self.step = 0
        self.lost = False
        self.all_ended = False

    def should_stop(self, step: int) -> bool:
        """True once training is no longer wanted: asked to stop, lost the job, or no run of it is still running."""
        self.step = step
        return self.stop.is_set() or self.lost or self.all_ended

    def write(self, step: int, values: Mapping[str, np.ndarray], arrays: Mapping[tuple[str, int], np.ndarray]) -> None:
        """Keep one step of every run that is still running; the same step again replaces what was there.

        A run whose loss is not finite becomes `diverged` with this record as its last.
        """
        if self.lost:
            return
        self._latest.update(values)
        with self._store.writing() as connection:
            fenced = {"b_id": self._claim.job_id, "b_attempt": self._claim.attempt, "b_step": step}
            self.lost = not connection.execute(_AT_STEP, fenced).rowcount
            live = [] if self.lost else self._live(connection)
            if live:
                self._write_history(connection, step, values, live)
                self._write_arrays(connection, step, arrays, live)
                self._write_runs(connection, step, values, live)
        self.step = step

    def _live(self, connection: Connection) -> list[int]:
        """Positions on the run axis of the runs that are still this job's and running."""
        running = set(connection.execute(_RUNNING, {"b_id": self._claim.job_id}).scalars())
        self.all_ended = not running
        return [place for place, run_id in enumerate(self._claim.run_ids) if run_id in running]

    def _layout(self, connection: Connection, columns: Layout) -> str:
        if columns.id not in self._known:
            keep_layout(connection, columns)
            self._known.add(columns.id)
        return columns.id

    def _write_history(
        self, connection: Connection, step: int, values: Mapping[str, np.ndarray], live: list[int]
    ) -> None:
        if not values:
            return
        columns, table = flattened(values)
        name, narrow = self._layout(connection, columns), table.astype("<f4")
        ids = self._claim.run_ids
        rows = [{"run_id": ids[r], "step": step, "layout_id": name, "data": narrow[r].tobytes()} for r in live]
        connection.execute(upsert(connection.dialect.name, history), rows)

    def _write_arrays(
        self, connection: Connection, step: int, arrays: Mapping[tuple[str, int], np.ndarray], live: list[int]
    ) -> None:
        ids = self._claim.run_ids
        rows = [
            {
                "run_id": ids[place],
                "name": name,
                "step": step,
                "layer": layer,
                "shape": list(value.shape[1:]),
                "data": np.ascontiguousarray(value[place], dtype="<f4").tobytes(),
            }
            for (name, layer), value in arrays.items()
            for place in live
        ]
        if rows:
            connection.execute(upsert(connection.dialect.name, array), rows)

    def _write_runs(self, connection: Connection, step: int, values: Mapping[str, np.ndarray], live: list[int]) -> None:
        if not self._latest:
            return
        columns, table = flattened(self._latest)
        final = {"layout_id": self._layout(connection, columns), "step": step}
        ids = self._claim.run_ids
        rows: list[dict[str, Any]] = [{"b_id": ids[r], **final, "final": table[r].tobytes()} for r in live]
        connection.execute(_UPDATE_RUN, rows)
        finite = _finite(values, len(ids))
        diverged = [ids[place] for place in live if not finite[place]]
        if diverged:
            self._end_diverged(connection, step, diverged)
            self.all_ended = len(diverged) == len(live)

    def _end_diverged(self, connection: Connection, step: int, run_ids: list[str]) -> None:
        ended = sa.update(run).where(run.c.id.in_(run_ids))
        sentence = f"The loss was no longer a finite number at step {step}."
        connection.execute(ended.values(state=RunState.DIVERGED.value, error=sentence, finished_at=time.time()))


def _finite(values: Mapping[str, np.ndarray], num_runs: int) -> np.ndarray:
    """Which runs `(R,)` have no recorded loss that is NaN or infinite."""
    losses = [value for name, value in values.items() if MetricKey.parse(name).metric == "loss"]
    return np.asarray(np.isfinite(np.stack([np.zeros(num_runs), *losses])).all(axis=0))


def _recorded_before(store: Store, claimed: Claim) -> dict[str, np.ndarray]:
    """The newest values an earlier attempt left, by metric, `(R,)` or `(R, L)`; NaN for runs without."""
    with store.reading() as connection:
        chosen = sa.select(run.c.id, run.c.layout_id, run.c.final).where(run.c.id.in_(claimed.run_ids))
        rows = {row.id: row for row in connection.execute(chosen) if row.layout_id is not None}
        if not rows:
            return {}
        newest = next(iter(rows.values())).layout_id
        columns = layouts(connection, [newest])[newest]
    table = np.full((len(claimed.run_ids), len(columns)), np.nan)
    for place, run_id in enumerate(claimed.run_ids):
        if run_id in rows and rows[run_id].layout_id == newest:
            table[place] = decoded([rows[run_id].final], columns, "<f8")
    return _unflattened(columns, table)


def _unflattened(columns: Layout, table: np.ndarray) -> dict[str, np.ndarray]:
    places: dict[str, list[int]] = {}
    for place, (metric, split, _) in enumerate(columns.columns):
        places.setdefault(str(MetricKey(metric, split)), []).append(place)
    layered = {str(MetricKey(metric, split)) for metric, split, layer in columns.columns if layer}
    return {name: table[:, where] if name in layered else table[:, where[0]] for name, where in places.items()}
