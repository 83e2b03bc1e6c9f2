"""How far things are: the revision counter, a sweep's progress and ETA, the machine, measured step times."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store.runs import shape_digest
from werank_core.store.schema import Store, job, machine, meta, run, sweep_run
from werank_core.vocabulary import RunState

SEEN_SECONDS = 10.0
"""A supervisor that has not been seen for longer is taken for dead."""


@dataclass(frozen=True)
class Progress:
    """How far a sweep is. Run-steps count every step of every run; those that ended early count as done."""

    jobs_done: int
    jobs_total: int
    runs: dict[RunState, int]
    steps_done: int
    steps_total: int
    eta_seconds: float | None
    devices: tuple[str, ...]
    step: int
    """The step of the running batch that is least far, 0 where none runs."""
    num_steps: int

    @property
    def active(self) -> bool:
        """True while a run waits or trains."""
        return any(self.runs[state] for state in RunState if state.active)

    @property
    def share(self) -> float:
        """Run-steps done, as a share in [0, 1]."""
        return self.steps_done / self.steps_total if self.steps_total else 1.0


@dataclass(frozen=True)
class MachineStatus:
    """Who works on this store now."""

    queued_jobs: int
    running_jobs: int
    slots: int
    devices: tuple[str, ...]
    supervisor_alive: bool


def revision(store: Store) -> int:
    """A number that changes with every change of state or record: the cache key of everything read."""
    with store.reading() as connection:
        return int(connection.execute(sa.select(meta.c.number).where(meta.c.name == "revision")).scalar_one())


def sweep_revision(store: Store, sweep_id: str) -> tuple[float, ...]:
    """Numbers that change with every change of state or record of the sweep's own runs, whatever others do."""
    counts = [sa.func.count().filter(run.c.state == state.value) for state in RunState]
    times = sa.func.coalesce(sa.func.max(run.c.finished_at), 0.0), sa.func.coalesce(sa.func.max(run.c.started_at), 0.0)
    statement = (
        sa.select(sa.func.coalesce(sa.func.sum(run.c.step), 0), *times, *counts)
        .select_from(run.join(sweep_run, sweep_run.c.run_id == run.c.id))
        .where(sweep_run.c.sweep_id == sweep_id)
    )
    with store.reading() as connection:
        return tuple(float(value) for value in connection.execute(statement).one())


def progress(store: Store, sweep_id: str) -> Progress:
    """How far the sweep is, and when it will be done if that can be told."""
    with store.reading() as connection:
        groups = connection.execute(_grouped(sweep_id)).all()
        jobs = _jobs(connection, sorted({group.job_id for group in groups if group.job_id}))
        going = {row.id: row.step for row in jobs if row.state == RunState.RUNNING.value}
        done = [_steps_done(group, going) for group in groups]
        left = _steps_left(groups, done)
        eta = _eta(connection, jobs, left, _slots(connection))
    running = [row for row in jobs if row.state == RunState.RUNNING.value]
    least = min(running, key=lambda row: row.step / max(1, row.num_steps), default=None)
    return Progress(
        jobs_done=sum(not RunState(row.state).active for row in jobs),
        jobs_total=len(jobs),
        runs={state: sum(group.runs for group in groups if group.state == state.value) for state in RunState},
        steps_done=sum(done),
        steps_total=sum(int(group.num_steps) for group in groups),
        eta_seconds=eta,
        devices=tuple(sorted(row.device for row in running if row.device)),
        step=0 if least is None else least.step,
        num_steps=max((group.longest for group in groups), default=0) if least is None else least.num_steps,
    )


def _grouped(sweep_id: str) -> sa.Select[Any]:
    """The sweep's runs, added up by state and job."""
    members = sa.select(sweep_run.c.run_id).where(sweep_run.c.sweep_id == sweep_id)
    sums = (sa.func.sum(run.c.step).label("step"), sa.func.sum(run.c.num_steps).label("num_steps"))
    counts = (sa.func.count().label("runs"), sa.func.max(run.c.num_steps).label("longest"))
    statement = sa.select(run.c.state, run.c.job_id, *sums, *counts).where(run.c.id.in_(members))
    return statement.group_by(run.c.state, run.c.job_id)


