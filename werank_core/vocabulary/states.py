"""Where a run can be."""

from enum import StrEnum


class RunState(StrEnum):
    """Where a run is; only `FINISHED` runs enter a mean without a remark."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    DIVERGED = "diverged"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """True while a worker holds the run or will."""
        return self in (RunState.QUEUED, RunState.RUNNING)
