"""Runs: what has been trained here, what is training, and what went wrong?"""

import streamlit as st

from pages.components import cached
from pages.components.layout import explained_errors, show_heading
from pages.components.live import NO_WORKER, duration
from pages.components.run_table import show_runs
from werank_core.experiments import EXPERIMENTS
from werank_core.store import queries
from werank_core.vocabulary import RunState

HOW_TO_READ = """
One row is one run: one grid point of a sweep with one seed. **diverged** means the loss stopped being a number: a
result, kept and counted, never averaged. **failed** means the code or the machine stopped it: select the row for the
reason and the traceback. Selected runs can be cancelled, retried or deleted.
"""

with explained_errors():
    show_heading("What has been trained here?", "Every run with its state, what it is, and what came out.", HOW_TO_READ)
    machine = queries.machine(cached.store())
    worker = "worker running" if machine.supervisor_alive else NO_WORKER
    st.caption(f"{machine.running_jobs} jobs running · {machine.queued_jobs} queued · {worker}")

    frame = cached.runs()
    state_box, experiment_box, sweep_box, search_box = st.columns(4)
    states = state_box.multiselect("State", [state.value for state in RunState], key="runs_state", bind="query-params")
    names = experiment_box.multiselect(
        "Experiment",
        list(EXPERIMENTS),
        format_func=lambda n: EXPERIMENTS[n].title,
        key="runs_experiment",
        bind="query-params",
    )
    sweeps = sweep_box.multiselect("Sweep", list(frame["sweep_name"].unique()), key="runs_sweep", bind="query-params")
    text = search_box.text_input(
        "Differs in", key="runs_search", bind="query-params", placeholder="for example depth 2"
    )
    for column, allowed in (("state", states), ("experiment", names), ("sweep_name", sweeps)):
        frame = frame[frame[column].isin(allowed)] if allowed else frame
    if text:
        frame = frame[frame["differs"].str.contains(text, case=False, regex=False)]
    total = frame["seconds"].sum()
    st.caption(f"{len(frame):,} runs, {duration(total)} of training in all." if len(frame) else "")
    show_runs(frame.reset_index(drop=True), "runs")
