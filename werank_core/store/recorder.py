"""The sink a trainer's recorder writes to: one transaction a record, and nothing once the job is somebody else's.

A store that does not answer is waited for as long as the lease would last; then the job is given back.
"""

import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store.claims import Claim
from werank_core.store.errors import StoreUnavailable
from werank_core.store.layouts import Layout, decoded, flattened, keep_layout, layouts
from werank_core.store.patience import Patience
from werank_core.store.queue import got_to, note_checkpoint
from werank_core.store.schema import Store, array, history, job, run, upsert
from werank_core.vocabulary import MetricKey, RunState

# Built once: a record is a handful of statements, and building them costs more than running them.
_UPDATE_RUN = sa.update(run).where(run.c.id == sa.bindparam("b_id"), run.c.job_id == sa.bindparam("b_job"))
_AT_STEP = got_to(
    sa.update(job)
    .where(
        job.c.id == sa.bindparam("b_id"),
        job.c.attempt == sa.bindparam("b_attempt"),
        job.c.state == RunState.RUNNING.value,
    )
    .values(step=sa.bindparam("b_step")),
    sa.bindparam("b_step"),
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
        self._first_step: int | None = None
        self._began_at = 0.0
        self._stationary_at = np.full(len(claimed.run_ids), np.inf)
        self.patience = Patience(claimed.lease_seconds, partial(print, flush=True))
        self.stop = stop or threading.Event()
        self.step = 0
        self.lost = False
        self.all_ended = False

    def should_stop(self, step: int) -> bool:
        """True once training is no longer wanted: asked to stop, lost the job, or no run of it is still running."""
        if self._first_step is None:
            self._first_step, self._began_at = step, time.monotonic() - self.patience.waited
        self.step = step
        return self.stop.is_set() or self.lost or self.all_ended

    @property
    def pace(self) -> tuple[int, float]:
        """Steps of the batch in this attempt and the seconds they took, set-up and waiting for the store left out."""
        if self._first_step is None:
            return 0, 0.0
        return self.step - self._first_step, time.monotonic() - self._began_at - self.patience.waited

    @property
    def run_steps(self) -> int:
        """Steps of single runs in this attempt: a run that became stationary takes no more."""
        first = self.step if self._first_step is None else self._first_step
        return int((np.minimum(self.step, self._stationary_at) - first).clip(0).sum())

    def write(self, step: int, values: Mapping[str, np.ndarray], arrays: Mapping[tuple[str, int], np.ndarray]) -> bool:
        """Keep one step of every run that is still running; the same step again replaces what was there.

        A run whose loss is not finite becomes `diverged` with this record as its last.

        Returns:
            False when it could not be kept: the job is somebody else's, or the store has not answered for too long.
        """
        if self.lost:
            return False
        self._latest.update(values)
        self._stationary_at = _stationary_at(values, self._stationary_at)
        try:
            self.patience.ask(lambda: self._write(step, values, arrays), self.stop)
        except StoreUnavailable as error:
            print(f"Step {step} could not be recorded and the job is given back: {error}", flush=True)
            self.stop.set()
            return False
        self.step = step
        return not self.lost

    def may_save(self, step: int) -> bool:
        """Before a checkpoint is kept: makes what was recorded durable; False when the job is somebody else's.

        Without an answer from the store the checkpoint is kept all the same: it is what the job goes on from. Nor is
        the store asked when the job is to stop at once: giving it back does as much.
        """
        if self.lost or self.stop.is_set():
            return not self.lost
        try:
            self.lost = not note_checkpoint(self._store, self._claim, step)
        except StoreUnavailable as error:
            print(f"The checkpoint of step {step} could not be noted: {error}", flush=True)
        return not self.lost

    def _write(self, step: int, values: Mapping[str, np.ndarray], arrays: Mapping[tuple[str, int], np.ndarray]) -> None:
        known: set[str] = set()
        finite = _finite(values, len(self._claim.run_ids))
        with self._store.writing() as connection:
            fenced = {"b_id": self._claim.job_id, "b_attempt": self._claim.attempt, "b_step": step}
            held = bool(connection.execute(_AT_STEP, fenced).rowcount)
            live = self._live(connection) if held else []
            diverged = [place for place in live if not finite[place]]
            if live:
                self._write_history(connection, step, values, live, known)
                self._write_arrays(connection, step, arrays, live)
                self._write_runs(connection, step, live, known)
                self._end_diverged(connection, step, diverged)
        # Only what was committed is true.
        self._known |= known
        self.lost = not held
        self.all_ended = held and len(diverged) == len(live)

    def _live(self, connection: Connection) -> list[int]:
        """Positions on the run axis of the runs that are still this job's and running."""
        running = set(connection.execute(_RUNNING, {"b_id": self._claim.job_id}).scalars())
        return [place for place, run_id in enumerate(self._claim.run_ids) if run_id in running]

    def _layout(self, connection: Connection, columns: Layout, known: set[str]) -> str:
        if columns.id not in self._known | known:
            keep_layout(connection, columns)
            known.add(columns.id)
        return columns.id

    def _write_history(
        self, connection: Connection, step: int, values: Mapping[str, np.ndarray], live: list[int], known: set[str]
    ) -> None:
        if not values:
            return
        columns, table = flattened(values)
        name, narrow = self._layout(connection, columns, known), table.astype("<f4")
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

    def _write_runs(self, connection: Connection, step: int, live: list[int], known: set[str]) -> None:
        if not self._latest:
            return
        columns, table = flattened(self._latest)
        name, taken = self._layout(connection, columns, known), np.minimum(step, self._stationary_at).astype(int)
        ids = self._claim.run_ids
        rows: list[dict[str, Any]] = [
            {
                "b_id": ids[r],
                "b_job": self._claim.job_id,
                "layout_id": name,
                "step": int(taken[r]),
                "final": table[r].tobytes(),
            }
            for r in live
        ]
        connection.execute(_UPDATE_RUN, rows)

    def _end_diverged(self, connection: Connection, step: int, places: list[int]) -> None:
        if not places:
            return
        ids = [self._claim.run_ids[place] for place in places]
        ended = sa.update(run).where(run.c.id.in_(ids), run.c.job_id == self._claim.job_id)
        sentence = f"The loss was no longer a finite number at step {step}."
        connection.execute(ended.values(state=RunState.DIVERGED.value, error=sentence, finished_at=time.time()))


def _stationary_at(values: Mapping[str, np.ndarray], before: np.ndarray) -> np.ndarray:
    """The step `(R,)` at which each run stopped by itself as stationary, inf for those that go on."""
    for name, value in values.items():
        if MetricKey.parse(name).metric == "stationary_at":
            return np.where(np.isfinite(value), value, np.inf)
    return before


def _finite(values: Mapping[str, np.ndarray], num_runs: int) -> np.ndarray:
    """Which runs `(R,)` have no recorded loss that is NaN or infinite."""
    losses = [value for name, value in values.items() if MetricKey.parse(name).metric == "loss"]
    return np.asarray(np.isfinite(np.stack([np.zeros(num_runs), *losses])).all(axis=0))


def _recorded_before(store: Store, claimed: Claim) -> dict[str, np.ndarray]:
    """The newest values an earlier attempt left, by metric, `(R,)` or `(R, L)`; NaN for runs without."""
    own = sa.and_(run.c.id.in_(claimed.run_ids), run.c.job_id == claimed.job_id, run.c.layout_id.is_not(None))
    with store.reading() as connection:
        rows = connection.execute(sa.select(run.c.id, run.c.layout_id, run.c.final).where(own)).all()
        known = layouts(connection, {row.layout_id for row in rows})
    union = Layout(tuple(dict.fromkeys(column for row in rows for column in known[row.layout_id].columns)))
    places = {column: place for place, column in enumerate(union.columns)}
    table = np.full((len(claimed.run_ids), len(union)), np.nan)
    for row in rows:
        columns = known[row.layout_id]
        table[claimed.run_ids.index(row.id), [places[column] for column in columns.columns]] = decoded(
            [row.final], columns, "<f8"
        )
    return _unflattened(union, table)


def _unflattened(columns: Layout, table: np.ndarray) -> dict[str, np.ndarray]:
    places: dict[str, list[int]] = {}
    for place, (metric, split, _) in enumerate(columns.columns):
        places.setdefault(str(MetricKey(metric, split)), []).append(place)
    layered = {str(MetricKey(metric, split)) for metric, split, layer in columns.columns if layer}
    return {name: table[:, where] if name in layered else table[:, where[0]] for name, where in places.items()}
