"""Sweeps and runs as lists a person reads, and everything known about one run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import sqlalchemy as sa

from werank_core.experiments import EXPERIMENTS, code_version
from werank_core.store.claims import shown_state
from werank_core.store.errors import StoreError
from werank_core.store.frames import final_metrics, runs_with_sweep, second_column
from werank_core.store.schema import Store, job, run, sweep, sweep_run
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

STATES = tuple(state.value for state in RunState)
_SWEEP = ("sweep_id", "name", "experiment", "created_at", "num_runs", *STATES, "code_version", "stale")
_RUN = (
    "run_id", "sweep_id", "sweep_name", "experiment", "dataset", "state", "strength", "second_axis", "second_value",
    "seed", "step", "num_steps", "device", "started_at", "finished_at", "seconds", "error", "differs", "stale",
)  # fmt: skip


@dataclass(frozen=True)
class RunDetails:
    """Everything about one run but its numbers; times are seconds since 1970, UTC."""

    run_id: str
    experiment: str
    config: dict[str, Any]
    state: RunState
    step: int
    num_steps: int
    created_at: float
    started_at: float | None
    finished_at: float | None
    device: str
    code_version: str
    stale: bool
    error: str
    traceback: str
    log: str
    attempts: int
    sweeps: tuple[tuple[str, str], ...]
    """(sweep_id, name) of every sweep it is part of."""


def sweeps(
    store: Store,
    experiment: str | None = None,
    limit: int | None = None,
    *,
    sweep_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Sweeps, newest first, with how many of their runs are in which state.

    Args:
        store: an open store.
        experiment: only sweeps of this experiment.
        limit: only so many of the newest; None: all.
        sweep_ids: only these.
    """
    chosen = _chosen_sweeps(experiment)
    if sweep_ids is not None:
        chosen = chosen.where(sweep.c.id.in_(sweep_ids))
    # Cut first and count then: the runs of sweeps that are not listed are not looked at.
    listed = chosen.order_by(sweep.c.created_at.desc(), sweep.c.id).limit(limit).subquery()
    state = shown_state()
    counts = [sa.func.count().filter(state == name).label(name) for name in STATES]
    statement = (
        sa.select(
            listed.c.id.label("sweep_id"), listed.c.name, listed.c.experiment, listed.c.created_at,
            sa.func.count(run.c.id).label("num_runs"), *counts, listed.c.code_version,
        )
        .outerjoin(sweep_run, sweep_run.c.sweep_id == listed.c.id)
        .outerjoin(run, run.c.id == sweep_run.c.run_id)
        .group_by(*listed.c)
        .order_by(listed.c.created_at.desc(), listed.c.id)
    )  # fmt: skip
    with store.reading() as connection:
        rows = connection.execute(statement).all()
    frame = pd.DataFrame.from_records([tuple(row) for row in rows], columns=list(_SWEEP[:-1]))
    frame["stale"] = frame["code_version"] != code_version()
    return _timed(frame, "created_at").astype(dict.fromkeys(("num_runs", *STATES), "int64"))


def known_ids(store: Store, ids: Sequence[str]) -> tuple[set[str], set[str]]:
    """Those of the ids that are sweeps', and those that are runs'."""
    with store.reading() as connection:
        found = [
            set(connection.execute(sa.select(table.c.id).where(table.c.id.in_(ids))).scalars())
            for table in (sweep, run)
        ]
    return found[0], found[1]


def sweep_name(store: Store, sweep_id: str) -> str | None:
    """What the sweep is called; None when there is none of that id."""
    with store.reading() as connection:
        return connection.execute(sa.select(sweep.c.name).where(sweep.c.id == sweep_id)).scalar()


def _chosen_sweeps(experiment: str | None) -> sa.Select[Any]:
    statement = sa.select(sweep.c.id, sweep.c.name, sweep.c.experiment, sweep.c.created_at, sweep.c.code_version)
    return statement if experiment is None else statement.where(sweep.c.experiment == experiment)


def count_sweeps(store: Store, experiment: str | None = None) -> int:
    """How many sweeps there are."""
    statement = sa.select(sa.func.count()).select_from(_chosen_sweeps(experiment).subquery())
    with store.reading() as connection:
        return int(connection.execute(statement).scalar_one())


def find_sweeps(store: Store, text: str, experiment: str | None = None) -> list[str]:
    """Ids of the sweeps whose name has this text in it, whatever its case, or whose id it is; newest first."""
    wanted = text.strip().casefold()
    named = _chosen_sweeps(experiment).order_by(sweep.c.created_at.desc(), sweep.c.id)
    with store.reading() as connection:
        # Compared here: SQLite knows upper and lower case in English only.
        return [row.id for row in connection.execute(named) if wanted in row.name.casefold() or wanted == row.id]


