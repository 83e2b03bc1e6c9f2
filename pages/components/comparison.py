"""Two to six sweeps or strengths side by side: what they are, what differs in configuration, and by how much."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any
from urllib.parse import urlencode

import pandas as pd

from pages.components import cached
from pages.components.cached import Key
from pages.components.form_values import shown
from pages.components.plain import counted
from werank_core.config import title_of
from werank_core.experiments import EXPERIMENTS, Experiment
from werank_core.figures.ceilings import SIZES
from werank_core.figures.comparisons import compare_by_seed, values_by_seed
from werank_core.figures.formats import format_difference, format_second, format_strength, format_value, no_second
from werank_core.figures.summaries import distinct, distinct_seconds, select_metrics
from werank_core.store import StoreError, queries
from werank_core.vocabulary import MetricKey
from werank_core.vocabulary.spelling import spelled

AT = "@"
_SWEPT = ("strength", "model_seed", "data_seed")


def compare_address(*keys: str) -> str:
    """Address of the Compare page with these items chosen, relative to any other page."""
    return f"compare?{urlencode([('compare_items', key) for key in keys])}"


@dataclass(frozen=True)
class Item:
    """A sweep, or one strength of it."""

    key: str
    label: str
    sweep_id: str
    strength: float | None
    seen: Key = field(init=False, compare=False)
    """The sweep's key from before anything of it was read: what is drawn of the frame is kept under it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", cached.sweep_key(self.sweep_id))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Its runs' newest headline metrics."""
        frame = cached.counted_metrics(self.sweep_id, (*self.experiment.headline, *SIZES))
        return frame if self.strength is None else frame[frame["strength"] == self.strength]

    @property
    def experiment(self) -> Experiment:
        """Which experiment it is of."""
        return EXPERIMENTS[cached.sweep_spec(self.sweep_id).experiment]

    def settings(self) -> dict[str, str]:
        """Its configuration as a person reads it: what has an effect, seeds left out."""
        spec = cached.sweep_spec(self.sweep_id)
        fields = type(spec.config).model_fields
        values = {n: v for n, v in spec.config.effective().items() if n not in _SWEPT}
        axis = {str(spec.second_axis): ", ".join(map(format_second, spec.second_values))} if spec.second_axis else {}
        strengths = spec.strengths if self.strength is None else (self.strength,)
        return {
            "Experiment": self.experiment.title,
            **{title_of(fields[name], name): spelled(value) for name, value in (values | axis).items()},
            "Strength": ", ".join(map(format_strength, strengths)),
            "Seeds": str(spec.seeds),
        }


def item_key(sweep_id: str, strength: float | None = None) -> str:
    """How an address names a sweep, or one strength of it."""
    return sweep_id if strength is None else f"{sweep_id}{AT}{shown(float(strength))}"


def item_labels(names: Mapping[str, str], strengths_of: Iterable[str]) -> dict[str, str]:
    """Everything that can be compared, by key: the sweeps of these names, then each strength of some of them."""
    labels = dict(names)
    for sweep_id in strengths_of:
        with suppress(StoreError):  # written by a version with other settings: compared as a whole or not at all
            for strength in sorted(cached.sweep_spec(sweep_id).strengths):
                labels[item_key(sweep_id, strength)] = f"{names[sweep_id]}, strength {format_strength(strength)}"
    return labels


def item(key: str, label: str) -> Item:
    """The item of that key."""
    sweep_id, _, strength = key.partition(AT)
    return Item(key, label, sweep_id, float(strength) if strength else None)


def differing_settings(chosen: Sequence[Item]) -> pd.DataFrame:
    """One row for every setting that is not the same in all, one column an item; a dash where it has no effect."""
    settings = {item.label: item.settings() for item in chosen}
    names = dict.fromkeys(name for values in settings.values() for name in values)
    rows = [{"setting": name, **{label: v.get(name, "–") for label, v in settings.items()}} for name in names]
    return pd.DataFrame([row for row in rows if len({v for k, v in row.items() if k != "setting"}) > 1])


def overlaid(chosen: Sequence[Item]) -> pd.DataFrame:
    """The items' frames in one, each a series of its own, which a strength figure draws as one line."""
    parts = [item.frame.assign(series=item.label) for item in chosen]
    parts = [part for part in parts if len(part)]
    if any(
        isinstance(value, str) for part in parts for value in part["second_value"].unique()
    ):  # never both in one axis
        parts = [part.assign(second_value=part["second_value"].map(_worded)) for part in parts]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(queries.TIDY))


