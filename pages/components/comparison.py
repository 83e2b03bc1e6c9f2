"""Two to six sweeps or strengths side by side: what they are, what differs in configuration, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pages.components import cached
from werank_core.figures.comparisons import compare_by_seed, values_by_seed
from werank_core.figures.formats import format_interval, format_strength, format_value
from werank_core.figures.summaries import distinct
from werank_core.vocabulary import metric

AT = "@"


@dataclass(frozen=True)
class Item:
    """A sweep, or one strength of it."""

    key: str
    label: str
    sweep_id: str
    strength: float | None

    def frame(self) -> pd.DataFrame:
        """Its runs' newest metrics."""
        frame = cached.final_metrics(self.sweep_id)
        return frame if self.strength is None or frame.empty else frame[frame["strength"] == self.strength]

    def settings(self) -> dict[str, Any]:
        """Its configuration, as it has an effect."""
        spec = cached.sweep_spec(self.sweep_id)
        values = {"experiment": spec.experiment, **spec.config.effective(), "seeds": spec.seeds}
        strengths = spec.strengths if self.strength is None else (self.strength,)
        return {**values, "strength": ", ".join(map(format_strength, strengths))}


def items(sweeps: pd.DataFrame) -> dict[str, Item]:
    """Everything that can be compared: each sweep, and each strength of it, by key."""
    found: dict[str, Item] = {}
    for row in sweeps[sweeps["finished"] > 0].itertuples():
        sweep_id, name = str(row.sweep_id), str(row.name)
        found[sweep_id] = Item(sweep_id, name, sweep_id, None)
        for strength in cached.sweep_spec(sweep_id).strengths:
            key = f"{sweep_id}{AT}{strength:g}"
            found[key] = Item(key, f"{name}, strength {format_strength(strength)}", sweep_id, strength)
    return found


def differing_settings(chosen: Sequence[Item]) -> pd.DataFrame:
    """One row for every setting that is not the same in all, one column an item."""
    settings = {item.label: item.settings() for item in chosen}
    names = dict.fromkeys(name for values in settings.values() for name in values if not name.endswith("_seed"))
    rows = [{"setting": name, **{label: str(v.get(name, "–")) for label, v in settings.items()}} for name in names]
    return pd.DataFrame([row for row in rows if len({v for k, v in row.items() if k != "setting"}) > 1])


def overlaid(chosen: Sequence[Item]) -> pd.DataFrame:
    """The items' frames in one, told apart by `split`, which a strength figure draws as one line each."""
    parts = [item.frame().assign(split=item.label) for item in chosen]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=cached.final_metrics().columns)


def differences(chosen: Sequence[Item], metrics: Sequence[str]) -> pd.DataFrame:
    """Every other item minus the first, at each strength both have (or of the two strengths), paired by seed."""
    reference = chosen[0]
    rows = [
        _difference(reference, other, name, strength)
        for other in chosen[1:]
        for name in metrics
        for strength in _common_strengths(reference, other)
    ]
    return pd.DataFrame([row for row in rows if row])


def _common_strengths(a: Item, b: Item) -> list[float | None]:
    if a.strength is not None or b.strength is not None:
        return [None]
    mine, theirs = (set(distinct(item.frame()["strength"])) for item in (a, b))
    return [*sorted(mine & theirs)]


def _difference(a: Item, b: Item, name: str, strength: float | None) -> dict[str, Any]:
    left, right = (values_by_seed(item.frame(), name, strength=strength) for item in (a, b))
    if left.empty or right.empty:
        return {}
    result = compare_by_seed(left, right)
    return {
        "compared": b.label,
        "strength": "" if strength is None else format_strength(strength),
        "metric": metric(name).label,
        f"mean of {a.label}": format_value(result.mean_a),
        "its mean": format_value(result.mean_b),
        "difference [95% interval]": format_interval(result.difference, result.low, result.high),
        "effect size": format_value(result.effect_size),
        "n": f"{result.n} pairs" if result.paired else f"{result.n_a} + {result.n_b} unpaired",
    }
