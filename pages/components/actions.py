"""What a click does to the store: submit, cancel, retry, delete. Refused with one sentence in a read-only demo."""

import math
import socket
import time
from collections.abc import Sequence

import streamlit as st

from pages.components import cached
from pages.components.plain import counted
from werank_core.datasets.identity import identified_sweep
from werank_core.experiments import Experiment
from werank_core.jobs.supervisor import ensure_supervisor
from werank_core.settings import settings
from werank_core.store import StoreError, names, queue, runs
from werank_core.sweeps import SweepSpec

WAKE_SECONDS = 15.0
"""So long a supervisor that was started may take until it is seen."""

_STARTED = "supervisor_started_at"

DEMO = "This is a read-only demo: explore what is here, or install WERank Lab to run your own."


def submit(spec: SweepSpec) -> str:
    """Queue what of the sweep is not trained yet and make sure a worker runs; returns the sweep's id."""
    spec = identified_sweep(spec, settings().data_folder)
    submission = runs.submit(cached.store(), spec, slots=settings().slots)
    if submission.num_jobs:
        wake_worker()
    if spec.name and not submission.num_jobs:
        rename_sweep(submission.sweep_id, spec.name)
    reused = f" {submission.reused_runs:,} were there already." if submission.reused_runs else ""
    st.toast(f"{counted(submission.new_runs, 'run')} queued.{reused}")
    return submission.sweep_id


def submit_example(experiment: Experiment) -> str:
    """Queue the experiment's first preset as it is; returns the sweep's id."""
    preset = next(iter(experiment.presets.values()))
    fields = experiment.sweep_fields(preset) | {"name": f"Example: {preset.title}"}
    return submit(SweepSpec.model_validate({"experiment": experiment.name, "config": preset.config, **fields}))


def rename_sweep(sweep_id: str, name: str) -> None:
    """Call the sweep something else; without a name, what is made from its settings."""
    names.rename_sweep(cached.store(), sweep_id, name)


def wake_worker() -> None:
    """Make sure that somebody works on what waits in the queue."""
    if ensure_supervisor(settings()):
        st.session_state[_STARTED] = time.monotonic()


def look_after_queue() -> None:
    """Whoever looks at a page of a store with work left makes sure that a supervisor runs: after a power cut, say."""
    if settings().demo or time.monotonic() - st.session_state.get(_STARTED, -math.inf) < WAKE_SECONDS:
        return
    if queue.has_work(cached.store(), socket.gethostname()):
        try:
            wake_worker()
        except StoreError as error:  # what is there can be read all the same
            st.warning(str(error))


def cancel_sweep(sweep_id: str) -> None:
    """Ask for the end of every active run of a sweep; what finished stays."""
    runs.request_cancel(cached.store(), sweep_id=sweep_id)


def cancel_runs(run_ids: Sequence[str]) -> None:
    """Ask for the end of the jobs that hold these runs."""
    runs.request_cancel(cached.store(), run_ids=run_ids)


def retry_runs(run_ids: Sequence[str]) -> int:
    """Queue failed, cancelled or diverged runs again; returns how many."""
    count = runs.retry(cached.store(), run_ids)
    if count:
        wake_worker()
    return count


def delete_runs(run_ids: Sequence[str]) -> int:
    """Remove runs and everything recorded of them; returns how many."""
    return runs.delete_runs(cached.store(), run_ids)
