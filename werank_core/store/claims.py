"""A job in a worker's hands, and what of the store is that worker's: every statement of a worker asks here.

The attempt number is the fencing token: every write of a worker names it, so one that lost its job changes nothing.
A run belongs to the job that was made for it last: trying it again takes it away from the batch that still trains.
"""

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from werank_core.experiments import code_version, experiment
from werank_core.store.schema import job, run
from werank_core.sweeps import Run, RunBatch
from werank_core.vocabulary import RunState

CLOCKS_DIFFER_SECONDS = 120.0
"""A heartbeat further ahead is none: the clock was wrong when it was written, or has been set back since."""


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
    def key(self) -> tuple[str, int]:
        """What tells this claim from every other one."""
        return self.job_id, self.attempt

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
    """What a worker tells while it works; `steps` of the batch took this attempt `seconds`, set-up left out."""

    step: int = 0
    device: str = ""
    log: str = ""
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class HeartbeatReply:
    """What it hears: whether the job is still its own, and whether somebody wants it to stop."""

    still_mine: bool
    cancel_requested: bool


def mine(claimed: Claim) -> ColumnElement[bool]:
    """True for the job's row as long as the claim holds."""
    return sa.and_(job.c.id == claimed.job_id, job.c.attempt == claimed.attempt, job.c.state == RunState.RUNNING.value)


def owned(job_id: str, state: RunState) -> sa.Update:
    """An update of those of the job's runs that are its own and in this state."""
    return sa.update(run).where(run.c.job_id == job_id, run.c.state == state.value)


def lease_lives(table: sa.FromClause = job) -> ColumnElement[bool]:
    """True for a running job whose worker was heard of lately: neither long ago nor, by a clock set back, in future."""
    now = time.time()
    heard = sa.and_(table.c.lease_until >= now, table.c.heartbeat_at <= now + CLOCKS_DIFFER_SECONDS)
    return sa.and_(table.c.state == RunState.RUNNING.value, heard)


def fell_silent(row: Any) -> bool:
    """Whether a running job's row says that its worker had not been heard of lately."""
    now = time.time()
    return bool(row.lease_until < now or row.heartbeat_at > now + CLOCKS_DIFFER_SECONDS)


def shown_state() -> ColumnElement[str]:
    """A run's state as it is told to people: running with a live lease only, else it waits to be taken up again."""
    holder = job.alias()
    held = sa.select(holder.c.id).where(holder.c.id == run.c.job_id, lease_lives(holder)).exists()
    silent = sa.and_(run.c.state == RunState.RUNNING.value, ~held)
    return sa.case((silent, RunState.QUEUED.value), else_=run.c.state).label("state")


def storable(text: str) -> str:
    """The same without what a database refuses: lone surrogates, and NUL for PostgreSQL."""
    return text.encode(errors="replace").decode().replace("\0", "�")
