"""What a person does with runs: submit a sweep, cancel, try again, delete. Each is one transaction."""

import hashlib
import json
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.config import ExperimentConfig
from werank_core.experiments import code_version, experiment
from werank_core.names import differing_fields, made_name, short_title
from werank_core.store.errors import StoreError
from werank_core.store.records import chunks, forget_records
from werank_core.store.resuming import resume_failed_jobs
from werank_core.store.schema import Store, job, run, sweep, sweep_run
from werank_core.sweeps import Run, RunBatch, SweepSpec, batches, shape_key
from werank_core.vocabulary import RunState
from werank_core.vocabulary.spelling import spelled

ACTIVE = (RunState.QUEUED.value, RunState.RUNNING.value)
_SUBMIT_AGAIN = (RunState.FAILED.value, RunState.CANCELLED.value)
_RETRIABLE = (*_SUBMIT_AGAIN, RunState.DIVERGED.value)


@dataclass(frozen=True)
class Submission:
    """What became of a submitted sweep: `reused_runs` were already trained, or are being trained."""

    sweep_id: str
    new_runs: int
    reused_runs: int
    num_jobs: int


def submit(store: Store, spec: SweepSpec, *, slots: int = 1) -> Submission:
    """Queue what the sweep still lacks; the same sweep again, even at the same moment, gives the same id and no work.

    Runs are identified by their effective config, seeds and code version. Those that failed or were cancelled are
    queued again; finished, diverged and active ones are used as they are. `slots` is how many jobs the machine trains
    at once: small sweeps are cut into as many, so that none idles.

    Raises:
        StoreError: one sentence.
    """
    if not spec.config.is_identified:
        raise StoreError("The sweep does not say which data it means: submit it from the page or the command line.")
    grid = spec.runs()
    unique = {item.id: item for item in grid}
    sweep_id = sweep_identity(spec, grid)
    rows = {run_id: _run_row(run_id, item) for run_id, item in unique.items()}
    with store.writing() as connection:
        states = _states(connection, unique)
        again = [run_id for run_id in unique if states.get(run_id) in _SUBMIT_AGAIN]
        fresh = [run_id for run_id in unique if run_id not in states]
        _link(connection, sweep_id, spec, grid, [rows[run_id] for run_id in fresh])
        resumed = resume_failed_jobs(connection, again)
        anew = [run_id for run_id in again if run_id not in resumed]
        _clear(connection, anew)
        wanted = {*anew, *fresh}
        num_jobs = _enqueue(connection, {i: item for i, item in unique.items() if i in wanted}, slots)
    num_new = len(again) + len(fresh)
    return Submission(sweep_id, num_new, len(unique) - num_new, num_jobs + len(set(resumed.values())))


def runs_to_train(store: Store, runs: Iterable[Run]) -> list[Run]:
    """Those of these different runs that submitting them would queue: not trained, not about to be, or to try again."""
    unique = {item.id: item for item in runs}
    with store.reading() as connection:
        states = _states(connection, unique)
    return [item for run_id, item in unique.items() if states.get(run_id, _SUBMIT_AGAIN[0]) in _SUBMIT_AGAIN]


def retry(store: Store, run_ids: Iterable[str]) -> int:
    """Queue failed, cancelled and diverged runs again; returns how many.

    A batch that failed and is tried again as a whole goes on from its checkpoint; everything else starts at step 0.
    """
    with store.writing() as connection:
        chosen = {row.id: row for part in chunks(run_ids) for row in connection.execute(_retriable(part))}
        resumed = resume_failed_jobs(connection, [i for i, row in chosen.items() if row.state in _SUBMIT_AGAIN])
        again = {i: Run(row.experiment, _config(row)) for i, row in chosen.items() if i not in resumed}
        _clear(connection, again)
        _enqueue(connection, again)
    return len(chosen)