def experiment_of(store: Store, sweep_id: str) -> str | None:
    """The experiment of this sweep, None where there is no such sweep."""
    with store.reading() as connection:
        return connection.execute(sa.select(sweep.c.experiment).where(sweep.c.id == sweep_id)).scalar()


def sweep_spec(store: Store, sweep_id: str) -> SweepSpec:
    """What was asked for.

    Raises:
        StoreError: one sentence, when there is no such sweep or this version cannot read it.
    """
    with store.reading() as connection:
        spec = connection.execute(sa.select(sweep.c.spec).where(sweep.c.id == sweep_id)).scalar()
    if spec is None:
        raise StoreError(f"There is no sweep {sweep_id!r} in this store.")
    try:
        return SweepSpec.model_validate(spec)
    except ValueError as error:
        raise StoreError(f"Sweep {sweep_id} was written by a version with other settings; run it again.") from error


def runs(
    store: Store,
    sweep_ids: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
    experiment: str | None = None,
    limit: int | None = None,
    *,
    run_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row a run, newest sweep first, with the headline metrics of its experiment as columns.

    A run of several sweeps is listed once, in the newest (of those asked for).
    """
    extra = (run.c.step, run.c.num_steps, run.c.device, run.c.started_at, run.c.finished_at, run.c.error, run.c.differs)
    statement = runs_with_sweep(sweep_ids, run_ids, *extra, run.c.code_version, sweep.c.name.label("sweep_name"))
    statement = statement.order_by(None).order_by(sweep.c.created_at.desc(), run.c.created_at.desc(), run.c.id)
    if states is not None:
        statement = statement.where(shown_state().in_([str(state) for state in states]))
    if experiment is not None:
        statement = statement.where(run.c.experiment == experiment)
    with store.reading() as connection:
        result = connection.execute(statement.limit(limit))
        frame = pd.DataFrame.from_records([tuple(row) for row in result], columns=list(result.keys()))
    frame = frame.drop_duplicates("run_id", ignore_index=True)
    chosen = frame["second_choice"]
    frame["second_value"] = second_column(chosen.where(chosen.notna(), frame["second_value"]))
    frame["stale"] = frame["code_version"] != code_version()
    frame["seconds"] = frame["finished_at"].astype(float) - frame["started_at"].astype(float)
    frame = _timed(frame, "started_at", "finished_at")[list(_RUN)].fillna({"sweep_id": "", "device": ""})
    return _with_headline(store, frame.astype({"strength": float}))


def _with_headline(store: Store, frame: pd.DataFrame) -> pd.DataFrame:
    """The listed runs with one column for each headline key of their experiments that a run has recorded."""
    present = [EXPERIMENTS[name] for name in frame["experiment"].unique() if name in EXPERIMENTS]
    keys = list(dict.fromkeys(key for item in present for key in item.headline))
    if not keys:
        return frame
    values = final_metrics(store, run_ids=list(frame["run_id"]), metrics=keys)
    whole = values[values["layer"] == 0]
    whole = whole.assign(key=(whole["split"] + "/" + whole["metric"]).str.removeprefix("/"))
    wide = whole.pivot_table(index="run_id", columns="key", values="value", aggfunc="first")
    return frame.join(wide.reindex(columns=[key for key in keys if key in wide]).astype(float), on="run_id")


def run_details(store: Store, run_id: str) -> RunDetails:
    """Everything about one run but its numbers.

    Raises:
        StoreError: one sentence, when there is no such run.
    """
    columns = (run, shown_state().label("shown"), job.c.attempt, job.c.log)
    joined = sa.select(*columns).outerjoin(job, job.c.id == run.c.job_id)
    named = sa.select(sweep.c.id, sweep.c.name).join(sweep_run, sweep_run.c.sweep_id == sweep.c.id).distinct()
    with store.reading() as connection:
        row = connection.execute(joined.where(run.c.id == run_id)).first()
        of = connection.execute(named.where(sweep_run.c.run_id == run_id)).all()
    if row is None:
        raise StoreError(f"There is no run {run_id!r} in this store.")
    return RunDetails(
        run_id=row.id, experiment=row.experiment, config=row.config, state=RunState(row.shown), step=row.step,
        num_steps=row.num_steps, created_at=row.created_at, started_at=row.started_at, finished_at=row.finished_at,
        device=row.device or "", code_version=row.code_version, stale=row.code_version != code_version(),
        error=row.error, traceback=row.traceback, log=row.log or "", attempts=row.attempt or 0,
        sweeps=tuple((sweep_id, name) for sweep_id, name in of),
    )  # fmt: skip


def _timed(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The same with these columns as timestamps in UTC."""
    times = {name: pd.to_datetime(frame[name].astype(float), unit="s", utc=True) for name in columns}
    return frame.assign(**times)
