"""Failed batches that are tried again as a whole: they go on from their checkpoints.

A checkpoint is one of a batch, in its order of runs. So the same job goes back into the queue, and what its runs had
recorded before the checkpoint is kept. A run that was cancelled or taken out of the batch earlier lacks records from
before the checkpoint: it never goes on from there.
"""

import time
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from werank_core.experiments import code_version
from werank_core.store.layouts import expand
from werank_core.store.records import chunks
from werank_core.store.schema import job, run
from werank_core.vocabulary import RunState


def resume_failed_jobs(connection: Connection, run_ids: Collection[str]) -> dict[str, str]:
    """Queue those failed jobs again all of whose failed runs are among these.

    Returns:
        The runs that are queued now, each with its job.
    """
    wanted, failed = set(run_ids), run.c.state == RunState.FAILED.value
    of_these = sa.select(run.c.job_id).where(failed, run.c.job_id.is_not(None)).distinct()
    jobs = {
        job_id for part in chunks(wanted) for job_id in connection.execute(of_these.where(run.c.id.in_(part))).scalars()
    }
    of_jobs = sa.select(run.c.id, run.c.job_id).join(job, run.c.job_id == job.c.id)
    of_jobs = of_jobs.where(failed, job.c.state == RunState.FAILED.value, run.c.code_version == code_version())
    batches: dict[str, list[str]] = {}
    for part in chunks(jobs):
        for run_id, job_id in connection.execute(of_jobs.where(run.c.job_id.in_(part))):
            batches.setdefault(job_id, []).append(run_id)
    whole = {job_id: members for job_id, members in batches.items() if wanted.issuperset(members)}
    for job_id, members in whole.items():
        _queue_again(connection, job_id, members)
    return {run_id: job_id for job_id, members in whole.items() for run_id in members}


def _queue_again(connection: Connection, job_id: str, run_ids: Sequence[str]) -> None:
    expand(connection, run_ids)
    waiting = {"state": RunState.QUEUED.value, "finished_at": None}
    connection.execute(sa.update(run).where(run.c.id.in_(run_ids)).values(**waiting, error="", traceback=""))
    again = {**waiting, "created_at": time.time(), "worker": None, "cancel_requested": False, "lost": 0, "silent": 0}
    connection.execute(sa.update(job).where(job.c.id == job_id).values(**again))
