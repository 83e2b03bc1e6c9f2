"""What a worker does with jobs: claim, heartbeat, finish, give back. The job row is the queue."""

import secrets
import time
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.experiments import code_version
from werank_core.store.claims import Claim, Heartbeat, HeartbeatReply, fell_silent, lease_lives, mine, owned, storable
from werank_core.store.layouts import compact
from werank_core.store.records import forget_records
from werank_core.store.schema import Store, job, run
from werank_core.vocabulary import RunState

MAX_LOST = 3
"""A job that took so many workers with it, without getting further in between, is not tried again."""

MAX_SILENT = 10
"""Nor one whose workers fell silent so often. That is mostly nobody's failure: sleep, a power cut, a store out of
reach. But a batch that takes its whole machine down must end some time."""

_DIED = (
    f"The worker died {MAX_LOST} times while it trained this batch, without getting further: out of memory, or a "
    "crash; see the log."
)
_SILENT = (
    f"Nothing was heard of the worker {MAX_SILENT} times while it trained this batch, without getting further: the "
    "batch hangs or takes its machine down; see the log."
)


def has_queued(store: Store) -> bool:
    """Whether a job waits: cheap enough to ask five times a second."""
    with store.reading() as connection:
        return connection.execute(_oldest()).first() is not None


def has_work(store: Store, host: str) -> bool:
    """Whether there is anything for a supervisor on this host: a job that waits, that was left, or that runs here."""
    waits = sa.or_(job.c.state == RunState.QUEUED.value, ~lease_lives())
    here = job.c.worker.startswith(f"{host}-", autoescape=True)
    chosen = sa.select(job.c.id).where(job.c.state.in_(_ACTIVE), sa.or_(waits, here))
    with store.reading() as connection:
        return connection.execute(chosen.limit(1)).first() is not None


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
        _forget_other_versions(connection, row.id)
        started = {"state": RunState.RUNNING.value, "code_version": code_version(), "error": ""}
        connection.execute(
            owned(row.id, RunState.QUEUED).values(**started, started_at=sa.func.coalesce(run.c.started_at, now))
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


def _forget_other_versions(connection: Connection, job_id: str) -> None:
    """What another version of the code recorded of these runs goes: one run's history is of one version."""
    own = sa.select(run.c.id, run.c.state, run.c.code_version, run.c.layout_id).where(run.c.job_id == job_id)
    rows = [row for row in connection.execute(own) if row.state == RunState.QUEUED.value and row.layout_id is not None]
    forget_records(connection, [row.id for row in rows if row.code_version != code_version()])


def heartbeat(store: Store, claimed: Claim, progress: Heartbeat) -> HeartbeatReply:
    """Renew the lease, leave progress, and hear whether to go on."""
    now = time.time()
    told = {
        "step": progress.step,
        "device": progress.device,
        "log": storable(progress.log),
        "attempt_steps": progress.steps,
        "attempt_seconds": progress.seconds,
    }
    renewed = sa.update(job).where(mine(claimed))
    values = {"heartbeat_at": now, "lease_until": now + claimed.lease_seconds} | {k: v for k, v in told.items() if v}
    with store.writing(bump=False) as connection:
        row = connection.execute(renewed.values(**values).returning(job.c.cancel_requested)).first()
    return HeartbeatReply(row is not None, row is not None and row.cancel_requested)


def started_on(store: Store, claimed: Claim, device: str) -> None:
    """Note the device on the job and its runs."""
    with store.writing() as connection:
        if connection.execute(sa.update(job).where(mine(claimed)).values(device=device)).rowcount:
            connection.execute(owned(claimed.job_id, RunState.RUNNING).values(device=device))


def note_checkpoint(store: Store, claimed: Claim, step: int) -> bool:
    """Before a checkpoint of this step is kept: makes sure that what was recorded before it survives a power cut.

    Returns:
        False when the claim no longer holds: then somebody else's checkpoint must not be overwritten.
    """
    with store.writing(bump=False, durable=True) as connection:
        return bool(connection.execute(got_to(sa.update(job).where(mine(claimed)), sa.literal(step))).rowcount)


def got_to(statement: sa.Update, step: sa.ColumnElement[int]) -> sa.Update:
    """The update, which also notes progress: a step further than ever makes up for the workers lost before it."""
    further = step > sa.func.coalesce(job.c.reached, -1)
    return statement.values(
        reached=sa.case((further, step), else_=job.c.reached),
        lost=sa.case((further, 0), else_=job.c.lost),
        silent=sa.case((further, 0), else_=job.c.silent),
    )


def finish(
    store: Store,
    claimed: Claim,
    outcome: RunState,
    error: str = "",
    *,
    traceback: str = "",
    seconds: float = 0.0,
    run_steps: int | None = None,
    log: str = "",
) -> bool:
    """End the job and those of its runs that are still running; False when the claim no longer holds.

    Args:
        outcome: finished, failed or cancelled. Runs that diverged or were cancelled before keep that state.
        error: one sentence for the row.
        traceback: kept beside it, shown on request.
        seconds: training time of this attempt, set-up left out.
        run_steps: steps of single runs that it went into; None: those that were recorded.
        log: the end of what the worker printed.
    """
    with store.writing(durable=True) as connection:
        values = _spent(seconds, run_steps) | ({"log": storable(log)} if log else {})
        ended = sa.update(job).where(mine(claimed)).values(state=outcome.value, finished_at=time.time(), **values)
        if not connection.execute(ended).rowcount:
            return False
        _end_runs(connection, claimed.job_id, outcome, storable(error), storable(traceback))
    return True


def _spent(seconds: Any, run_steps: Any) -> dict[str, Any]:
    """What ends an attempt: its lease, and its time and work added to those of the attempts before."""
    values: dict[str, Any] = {"lease_until": None, "attempt_seconds": None, "attempt_steps": None}
    values["seconds"] = job.c.seconds + seconds
    return values if run_steps is None else values | {"run_steps": sa.func.coalesce(job.c.run_steps, 0) + run_steps}


def _end_runs(connection: Connection, job_id: str, outcome: RunState, error: str, traceback: str = "") -> None:
    """End the runs that are still the job's own, and put the histories of all that are into blocks."""
    values = {"state": outcome.value, "finished_at": time.time(), "error": error, "traceback": traceback}
    for state in (RunState.RUNNING, RunState.QUEUED):
        connection.execute(owned(job_id, state).values(**values))
    own = sa.select(run.c.id).where(run.c.job_id == job_id)
    compact(connection, connection.execute(own).scalars().all())


def release(store: Store, claimed: Claim, *, seconds: float = 0.0, run_steps: int | None = None) -> bool:
    """Give the job back to the queue, to go on from its checkpoint; False when the claim no longer holds."""
    with store.writing(durable=True) as connection:
        back = {"state": RunState.QUEUED.value, "worker": None, **_spent(seconds, run_steps)}
        held = bool(connection.execute(sa.update(job).where(mine(claimed)).values(**back)).rowcount)
        if held:
            connection.execute(owned(claimed.job_id, RunState.RUNNING).values(state=RunState.QUEUED.value))
    return held


def lose(store: Store, claimed: Claim, *, log: str = "") -> RunState | None:
    """Take the job from a worker that is no more: queued again, cancelled if that was asked for, or given up.

    It died when its lease still lived, and fell silent before when not; see `MAX_LOST` and `MAX_SILENT`.
    """
    with store.writing() as connection:
        row = connection.execute(sa.select(job).where(mine(claimed))).first()
        return None if row is None else _lose(connection, row, log)


def expired_jobs(store: Store) -> set[str]:
    """Ids of the jobs whose workers let their leases run out."""
    with store.reading() as connection:
        return set(connection.execute(sa.select(job.c.id).where(_expired())).scalars())


def take_back_expired(store: Store, spared: Collection[str] = ()) -> int:
    """Take every job back whose worker let its lease run out, but for the spared ones; returns how many."""
    if not expired_jobs(store).difference(spared):
        return 0
    with store.writing() as connection:
        chosen = sa.select(job).where(_expired(), job.c.id.not_in(list(spared))).with_for_update(skip_locked=True)
        rows: Sequence[Any] = connection.execute(chosen).all()
        for row in rows:
            _lose(connection, row, "")
    return len(rows)


def _expired() -> sa.ColumnElement[bool]:
    return sa.and_(job.c.state == RunState.RUNNING.value, ~lease_lives())


def _lose(connection: Connection, row: Any, log: str) -> RunState:
    silent = fell_silent(row)
    count, limit, error = (row.silent, MAX_SILENT, _SILENT) if silent else (row.lost, MAX_LOST, _DIED)
    gave_up = count + 1 >= limit
    outcome = RunState.CANCELLED if row.cancel_requested else RunState.FAILED if gave_up else RunState.QUEUED
    steps = None if row.attempt_steps is None else len(row.run_ids) * row.attempt_steps
    values = {"state": outcome.value, "silent" if silent else "lost": count + 1} | (
        {"log": storable(log)} if log else {}
    )
    values |= _spent(row.attempt_seconds or 0.0, steps)
    if outcome is RunState.QUEUED:
        connection.execute(owned(row.id, RunState.RUNNING).values(state=RunState.QUEUED.value))
    else:
        values["finished_at"] = time.time()
        _end_runs(connection, row.id, outcome, error if outcome is RunState.FAILED else "")
    connection.execute(sa.update(job).where(job.c.id == row.id).values(**values))
    return outcome


def unwanted(store: Store, claims: Sequence[Claim]) -> set[tuple[str, int]]:
    """Keys of those of these claims that somebody wants to stop, or that no longer hold."""
    columns = (job.c.id, job.c.attempt, job.c.state, job.c.cancel_requested)
    chosen = sa.select(*columns).where(job.c.id.in_({claimed.job_id for claimed in claims}))
    with store.reading() as connection:
        rows = connection.execute(chosen).all()
    wanted = {(r.id, r.attempt) for r in rows if r.state == RunState.RUNNING.value and not r.cancel_requested}
    return {claimed.key for claimed in claims} - wanted


_ACTIVE = (RunState.QUEUED.value, RunState.RUNNING.value)


def active_jobs(store: Store) -> set[str]:
    """Ids of the jobs that wait or run."""
    with store.reading() as connection:
        return set(connection.execute(sa.select(job.c.id).where(job.c.state.in_(_ACTIVE))).scalars())


def resumable_jobs(store: Store) -> set[str]:
    """Ids of the jobs whose checkpoints may be needed: they wait, run, or failed and can be tried again."""
    failed = sa.select(run.c.job_id).where(run.c.state == RunState.FAILED.value).distinct()
    with store.reading() as connection:
        return active_jobs(store) | set(connection.execute(failed).scalars())


def worker_name(host: str, pid: int) -> str:
    """A name no other worker has: host, process and a random part."""
    return f"{host}-{pid}-{secrets.token_hex(2)}"