def _jobs(connection: Connection, job_ids: Sequence[str]) -> Sequence[Any]:
    columns = (job.c.id, job.c.state, job.c.step, job.c.num_steps, job.c.device, job.c.shape, job.c.started_at)
    return connection.execute(sa.select(*columns).where(job.c.id.in_(job_ids))).all()


def _steps_done(group: Any, going: Mapping[str, int]) -> int:
    """Run-steps done; a batch tells its step more often than it records."""
    if not RunState(group.state).active:
        return int(group.num_steps)
    return max(int(group.step), going.get(group.job_id, 0) * int(group.runs))


def _steps_left(groups: Sequence[Any], done: Sequence[int]) -> dict[str, int]:
    """Run-steps that are still to be trained, by job."""
    left: dict[str, int] = {}
    for group, steps in zip(groups, done, strict=True):
        if RunState(group.state).active:
            left[group.job_id] = left.get(group.job_id, 0) + int(group.num_steps) - steps
    return left


def _eta(connection: Connection, jobs: Sequence[Any], left: Mapping[str, int], slots: int) -> float | None:
    """Seconds: work left over slots, but never less than the longest batch needs; None while a cost is unknown."""
    waiting = [row for row in jobs if row.id in left]
    costs = {shape: _step_seconds(connection, shape) for shape in {row.shape for row in waiting}}
    needed = [left[row.id] * cost for row in waiting if (cost := costs[row.shape]) is not None]
    if len(needed) < len(left):
        return None
    return max([sum(needed) / max(1, min(slots, len(needed))), *needed], default=0.0)


def step_seconds(store: Store, key: str) -> float | None:
    """Measured seconds per run and step of batches with this `sweeps.shape_key`; None where none was trained."""
    return shape_seconds(store, shape_digest(key))


def shape_seconds(store: Store, shape: str) -> float | None:
    """As `step_seconds`, of the shape that job rows name so: versions before named others."""
    with store.reading() as connection:
        return _step_seconds(connection, shape)


def _step_seconds(connection: Connection, shape: str) -> float | None:
    """From the newest finished batches, else from how far the running ones are."""
    columns = (job.c.run_ids, job.c.num_steps, job.c.seconds, job.c.step, job.c.started_at, job.c.heartbeat_at)
    chosen = sa.select(*columns).where(job.c.shape == shape)
    ended = chosen.where(job.c.state == RunState.FINISHED.value, job.c.seconds > 0)
    rows = connection.execute(ended.order_by(job.c.finished_at.desc()).limit(10)).all()
    work: int = sum(len(row.run_ids) * row.num_steps for row in rows)
    if work:
        return float(sum(row.seconds for row in rows)) / work
    going = chosen.where(job.c.state == RunState.RUNNING.value, job.c.step > 0)
    rows = connection.execute(going).all()
    work = sum(len(row.run_ids) * row.step for row in rows)
    spent = float(sum((row.heartbeat_at or time.time()) - row.started_at for row in rows))
    return spent / work if work and spent > 0 else None


def machine_status(store: Store) -> MachineStatus:
    """The queue's length, and the supervisors that were seen lately."""
    with store.reading() as connection:
        seen = connection.execute(sa.select(machine).where(machine.c.seen_at > time.time() - SEEN_SECONDS)).all()
        states = list(connection.execute(sa.select(job.c.state).where(job.c.state.in_(_ACTIVE))).scalars())
    return MachineStatus(
        queued_jobs=states.count(RunState.QUEUED.value),
        running_jobs=states.count(RunState.RUNNING.value),
        slots=sum(row.slots for row in seen),
        devices=tuple(sorted({row.devices for row in seen})),
        supervisor_alive=bool(seen),
    )


_ACTIVE = (RunState.QUEUED.value, RunState.RUNNING.value)


def _slots(connection: Connection) -> int:
    seen = machine.c.seen_at > time.time() - SEEN_SECONDS
    return int(connection.execute(sa.select(sa.func.sum(machine.c.slots)).where(seen)).scalar() or 1)
