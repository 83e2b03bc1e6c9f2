"""What a sweep will cost: how many of its runs are new, and how long they take, from what was trained here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from werank_core.config import ExperimentConfig
from werank_core.costs import distance, step_growth
from werank_core.experiments import Experiment, experiment
from werank_core.store.runs import runs_to_train
from werank_core.store.schema import Store, job
from werank_core.store.status import shape_seconds, step_seconds
from werank_core.sweeps import Run, SweepSpec, shape_key
from werank_core.vocabulary import RunState

_NEWEST_JOBS = 200


@dataclass(frozen=True)
class Price:
    """Runs of a sweep, those of them that are still to be trained, and the seconds these take; None: unknown."""

    num_runs: int
    new_runs: int
    seconds: float | None


def price(store: Store, spec: SweepSpec, slots: int = 1) -> Price:
    """What submitting this sweep now would train, and how long that takes on so many slots.

    A shape that was never trained is priced from the nearest one of its experiment, scaled by what costs (`costs`).
    """
    unique = {run.id: run for run in spec.runs()}
    new = runs_to_train(store, unique.values())
    return Price(len(unique), len(new), _seconds(store, spec, new, slots))


def predicted_seconds(store: Store, spec: SweepSpec, slots: int = 1) -> float | None:
    """Seconds until what is new of this sweep has been trained; None where nothing like it was trained here."""
    return price(store, spec, slots).seconds


def _seconds(store: Store, spec: SweepSpec, runs: Iterable[Run], slots: int) -> float | None:
    of, axis = experiment(spec.experiment), spec.second_axis
    groups: dict[object, list[ExperimentConfig]] = {}
    for run in runs:  # within a second value, strengths and seeds do not change what a step costs
        groups.setdefault(getattr(run.config, axis) if axis else None, []).append(run.config)
    total = 0.0
    for configs in groups.values():
        each = step_seconds(store, shape_key(of, configs[0]))
        each = nearest_step_seconds(store, of, configs[0]) if each is None else each
        if each is None:
            return None
        total += each * sum(config.num_steps for config in configs)
    return total / max(1, slots)


def nearest_step_seconds(store: Store, of: Experiment, config: ExperimentConfig) -> float | None:
    """Seconds per run and step of the shape most like this one that was trained here, scaled to this one's sizes."""
    statement = (
        sa.select(job.c.shape, job.c.configs)
        .where(job.c.experiment == of.name, job.c.state == RunState.FINISHED.value, job.c.seconds > 0)
        .order_by(job.c.finished_at.desc())
        .limit(_NEWEST_JOBS)
    )
    with store.reading() as connection:
        shapes = {row.shape: row.configs[0] for row in connection.execute(statement) if row.configs}
    known = {shape: other for shape, values in shapes.items() if (other := _readable(of, values)) is not None}
    for shape, other in sorted(known.items(), key=lambda pair: distance(pair[1], config)):
        seconds, growth = shape_seconds(store, shape), step_growth(other, config)
        if seconds is not None and growth is not None:
            return seconds * growth
    return None


def _readable(of: Experiment, values: Any) -> ExperimentConfig | None:
    """The config of a job, None where a version with other settings wrote it."""
    try:
        return of.config_class.model_validate(values)
    except ValueError:
        return None
