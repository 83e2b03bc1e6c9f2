"""What a worker does with jobs: claim, heartbeat, finish, give back. The job row is the queue.

The attempt number is the fencing token: every write of a worker names it, so one that lost its job changes nothing.
"""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from werank_core.experiments import code_version, experiment
from werank_core.store.layouts import compact
from werank_core.store.schema import Store, job, run
from werank_core.sweeps import Run, RunBatch
from werank_core.vocabulary import RunState

MAX_LOST = 3
"""A job that took so many workers with it is not tried again."""

_GAVE_UP = f"The worker died {MAX_LOST} times while it trained this batch: out of memory, or a crash; see the log."


@dataclass(frozen=True)
class Claim:
    """One job in the hands of one worker; `attempt` is the fencing token."""

    job_id: str
    attempt: int
    experiment: str
    run_ids: tuple[str, ...]
    configs: tuple[dict[str, Any], ...]
    lease_seconds: float

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, in the order of the run axis.

        Raises:
            ValidationError: when a config was written by a version with other fields.
        """
        wanted = experiment(self.experiment).config_class
        return tuple(Run(self.experiment, wanted.model_validate(config)) for config in self.configs)

    @property
    def batch(self) -> RunBatch:
        """What the trainer gets."""
        return RunBatch(self.experiment, self.runs)

    @property
    def checkpoint(self) -> str:
        """File name of the checkpoint; another version of the code never resumes from it."""
        return f"{self.job_id}-{code_version().rpartition('+')[2]}.safetensors"


@dataclass(frozen=True)
class Heartbeat:
    """What a worker tells while it works."""

    step: int = 0
    device: str = ""
    log: str = ""


@dataclass(frozen=True)
class HeartbeatReply:
    """What it hears: whether the job is still its own, and whether somebody wants it to stop."""

    still_mine: bool
    cancel_requested: bool


def has_queued(store: Store) -> bool:
    """Whether a job waits: cheap enough to ask five times a second."""
    with store.reading() as connection:
        return connection.execute(_oldest()).first() is not None


def claim(store: Store, worker: str, lease_seconds: float = 30.0) -> Claim | None:
    """The oldest waiting job, now this worker's, or None; no two workers ever get the same."""
    if not has_queued(store):
        return None
    now = time.time()
    oldest = _oldest().with_for_update(skip_locked=True).scalar_subquery()
    taken = {"state": RunState.RUNNING.value, "worker": worker, "heartbeat_at": now, "lease_until": now + lease_seconds}
    statement = (
        sa.update(job)
        .where(job.c.id == oldest, job.c.state == RunState.QUEUED.value)
        .values(**taken, attempt=job.c.attempt + 1, started_at=sa.func.coalesce(job.c.started_at, now))
        .returning(job.c.id, job.c.attempt, job.c.experiment, job.c.run_ids, job.c.configs)
    )
    with store.writing() as connection:
        row = connection.execute(statement).first()
        if row is None:
            return None
        members = _members(connection, row)
        started = {"state": RunState.RUNNING.value, "code_version": code_version(), "error": ""}
        connection.execute(
            _owned(row.id, RunState.QUEUED).values(**started, started_at=sa.func.coalesce(run.c.started_at, now))
        )
    return Claim(row.id, row.attempt, row.experiment, *members, lease_seconds)


def _oldest() -> sa.Select[tuple[str]]:
    waiting = sa.select(job.c.id).where(job.c.state == RunState.QUEUED.value)
    return waiting.order_by(job.c.created_at, job.c.position).limit(1)


def _members(connection: Connection, row: Any) -> tuple[tuple[str, ...], tuple[dict[str, Any], ...]]:
    """The job's runs; those cancelled before its first start never enter the batch, later ones keep their place."""
    pairs = list(zip(row.run_ids, row.configs, strict=True))
    if row.attempt == 1:
        waiting = sa.select(run.c.id).where(run.c.job_id == row.id, run.c.state == RunState.QUEUED.value)
        wanted = set(connection.execute(waiting).scalars())
        kept = [pair for pair in pairs if pair[0] in wanted]
        if len(kept) < len(pairs):
            values = {"run_ids": [i for i, _ in kept], "configs": [c for _, c in kept]}
            connection.execute(sa.update(job).where(job.c.id == row.id).values(**values))
        pairs = kept
    return tuple(i for i, _ in pairs), tuple(c for _, c in pairs)


def mine(claimed: Claim) -> ColumnElement[bool]:
    """True for the job's row as long as the claim holds."""
    return sa.and_(job.c.id == claimed.job_id, job.c.attempt == claimed.attempt, job.c.state == RunState.RUNNING.value)


def _owned(job_id: str, state: RunState) -> sa.Update:
    return sa.update(run).where(run.c.job_id == job_id, run.c.state == state.value)


def heartbeat(store: Store, claimed: Claim, progress: Heartbeat) -> HeartbeatReply:
    """Renew the lease, leave progress, and hear whether to go on."""
    now = time.time()
    told = {"step": progress.step, "device": progress.device, "log": progress.log}
    renewed = sa.update(job).where(mine(claimed))
    values = {"heartbeat_at": now, "lease_until": now + claimed.lease_seconds} | {k: v for k, v in told.items() if v}
    with store.writing(bump=False) as connection:
        row = connection.execute(renewed.values(**values).returning(job.c.cancel_requested)).first()
    return HeartbeatReply(row is not None, row is not None and row.cancel_requested)


