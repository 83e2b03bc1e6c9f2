"""From a sweep to runs to batches: config x strengths x second axis x seeds, grouped by what can train as one model."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from werank_core.config import ExperimentConfig, choices
from werank_core.config.problems import Misfit, Misplaced, clipped
from werank_core.experiments import EXPERIMENTS, Experiment, code_version, experiment
from werank_core.names import one_line
from werank_core.vocabulary.spelling import meant

SecondValue = Annotated[float | str, Field(union_mode="left_to_right")]
"""A number, or one of the values of a choice such as `gram`."""

MAX_RUNS = 5_000
MAX_NAME = 120
WORTH_STACKING = 4


@dataclass(frozen=True)
class Run:
    """One grid point with one seed; `id` is a hash of what decides its numbers."""

    experiment: str
    config: ExperimentConfig

    @cached_property
    def id(self) -> str:
        """Identity from experiment, effective config (seeds included) and code version."""
        return self.config.digest(self.experiment, code_version())

    @property
    def seed(self) -> int:
        """The seed that pairs this run with the others of its sweep."""
        return self.config.model_seed


@dataclass(frozen=True)
class RunBatch:
    """Runs of equal static shape, trained together as one stacked model; leading axis R = their order here."""

    experiment: str
    runs: tuple[Run, ...]

    @property
    def config(self) -> Any:
        """The first run's config: valid for every field that a batch shares."""
        return self.runs[0].config

    @property
    def configs(self) -> tuple[Any, ...]:
        """All configs, in the order of the run axis."""
        return tuple(run.config for run in self.runs)

    def column(self, field: str) -> list[Any]:
        """The values of one field along the run axis."""
        return [getattr(config, field) for config in self.configs]

    def __len__(self) -> int:
        return len(self.runs)