def request_cancel(store: Store, *, sweep_id: str | None = None, run_ids: Iterable[str] | None = None) -> int:
    """Mark the active ones among these runs cancelled, at once; returns how many.

    A batch none of whose runs is wanted any more is taken from the queue, or its worker told to stop.
    """
    with store.writing() as connection:
        chosen = list(run_ids or [])
        if sweep_id is not None:
            members = sa.select(sweep_run.c.run_id).where(sweep_run.c.sweep_id == sweep_id)
            chosen += connection.execute(members).scalars()
        return _cancel(connection, chosen)


def delete_runs(store: Store, run_ids: Iterable[str]) -> int:
    """Delete runs with everything recorded of them, cancelling active ones; returns how many.

    A sweep that loses its last run goes too.
    """
    with store.writing() as connection:
        return _delete(connection, list(run_ids))


def delete_sweep(store: Store, sweep_id: str) -> int:
    """Delete a sweep and those of its runs that no other sweep uses; returns how many runs."""
    other = sweep_run.alias()
    shared = sa.select(other.c.run_id).where(other.c.run_id == sweep_run.c.run_id, other.c.sweep_id != sweep_id)
    own = sa.select(sweep_run.c.run_id).where(sweep_run.c.sweep_id == sweep_id, ~shared.exists())
    with store.writing() as connection:
        deleted = _delete(connection, sorted(set(connection.execute(own).scalars())))
        connection.execute(sa.delete(sweep).where(sweep.c.id == sweep_id))
    return deleted


def differing(config: ExperimentConfig) -> str:
    """What differs from the experiment's defaults, strength and seeds left out: "objective VICReg, depth 2"."""
    changed = differing_fields(config, type(config)())
    return ", ".join(f"{short_title(config, name)} {spelled(value)}" for name, value in changed.items())


