"""Everything that is read from a store; `revision` tells when to read again."""

from werank_core.store.frames import ARRAYS, TIDY, arrays, final_metrics, history
from werank_core.store.listings import RunDetails, run_details, runs, sweep_spec, sweeps
from werank_core.store.status import (
    MachineStatus,
    Progress,
    machine_status,
    predicted_seconds,
    progress,
    revision,
    step_seconds,
    sweep_revision,
)

machine = machine_status

__all__ = [
    "ARRAYS",
    "TIDY",
    "MachineStatus",
    "Progress",
    "RunDetails",
    "arrays",
    "final_metrics",
    "history",
    "machine",
    "predicted_seconds",
    "progress",
    "revision",
    "run_details",
    "runs",
    "step_seconds",
    "sweep_revision",
    "sweep_spec",
    "sweeps",
]