def started_on(store: Store, claimed: Claim, device: str) -> None:
    """Note the device on the job and its runs."""
    with store.writing() as connection:
        if connection.execute(sa.update(job).where(mine(claimed)).values(device=device)).rowcount:
            connection.execute(_owned(claimed.job_id, RunState.RUNNING).values(device=device))


def finish(
    store: Store,
    claimed: Claim,
    outcome: RunState,
    error: str = "",
    *,
    traceback: str = "",
    seconds: float = 0.0,
    log: str = "",
) -> bool:
    """End the job and those of its runs that are still running; False when the claim no longer holds.

    Args:
        outcome: finished, failed or cancelled. Runs that diverged or were cancelled before keep that state.
        error: one sentence for the row.
        traceback: kept beside it, shown on request.
        seconds: training time of this attempt.
        log: the end of what the worker printed.
    """
    with store.writing() as connection:
        values = {"seconds": job.c.seconds + seconds, "lease_until": None} | ({"log": log} if log else {})
        ended = sa.update(job).where(mine(claimed)).values(state=outcome.value, finished_at=time.time(), **values)
        if not connection.execute(ended).rowcount:
            return False
        _end_runs(connection, claimed.job_id, outcome, error, traceback)
        compact(connection, claimed.run_ids)
    return True


def _end_runs(connection: Connection, job_id: str, outcome: RunState, error: str, traceback: str = "") -> None:
    values: dict[str, Any] = {"state": outcome.value, "finished_at": time.time()}
    values |= {"error": error, "traceback": traceback}
    if outcome is RunState.FINISHED:
        values["step"] = run.c.num_steps
    for state in (RunState.RUNNING, RunState.QUEUED):
        connection.execute(_owned(job_id, state).values(**values))


def release(store: Store, claimed: Claim, *, seconds: float = 0.0) -> bool:
    """Give the job back to the queue, to go on from its checkpoint; False when the claim no longer holds."""
    with store.writing() as connection:
        back = {"state": RunState.QUEUED.value, "lease_until": None, "worker": None}
        statement = sa.update(job).where(mine(claimed)).values(**back, seconds=job.c.seconds + seconds)
        held = bool(connection.execute(statement).rowcount)
        if held:
            connection.execute(_owned(claimed.job_id, RunState.RUNNING).values(state=RunState.QUEUED.value))
    return held


def lose(store: Store, claimed: Claim, *, log: str = "") -> RunState | None:
    """Take the job from a worker that died: queued again, cancelled if that was asked for, failed the third time."""
    with store.writing() as connection:
        statement = sa.select(job.c.id, job.c.attempt, job.c.lost, job.c.run_ids, job.c.cancel_requested)
        row = connection.execute(statement.where(mine(claimed))).first()
        return None if row is None else _lose(connection, row, log)


def take_back_expired(store: Store) -> int:
    """Take every job back whose worker let its lease run out; returns how many."""
    columns = (job.c.id, job.c.attempt, job.c.lost, job.c.run_ids, job.c.cancel_requested)
    expired = sa.select(*columns).where(job.c.state == RunState.RUNNING.value, job.c.lease_until < time.time())
    with store.reading() as connection:
        if connection.execute(expired).first() is None:
            return 0
    with store.writing() as connection:
        rows: Sequence[Any] = connection.execute(expired.with_for_update(skip_locked=True)).all()
        for row in rows:
            _lose(connection, row, "")
    return len(rows)


def _lose(connection: Connection, row: Any, log: str) -> RunState:
    gave_up = row.lost + 1 >= MAX_LOST
    outcome = RunState.CANCELLED if row.cancel_requested else RunState.FAILED if gave_up else RunState.QUEUED
    values: dict[str, Any] = {"state": outcome.value, "lost": row.lost + 1, "lease_until": None}
    values |= {"log": log} if log else {}
    if outcome is RunState.QUEUED:
        connection.execute(_owned(row.id, RunState.RUNNING).values(state=RunState.QUEUED.value))
    else:
        values["finished_at"] = time.time()
        _end_runs(connection, row.id, outcome, _GAVE_UP if outcome is RunState.FAILED else "")
        compact(connection, row.run_ids)
    connection.execute(sa.update(job).where(job.c.id == row.id).values(**values))
    return outcome


def cancelled_jobs(store: Store, job_ids: Sequence[str]) -> set[str]:
    """Those of these jobs that somebody wants to stop."""
    chosen = sa.select(job.c.id).where(job.c.id.in_(job_ids), job.c.cancel_requested)
    with store.reading() as connection:
        return set(connection.execute(chosen).scalars())


def active_jobs(store: Store) -> set[str]:
    """Ids of the jobs that wait or run: whose checkpoints are still needed."""
    states = (RunState.QUEUED.value, RunState.RUNNING.value)
    with store.reading() as connection:
        return set(connection.execute(sa.select(job.c.id).where(job.c.state.in_(states))).scalars())


def worker_name(host: str, pid: int) -> str:
    """A name no other worker has: host, process and a random part."""
    return f"{host}-{pid}-{secrets.token_hex(2)}"