def sweep_identity(spec: SweepSpec, grid: Sequence[Run] = ()) -> str:
    """The id that submitting this sweep gives or gave: a hash of its runs' ids; its name does not count."""
    text = json.dumps([spec.experiment, spec.second_axis, [item.id for item in grid or spec.runs()]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _run_row(run_id: str, item: Run) -> dict[str, Any]:
    return {
        "id": run_id,
        "experiment": item.experiment,
        "dataset": str(getattr(item.config, "dataset", "")),
        "config": item.config.model_dump(mode="json"),
        "differs": differing(item.config),
        "strength": item.config.strength,
        "seed": item.seed,
        "num_steps": item.config.num_steps,
        "code_version": code_version(),
        "state": RunState.QUEUED.value,
        "step": 0,
        "error": "",
        "traceback": "",
        "created_at": time.time(),
    }


def _link(
    connection: Connection, sweep_id: str, spec: SweepSpec, grid: Sequence[Run], fresh: list[dict[str, Any]]
) -> None:
    """Write the sweep, its new runs and which runs it consists of (runs deleted since are linked again)."""
    if fresh:
        connection.execute(sa.insert(run), fresh)
    if connection.execute(sa.select(sweep.c.id).where(sweep.c.id == sweep_id)).first() is None:
        connection.execute(sa.insert(sweep).values(_sweep_row(sweep_id, spec)))
    connection.execute(sa.delete(sweep_run).where(sweep_run.c.sweep_id == sweep_id))
    links = [
        {"sweep_id": sweep_id, "position": position, "run_id": item.id, **_second(item, spec.second_axis)}
        for position, item in enumerate(grid)
    ]
    connection.execute(sa.insert(sweep_run), links)


def _second(item: Run, axis: str | None) -> dict[str, Any]:
    """Where a run stands on the second axis: a number or a choice."""
    value = None if axis is None else getattr(item.config, axis)
    is_choice = isinstance(value, str)
    return {
        "second_value": None if value is None or is_choice else float(value),
        "second_choice": value if is_choice else None,
    }


def _sweep_row(sweep_id: str, spec: SweepSpec) -> dict[str, Any]:
    return {
        "id": sweep_id,
        "name": spec.name or made_name(spec),
        "experiment": spec.experiment,
        "spec": spec.model_dump(mode="json"),
        "second_axis": spec.second_axis,
        "code_version": code_version(),
        "created_at": time.time(),
    }


def _enqueue(connection: Connection, runs: dict[str, Run], slots: int = 1) -> int:
    """Put these runs into the queue, batched; returns the number of jobs. Their rows exist."""
    ids = {id(item): run_id for run_id, item in runs.items()}
    rows = [_job_row(position, batch, ids) for position, batch in enumerate(batches(runs.values(), slots=slots))]
    if not rows:
        return 0
    connection.execute(sa.insert(job), rows)
    owned = [{"b_id": run_id, "job_id": row["id"]} for row in rows for run_id in row["run_ids"]]
    connection.execute(sa.update(run).where(run.c.id == sa.bindparam("b_id")), owned)
    return len(rows)


def _job_row(position: int, batch: RunBatch, ids: dict[int, str]) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(8),
        "experiment": batch.experiment,
        "run_ids": [ids[id(item)] for item in batch.runs],
        "configs": [item.config.model_dump(mode="json") for item in batch.runs],
        "shape": shape_digest(shape_key(experiment(batch.experiment), batch.config)),
        "num_steps": batch.config.num_steps,
        "state": RunState.QUEUED.value,
        "attempt": 0,
        "lost": 0,
        "cancel_requested": False,
        "step": 0,
        "seconds": 0.0,
        "log": "",
        "created_at": time.time(),
        "position": position,
    }


def shape_digest(key: str) -> str:
    """How a job row names its `sweeps.shape_key`."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _states(connection: Connection, run_ids: Iterable[str]) -> dict[str, str]:
    parts = (connection.execute(sa.select(run.c.id, run.c.state).where(run.c.id.in_(p))) for p in chunks(run_ids))
    return {row.id: row.state for part in parts for row in part}


def _retriable(run_ids: Collection[str]) -> sa.Select[Any]:
    columns = (run.c.id, run.c.experiment, run.c.config, run.c.state)
    return sa.select(*columns).where(run.c.id.in_(run_ids), run.c.state.in_(_RETRIABLE))


def _config(row: Any) -> ExperimentConfig:
    try:
        return experiment(row.experiment).config_class.model_validate(row.config)
    except (KeyError, ValueError) as error:
        raise StoreError(
            f"Run {row.id} was written by a version with other settings; submit its sweep anew."
        ) from error


def _clear(connection: Connection, run_ids: Iterable[str]) -> None:
    """Back to the state of a run that was never started."""
    ids = list(run_ids)
    forget_records(connection, ids)
    fresh = dict.fromkeys(("device", "started_at", "finished_at", "job_id"))
    for part in chunks(ids):
        values = {**fresh, "state": RunState.QUEUED.value, "error": "", "traceback": ""}
        connection.execute(sa.update(run).where(run.c.id.in_(part)).values(**values))


def _cancel(connection: Connection, run_ids: Iterable[str]) -> int:
    cancelled = 0
    for part in chunks(run_ids):
        chosen = sa.update(run).where(run.c.id.in_(part), run.c.state.in_(ACTIVE))
        values = {"state": RunState.CANCELLED.value, "finished_at": time.time()}
        cancelled += connection.execute(chosen.values(**values)).rowcount
    if cancelled:
        _drop_unwanted_jobs(connection)
    return cancelled


def _drop_unwanted_jobs(connection: Connection) -> None:
    wanted = sa.select(run.c.id).where(run.c.job_id == job.c.id, run.c.state.in_(ACTIVE)).exists()
    unwanted = sa.update(job).where(~wanted)
    waiting = unwanted.where(job.c.state == RunState.QUEUED.value)
    connection.execute(waiting.values(state=RunState.CANCELLED.value, finished_at=time.time()))
    connection.execute(unwanted.where(job.c.state == RunState.RUNNING.value).values(cancel_requested=True))


def _delete(connection: Connection, run_ids: Sequence[str]) -> int:
    _cancel(connection, run_ids)
    results = [connection.execute(sa.delete(run).where(run.c.id.in_(part))) for part in chunks(run_ids)]
    used = sa.select(sweep_run.c.run_id).where(sweep_run.c.sweep_id == sweep.c.id).exists()
    connection.execute(sa.delete(sweep).where(~used))
    return sum(result.rowcount for result in results)
