"""How far things are: the revision counter, a sweep's progress and ETA, the machine, measured step times."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.store.claims import lease_lives, shown_state
from werank_core.store.errors import StoreError
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
    return revision_and_silent(store)[0]


def revision_and_silent(store: Store) -> tuple[int, int]:
    """The revision, and how many jobs' leases ran out: this changes what is shown without any change to the store.

    Raises:
        StoreError: one sentence, when the store has lost its revision.
    """
    silent = sa.select(sa.func.count()).select_from(job).where(job.c.state == RunState.RUNNING.value, ~lease_lives())
    statement = sa.select(meta.c.number, silent.scalar_subquery()).where(meta.c.name == "revision")
    with store.reading() as connection:
        row = connection.execute(statement).first()
    if row is None:
        raise StoreError("The store is damaged, its revision is missing: restore it from a copy or choose another one.")
    return int(row[0]), int(row[1])


def sweep_revision(store: Store, sweep_id: str) -> tuple[float, ...]:
    """Numbers that change with every change of state or record of the sweep's own runs, whatever others do."""
    shown = shown_state()
    counts = [sa.func.count().filter(shown == state.value) for state in RunState]
    times = sa.func.coalesce(sa.func.max(run.c.finished_at), 0.0), sa.func.coalesce(sa.func.max(run.c.started_at), 0.0)
    statement = (
        sa.select(sa.func.coalesce(sa.func.sum(run.c.step), 0), *times, *counts)
        .select_from(run.join(sweep_run, sweep_run.c.run_id == run.c.id))
        .where(sweep_run.c.sweep_id == sweep_id)
    )
    with store.reading() as connection:
        return tuple(float(value) for value in connection.execute(statement).one())


def progress(store: Store, sweep_id: str) -> Progress:
    """How far the sweep is, and when it will be done if that can be told; without a live lease nothing runs."""
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
    own = sa.select(shown_state(), run.c.job_id, run.c.step, run.c.num_steps).where(run.c.id.in_(members)).subquery()
    sums = (sa.func.sum(own.c.step).label("step"), sa.func.sum(own.c.num_steps).label("num_steps"))
    counts = (sa.func.count().label("runs"), sa.func.max(own.c.num_steps).label("longest"))
    return sa.select(own.c.state, own.c.job_id, *sums, *counts).group_by(own.c.state, own.c.job_id)


def _jobs(connection: Connection, job_ids: Sequence[str]) -> Sequence[Any]:
    columns = (job.c.id, _shown_job_state(), job.c.step, job.c.num_steps, job.c.device, job.c.shape)
    pace = (job.c.attempt_seconds, job.c.attempt_steps)
    return connection.execute(sa.select(*columns, *pace).where(job.c.id.in_(job_ids))).all()


def _shown_job_state() -> sa.ColumnElement[str]:
    silent = sa.and_(job.c.state == RunState.RUNNING.value, ~lease_lives())
    return sa.case((silent, RunState.QUEUED.value), else_=job.c.state).label("state")


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
    """Seconds: work left over slots, but never less than the longest batch needs; None while a cost is unknown.

    A batch that runs is judged by its own pace: however many of its runs ended early, its steps take what they take.
    """
    waiting = [row for row in jobs if row.id in left]
    costs = {shape: _step_seconds(connection, shape) for shape in {row.shape for row in waiting}}
    needed = []
    for row in waiting:
        if row.state == RunState.RUNNING.value and row.attempt_steps and row.attempt_seconds:
            needed.append((row.num_steps - row.step) * row.attempt_seconds / row.attempt_steps)
        elif (cost := costs[row.shape]) is not None:
            needed.append(left[row.id] * cost)
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
    """From the newest finished batches, else from how far the running ones are; by the steps really taken."""
    columns = (
        *(job.c.run_ids, job.c.step, job.c.num_steps, job.c.seconds, job.c.run_steps),
        *(job.c.attempt_seconds, job.c.attempt_steps),
    )
    chosen = sa.select(*columns).where(job.c.shape == shape)
    ended = chosen.where(job.c.state == RunState.FINISHED.value, job.c.seconds > 0)
    rows = connection.execute(ended.order_by(job.c.finished_at.desc()).limit(10)).all()
    work: int = sum(_run_steps(row) for row in rows)
    if work:
        return float(sum(row.seconds for row in rows)) / work
    going = chosen.where(job.c.state == RunState.RUNNING.value, job.c.attempt_steps > 0)
    rows = connection.execute(going).all()
    work = sum(len(row.run_ids) * row.attempt_steps for row in rows)
    spent = sum(float(row.attempt_seconds or 0.0) for row in rows)
    return spent / work if work and spent > 0 else None


def _run_steps(row: Any) -> int:
    """Steps of single runs that a finished job took; one of an earlier version tells the step it ended at only."""
    return int(len(row.run_ids) * (row.step or row.num_steps) if row.run_steps is None else row.run_steps)


def machine_status(store: Store) -> MachineStatus:
    """The queue's length, and the supervisors that were seen lately."""
    with store.reading() as connection:
        seen = connection.execute(sa.select(machine).where(machine.c.seen_at > time.time() - SEEN_SECONDS)).all()
        states = list(connection.execute(sa.select(_shown_job_state()).where(job.c.state.in_(_ACTIVE))).scalars())
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
