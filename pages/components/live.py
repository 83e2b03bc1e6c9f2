"""The strip that shows a sweep at work, polled once a second while it is, and quiet when it is not."""

import math
from collections import Counter

import pandas as pd
import streamlit as st

from pages.components import actions, cached
from pages.components.layout import explained_errors
from pages.components.plain import counted
from werank_core.settings import settings
from werank_core.store import queries
from werank_core.store.queries import Progress
from werank_core.vocabulary import RunState

POLL_SECONDS = 1.0
NO_WORKER = "no worker (one starts when there is work)"


def show_live_strip(sweep_id: str | None, prefix: str) -> None:
    """Progress, time left and cancel of an active sweep, else how it ended; reserved height, so nothing jumps."""
    if sweep_id is None:
        return
    progress = queries.progress(cached.store(), sweep_id)
    with st.container(key=f"{prefix}_live_strip"):
        if progress.active:
            st.fragment(_draw_explained, run_every=POLL_SECONDS)(sweep_id, prefix)
        else:
            states = ", ".join(f"{count} {state}" for state, count in progress.runs.items() if count)
            st.caption(f"{states}. Nothing is running here.")


def _draw_explained(sweep_id: str, prefix: str) -> None:
    with explained_errors():
        _draw(sweep_id, prefix)


def _draw(sweep_id: str, prefix: str) -> None:
    progress = queries.progress(cached.store(), sweep_id)
    if not progress.active or _news(progress, prefix, sweep_id):
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.progress(progress.share, text=f"**{_state_word(progress)}** · {_progress_text(progress)}")
        if st.button("Cancel", key=f"{prefix}_cancel", disabled=settings().demo):
            actions.cancel_sweep(sweep_id)
            st.rerun()


def _news(progress: Progress, prefix: str, sweep_id: str) -> bool:
    """Whether whole jobs ended since the answer below was drawn, or the first step was recorded: then it is drawn
    again, a few times a sweep."""
    key, seen = f"{prefix}_seen_jobs", (sweep_id, progress.jobs_done, progress.steps_done > 0)
    before = st.session_state.get(key)
    st.session_state[key] = seen
    return before is not None and before[0] == sweep_id and before != seen


def _state_word(progress: Progress) -> str:
    if progress.runs[RunState.RUNNING]:
        return "running"
    if queries.machine(cached.store()).supervisor_alive:
        return "queued"
    if settings().demo:
        return "queued, no worker"
    actions.look_after_queue()
    return "starting a worker"


def _progress_text(progress: Progress) -> str:
    parts = [f"{progress.jobs_done} of {counted(progress.jobs_total, 'job')}"]
    if progress.num_steps:
        parts.append(f"step {progress.step:,}/{progress.num_steps:,}")
    if progress.eta_seconds is not None:
        parts.append(f"{duration(progress.eta_seconds)} left")
    if progress.devices:
        counts = Counter(progress.devices)
        parts.append(", ".join(f"{device} ×{count}" if count > 1 else device for device, count in counts.items()))
    return " · ".join(parts)


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None or math.isnan(seconds):
        return "unknown"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def ago(moment: object) -> str:
    """How long ago a moment in time was."""
    if moment is None or pd.isna(moment):  # type: ignore[call-overload]
        return ""
    return f"{duration((pd.Timestamp.now(tz='UTC') - pd.Timestamp(moment)).total_seconds())} ago"  # type: ignore[arg-type]