class SweepSpec(BaseModel):
    """What a person asks for: one config, strengths, an optional second axis, a number of seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str
    config: SerializeAsAny[ExperimentConfig]
    strengths: tuple[float, ...] = Field(min_length=1, description="Strengths; 0 is always added.")
    second_axis: str | None = Field(None, description="A number or a choice that forms the second axis.")
    second_values: tuple[SecondValue, ...] = Field((), description="Its values.")
    seeds: int = Field(5, ge=1, le=200, description="Number of seeds.")
    first_seed: int = Field(0, ge=0, le=10**6, description="First seed.")
    vary_data: bool = Field(True, description="Each seed also draws or splits its data anew.")
    name: str = Field("", max_length=MAX_NAME, description="Name in lists; empty: made from what differs.")

    @field_validator("experiment")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment; known are {', '.join(EXPERIMENTS)}")
        return name

    @field_validator("config", mode="before")
    @classmethod
    def _typed(cls, value: Any, info: ValidationInfo) -> Any:
        if "experiment" not in info.data:
            raise ValueError("needs a known experiment first")
        wanted = experiment(info.data["experiment"]).config_class
        return value if isinstance(value, wanted) else wanted.model_validate(value)

    @field_validator("strengths")
    @classmethod
    def _with_baseline(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if any(not math.isfinite(s) or s < 0 for s in strengths):
            raise ValueError("every strength must be finite and not negative")
        return tuple(sorted({0.0, *strengths}))

    @field_validator("second_values")
    @classmethod
    def _finite(cls, values: tuple[float | str, ...], info: ValidationInfo) -> tuple[float | str, ...]:
        if not all(math.isfinite(value) for value in values if isinstance(value, float)):
            raise ValueError("every value must be finite")
        fields = type(info.data["config"]).model_fields if "config" in info.data else {}
        if (axis := info.data.get("second_axis")) in fields:
            values = tuple(meant(v, choices(fields[axis])) if isinstance(v, str) else v for v in values)
        if len(set(values)) != len(values):
            raise ValueError("a value is there twice")
        return values

    @field_validator("name", mode="before")
    @classmethod
    def _one_line(cls, name: Any) -> Any:
        return one_line(name) if isinstance(name, str) else name

    @model_validator(mode="after")
    def _grid_is_sound(self) -> Self:
        if (self.second_axis is None) != (not self.second_values):
            raise Misfit("{second_axis} and {second_values} belong together: give both or neither.", self)
        allowed = type(self.config).second_axes()
        if self.second_axis is not None and self.second_axis not in allowed:
            raise Misfit(f"{{second_axis=}} is not one of {', '.join(allowed)}.", self)
        if self.num_runs > MAX_RUNS:
            raise Misfit(f"the sweep has {self.num_runs:,} runs; at most {MAX_RUNS:,} are allowed: "
                         "take fewer {strengths}, {second_values} or {seeds}.", self)  # fmt: skip
        list(self._grid_configs())
        return self

    @property
    def num_runs(self) -> int:
        """Runs the grid has, before what is already trained is left out."""
        return len(self.strengths) * max(1, len(self.second_values)) * self.seeds

    def _grid_configs(self) -> Iterator[ExperimentConfig]:
        for second in self.second_values or (None,):
            base = {} if second is None or self.second_axis is None else {self.second_axis: self._cast(second)}
            for strength in self.strengths:
                try:
                    yield self.config.replaced(strength=strength, **base)
                except ValidationError as error:
                    raise self._misplaced(error) from error

    def _misplaced(self, error: ValidationError) -> Misplaced:
        """The same problem at the list that the value comes from."""
        about = {str(part) for problem in error.errors() for part in problem["loc"]}
        place = "strengths" if self.second_axis is None or "strength" in about else "second_values"
        return Misplaced(place, error, type(self.config).model_fields)

    def _cast(self, value: float | str) -> float | int | str:
        """The value in the type that its field has; a choice is checked by the config."""
        assert self.second_axis is not None
        field = type(self.config).model_fields[self.second_axis]
        if choices(field):
            return f"{value:g}" if isinstance(value, float) else value
        if isinstance(value, str):
            raise Misfit(f"{{second_values}}: {clipped(value)} is not a number.", self)
        whole = field.annotation is int
        if whole and value != int(value):
            raise Misfit(f"{{second_values}}: {value:g} is not a whole number.", self)
        return int(value) if whole else value

    def runs(self) -> tuple[Run, ...]:
        """Every run of the grid, seed by seed, so that whole comparisons finish first."""
        grid = list(self._grid_configs())
        return tuple(
            Run(self.experiment, config.model_copy(update=self._seeds(seed)))
            for seed in range(self.first_seed, self.first_seed + self.seeds)
            for config in grid
        )

    def same_runs(self, other: Self) -> bool:
        """Whether both ask for the same runs, whatever they are called and whichever code trains them."""
        plain = ("experiment", "strengths", "second_axis", "second_values", "seeds", "first_seed", "vary_data")
        if any(getattr(self, name) != getattr(other, name) for name in plain):
            return False
        left_out = {"model_seed", *(["data_seed"] if self.vary_data else [])}
        return all(
            {n: v for n, v in mine.effective().items() if n not in left_out}
            == {n: v for n, v in theirs.effective().items() if n not in left_out}
            for mine, theirs in zip(self._grid_configs(), other._grid_configs(), strict=True)
        )

    def _seeds(self, seed: int) -> dict[str, int]:
        return {"model_seed": seed, "data_seed": seed if self.vary_data else self.config.data_seed}


def batches(runs: Iterable[Run], max_batch: int | None = None, *, slots: int = 1) -> list[RunBatch]:
    """Runs grouped by equal static shape, in order, at most `max_batch` (default: the experiment's) together.

    A group is cut into pieces of nearly equal size, their number a multiple of `slots` while each keeps
    `WORTH_STACKING` runs: jobs side by side end together.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[_static_key(run)].append(run)
    return [batch for group in groups.values() for batch in _cut(group, max_batch, slots)]


def _cut(group: list[Run], max_batch: int | None, slots: int) -> Iterator[RunBatch]:
    name = group[0].experiment
    fewest = math.ceil(len(group) / (max_batch or experiment(name).max_batch))
    even = math.ceil(fewest / slots) * slots
    pieces = max(fewest, min(even, len(group) // WORTH_STACKING))
    size, larger = divmod(len(group), pieces)
    start = 0
    for piece in range(pieces):
        stop = start + size + (piece < larger)
        yield RunBatch(name, tuple(group[start:stop]))
        start = stop


def _static_key(run: Run) -> str:
    stackable = experiment(run.experiment).stackable
    static = {name: value for name, value in run.config.effective().items() if name not in stackable}
    return json.dumps([run.experiment, static], sort_keys=True)


def shape_key(spec_experiment: Experiment, config: ExperimentConfig) -> str:
    """What decides the cost of one run-step: experiment and static fields without the number of steps."""
    dropped = spec_experiment.stackable | {config.steps_field, "records"}
    static = {name: value for name, value in config.effective().items() if name not in dropped}
    return json.dumps([spec_experiment.name, static], sort_keys=True)
