"""Runs: what has been trained here, what is training, and what went wrong?"""

import streamlit as st

from pages.components import cached
from pages.components.layout import explained_errors, show_heading
from pages.components.live import NO_WORKER
from pages.components.plain import counted
from pages.components.run_filters import chosen_runs
from pages.components.run_table import NO_RUNS, show_runs, training_sentence
from werank_core.store import queries

HOW_TO_READ = """
One row is one run: one grid point of a sweep with one seed. **diverged** means the loss stopped being a number: a
result, kept and counted, never averaged. **failed** means the code or the machine stopped it: select the row for the
reason and the traceback. Selected runs can be cancelled, retried or deleted.
"""

with explained_errors():
    show_heading("What has been trained here?", "Every run with its state, what it is, and what came out.", HOW_TO_READ)
    machine = queries.machine(cached.store())
    worker = "worker ready" if machine.supervisor_alive else NO_WORKER
    st.caption(f"{counted(machine.running_jobs, 'job')} running · {machine.queued_jobs} queued · {worker}")
    runs = cached.runs()
    frame = chosen_runs(runs)
    st.caption(training_sentence(frame) if len(frame) else "")
    show_runs(frame.reset_index(drop=True), "runs", "No runs match these filters." if len(runs) else NO_RUNS)
