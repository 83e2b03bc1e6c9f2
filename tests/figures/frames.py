"""Tidy frames with known contents for the figure tests."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

COLUMNS = [
    "run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed", "step",
    "metric", "layer", "split", "series", "value", "state",
]  # fmt: skip
Value = Callable[[str, float, int, int], float]


def smooth(metric: str, strength: float, seed: int, step: int) -> float:
    """A value that differs in everything it depends on and is the same in every run of the tests."""
    noise = np.random.default_rng([seed, round(strength * 1000), len(metric)]).normal()
    value = 10 + len(metric) + 5 * strength / (strength + 0.05) + 0.3 * noise + 0.001 * step
    return value / 40 if "accuracy" in metric else value


def tidy_frame(
    metrics: Sequence[str] = ("effective_rank", "accuracy"),
    strengths: Sequence[float] = (0.0, 0.01, 0.1, 1.0),
    seeds: int = 5,
    steps: Sequence[int] = (100,),
    seconds: Sequence[float] = (np.nan,),
    layers: Sequence[int] = (0,),
    splits: Sequence[str] = ("",),
    value: Value = smooth,
) -> pd.DataFrame:
    """One row per metric, strength, second value, seed, step, layer and split; every run finished."""
    rows = [
        (
            f"{strength:g}-{second:g}-{seed}", "sweep", "toy_ssl", "digits", float(strength), None,
            float(second), seed, step, metric,
            layer, split, "", value(metric, strength, seed, step) + layer, "finished",
        )
        for second in seconds for strength in strengths for seed in range(seeds)
        for step in steps for metric in metrics for layer in layers for split in splits
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS).astype({"layer": "Int64"})


def with_state(frame: pd.DataFrame, state: str, strength: float, seed: int) -> pd.DataFrame:
    """The frame with one run in another state."""
    hit = (frame["strength"] == strength) & (frame["seed"] == seed)
    return frame.assign(state=frame["state"].mask(hit, state))


def array_frame(
    strengths: Sequence[float] = (0.0, 0.1),
    seeds: int = 3,
    steps: Sequence[int] = (0, 100),
    layers: Sequence[int] = (1, 2),
    size: int = 6,
) -> pd.DataFrame:
    """Decaying spectra, one row per strength, seed, step and layer."""
    rows = [
        (f"{a}-{seed}", a, np.nan, seed, step, layer,
         ((1 + 0.1 * seed) * np.exp(-np.arange(size) * (0.5 - a) * (1 + step / 100) / layer)).astype("float32"))
        for a in strengths for seed in range(seeds) for step in steps for layer in layers
    ]  # fmt: skip
    columns = ["run_id", "strength", "second_value", "seed", "step", "layer", "values"]
    return pd.DataFrame(rows, columns=columns).astype({"layer": "Int64"})