def _worded(second: Any) -> Any:
    return math.nan if no_second(second) else format_second(second)


def compared_arrays(chosen: Sequence[Item], name: str, strength: float) -> dict[str, pd.DataFrame]:
    """The newest stored arrays of every item by label: of a whole sweep those at `strength`.

    An item with a second axis is one entry for each of its values, for a mean over these would be of nothing.
    """
    found: dict[str, pd.DataFrame] = {}
    for compared in chosen:
        arrays = cached.arrays(compared.sweep_id, name)
        wanted = strength if compared.strength is None else compared.strength
        rows = arrays[arrays["strength"] == wanted]
        for second in distinct_seconds(rows["second_value"]):
            found[f"{compared.label}, {format_second(second)}"] = rows[rows["second_value"] == second]
        if rows["second_value"].isna().all():
            found[compared.label] = rows
    return found


def shared_strengths(chosen: Sequence[Item]) -> list[float]:
    """Strengths that every whole sweep among the items has; none where all items are single strengths."""
    sets = [set(distinct(item.frame["strength"].unique())) for item in chosen if item.strength is None]
    return sorted(set.intersection(*sets)) if sets else []


def differences(chosen: Sequence[Item], metrics: Sequence[str]) -> pd.DataFrame:
    """Every other item minus the first, at each strength both have (or of the two strengths), paired by seed."""
    reference = chosen[0]
    rows = [
        _difference(reference, other, name, strength, second)
        for other in chosen[1:]
        for name in metrics
        for strength, second in product(_common_strengths(reference, other), _common_seconds(reference, other))
    ]
    return pd.DataFrame([row for row in rows if row]).dropna(axis=1, how="all")


def _common_strengths(a: Item, b: Item) -> Sequence[float | None]:
    """Where both have runs; None: two strengths are compared with each other, whatever they are."""
    return [None] if a.strength is not None and b.strength is not None else _common(a, b, "strength")


def _common_seconds(a: Item, b: Item) -> Sequence[Any]:
    """Second values both have; None where they share none: then a seed counts with its mean over them."""
    return _common(a, b, "second_value") or [None]


def _common(a: Item, b: Item, column: str) -> Sequence[Any]:
    mine, theirs = (distinct_seconds(item.frame[column].unique()) for item in (a, b))
    return [value for value in mine if value in theirs]


def _difference(a: Item, b: Item, name: str, strength: float | None, second: Any) -> dict[str, Any]:
    left, right = (_values(item, name, strength, second) for item in (a, b))
    if left.empty or right.empty:
        return {}
    result = compare_by_seed(left, right)
    return {
        "compared": b.label,
        "strength": None if strength is None else format_strength(strength),
        "second axis": None if second is None else format_second(second),
        "metric": MetricKey.parse(name).label,
        "first": format_value(result.mean_a),
        "compared mean": format_value(result.mean_b),
        "difference [95% interval]": format_difference(result.difference, result.low, result.high),
        "effect size": format_value(result.effect_size),
        "n": counted(result.n, "pair") if result.paired else f"{result.n_a} + {result.n_b} unpaired",
    }


def _values(item: Item, name: str, strength: float | None, second: Any) -> pd.Series:
    rows = select_metrics(item.frame, [name])
    rows = rows if strength is None else rows[rows["strength"] == strength]
    rows = rows if second is None else rows[rows["second_value"] == second]
    return values_by_seed(rows, name)
