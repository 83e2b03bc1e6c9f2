"""Everything that is read from a store; `revision` tells when to read again."""

from werank_core.store.frames import ARRAYS, TIDY, arrays, final_metrics, history
from werank_core.store.listings import (
    RunDetails,
    count_sweeps,
    experiment_of,
    find_sweeps,
    known_ids,
    run_details,
    runs,
    sweep_name,
    sweep_spec,
    sweeps,
)
from werank_core.store.prices import Price, predicted_seconds, price
from werank_core.store.status import (
    MachineStatus,
    Progress,
    machine_status,
    progress,
    revision,
    revision_and_silent,
    step_seconds,
    sweep_revision,
)

machine = machine_status

__all__ = [
    "ARRAYS",
    "TIDY",
    "MachineStatus",
    "Price",
    "Progress",
    "RunDetails",
    "arrays",
    "count_sweeps",
    "experiment_of",
    "final_metrics",
    "find_sweeps",
    "history",
    "known_ids",
    "machine",
    "predicted_seconds",
    "price",
    "progress",
    "revision",
    "revision_and_silent",
    "run_details",
    "runs",
    "step_seconds",
    "sweep_name",
    "sweep_revision",
    "sweep_spec",
    "sweeps",
]
