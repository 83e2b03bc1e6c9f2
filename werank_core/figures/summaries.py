"""Tidy frame -> summary frame: means with t-intervals over seeds, and counts of what they leave out."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from werank_core.figures.formats import no_second
from werank_core.vocabulary import MetricKey, RunState, metric

CONFIDENCE = 0.95
SERIES_KEYS = ["metric", "layer", "split", "series", "second_value"]
VALUE_KEYS = ["run_id", "metric", "layer", "split", "series"]
STATISTICS = [
    "mean",
    "low",
    "high",
    "n",
    "n_expected",
    "num_diverged",
    "num_failed",
    "num_unfinished",
    "num_undefined",
]
STRENGTH_COLUMNS = [*SERIES_KEYS, "strength", *STATISTICS]
HISTORY_COLUMNS = [*SERIES_KEYS, "strength", "step", *STATISTICS]
GRID_COLUMNS = ["second_value", "strength", *STATISTICS]

_UNFINISHED = (RunState.QUEUED, RunState.RUNNING, RunState.CANCELLED)


def summarize_strength(
    frame: pd.DataFrame,
    metrics: Sequence[str] | None = None,
    *,
    include_unfinished: bool = False,
    expected_seeds: int | None = None,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Mean and Student-t interval over seeds of every run's newest value, per series and strength.

    mean ± t(0.975, n − 1) · s/√n, s the sample standard deviation over seeds (a seed with several runs counts
    once, with its mean), cut at the ends of the metric's range. Only finished runs with a finite value enter;
    diverged, failed, unfinished (queued, running, cancelled) and undefined values are counted instead. n = 1 has a
    mean and no interval (NaN); n = 0 has neither.

    Args:
        frame: tidy frame, one row per run, metric, layer, split, series (and step: the newest one counts).
        metrics: names or "split/name" keys in the order wanted; None: all.
        include_unfinished: let unfinished runs enter the mean too; they stay counted.
        expected_seeds: what `n_expected` says; None: the number of different seeds in the frame.
        confidence: of the interval.

    Returns:
        One row per group with `STRENGTH_COLUMNS`, in the order of `metrics`, then layer, split, series, second value,
        strength.
    """
    newest = newest_values(select_metrics(frame, metrics))
    keys = [*SERIES_KEYS, "strength"]
    summary = _interval_over_seeds(newest, keys, include_unfinished, expected_seeds, confidence)
    return _ordered(summary, metrics, keys)[STRENGTH_COLUMNS]


def summarize_history(
    frame: pd.DataFrame,
    metrics: Sequence[str] | None = None,
    *,
    include_unfinished: bool = False,
    expected_seeds: int | None = None,
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """As `summarize_strength`, at every recorded step: `HISTORY_COLUMNS`."""
    chosen = select_metrics(frame, metrics)
    if len(chosen):
        chosen = chosen.drop_duplicates([*VALUE_KEYS, "step"], keep="last")
    keys = [*SERIES_KEYS, "strength", "step"]
    summary = _interval_over_seeds(chosen, keys, include_unfinished, expected_seeds, confidence)
    return _ordered(summary, metrics, keys)[HISTORY_COLUMNS]


def summarize_grid(
    frame: pd.DataFrame,
    metric: str,
    *,
    layer: int = 0,
    include_unfinished: bool = False,
    expected_seeds: int | None = None,
) -> pd.DataFrame:
    """One cell per strength and second value: mean with its 95% interval, n, and what was left out.

    `metric` is a key, "split/metric".
    """
    summary = summarize_strength(frame, [metric], include_unfinished=include_unfinished, expected_seeds=expected_seeds)
    cells = summary[summary["layer"] == layer].drop_duplicates(["second_value", "strength"])
    return cells[GRID_COLUMNS].reset_index(drop=True)


def select_metrics(frame: pd.DataFrame, metrics: Sequence[str] | None) -> pd.DataFrame:
    """The rows whose metric is one of `metrics`: keys, or bare names, which stand for every split."""
    if frame.empty or metrics is None:
        return frame
    keys = [MetricKey.parse(text) for text in metrics]
    chosen = frame["metric"].isin([key.metric for key in keys if not key.split])
    for key in keys:
        if key.split:
            chosen |= (frame["metric"] == key.metric) & (frame["split"] == key.split)
    return frame[chosen]


def newest_values(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per run and series of a metric: its last step. A run of several sweeps counts once."""
    if frame.empty:
        return frame
    return frame.sort_values("step", kind="stable").drop_duplicates(VALUE_KEYS, keep="last")


def t_half_width(deviation: Any, count: Any, confidence: float = CONFIDENCE) -> Any:
    """Half width of a Student-t interval, t · s/√n; NaN where n < 2. Arrays or numbers of equal shape."""
    deviation, count = np.asarray(deviation, dtype=float), np.asarray(count, dtype=float)
    freedom = np.where(count > 1, count - 1, np.nan)
    return special.stdtrit(freedom, (1 + confidence) / 2) * deviation / np.sqrt(np.where(count > 0, count, np.nan))


def usable(frame: pd.DataFrame, include_unfinished: bool = False) -> pd.Series:
    """Which rows may enter a mean: state finished (or unfinished, when told) and a finite value."""
    allowed = [RunState.FINISHED, *(_UNFINISHED if include_unfinished else ())]
    return frame["state"].isin(allowed) & np.isfinite(frame["value"].astype(float))


def _interval_over_seeds(
    rows: pd.DataFrame,
    keys: list[str],
    include_unfinished: bool,
    expected_seeds: int | None,
    confidence: float,
) -> pd.DataFrame:
    if rows.empty:
        return pd.DataFrame({name: _EMPTY[name] for name in [*keys, *STATISTICS]})
    enters = usable(rows, include_unfinished)
    marked = rows[keys].assign(entering=_seed_means(rows, keys, enters), **_left_out(rows))
    grouped = marked.groupby(keys, dropna=False, sort=False)
    counts = {name: (name, "sum") for name in STATISTICS if name.startswith("num_")}
    summary = grouped.agg(
        mean=("entering", "mean"), sd=("entering", "std"), n=("entering", "count"), **counts
    ).reset_index()
    half = t_half_width(summary["sd"], summary["n"], confidence)
    expected = rows["seed"].nunique() if expected_seeds is None else expected_seeds
    low, high = _within_span(summary["metric"], summary["mean"] - half, summary["mean"] + half)
    return summary.assign(low=low, high=high, n_expected=expected)


def _within_span(names: pd.Series, low: pd.Series, high: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Ends of intervals cut where their metric has no values: an accuracy above 1, a rank below 1."""
    spans = {name: metric(name).span for name in names.unique()}
    return low.clip(lower=names.map({n: s[0] for n, s in spans.items()}).astype(float)), high.clip(
        upper=names.map({n: s[1] for n, s in spans.items()}).astype(float)
    )


def _seed_means(rows: pd.DataFrame, keys: list[str], enters: pd.Series) -> pd.Series:
    """The mean of each seed, on the first of its rows that enters a mean; NaN elsewhere."""
    units = rows[[*keys, "seed"]].assign(value=rows["value"].astype(float).where(enters), skipped=~enters)
    repeated = units.duplicated([*keys, "seed", "skipped"])
    if not (repeated & enters).any():
        return units["value"]
    return units.groupby([*keys, "seed"], dropna=False)["value"].transform("mean").where(enters & ~repeated)


def _left_out(rows: pd.DataFrame) -> dict[str, pd.Series]:
    finite = np.isfinite(rows["value"].astype(float))
    return {
        "num_diverged": rows["state"].eq(RunState.DIVERGED),
        "num_failed": rows["state"].eq(RunState.FAILED),
        "num_unfinished": rows["state"].isin(_UNFINISHED),
        "num_undefined": rows["state"].eq(RunState.FINISHED) & ~finite,
    }


def _ordered(summary: pd.DataFrame, metrics: Sequence[str] | None, keys: list[str]) -> pd.DataFrame:
    """Rows in the order the metrics were asked for, then by layer, split, series, second value, strength and step."""
    position = {text: place for place, text in reversed(list(enumerate(metrics or dict.fromkeys(summary["metric"]))))}
    written = (summary["split"] + "/" + summary["metric"]).map(position)
    placed = summary.assign(_place=written.fillna(summary["metric"].map(position)))
    return placed.sort_values(["_place", *keys[1:]], kind="stable").drop(columns="_place").reset_index(drop=True)


def distinct(values: Iterable[float] | pd.Series) -> list[float]:
    """The different finite values in rising order."""
    array: NDArray[np.float64] = np.asarray(values if isinstance(values, pd.Series) else list(values), dtype=float)
    return [float(value) for value in np.unique(array[np.isfinite(array)])]


def distinct_seconds(values: Iterable[Any]) -> list[Any]:
    """The different values of a second axis, missing ones left out: numbers rising, then choices by the alphabet.

    Whatever the order of the rows, so that a value has its place, and with it its colour, in every picture.
    """
    found = {value for value in values if not no_second(value)}
    numbers = sorted({float(value) for value in found if not isinstance(value, str)})
    return [*numbers, *sorted((value for value in found if isinstance(value, str)), key=str.casefold)]


_EMPTY: dict[str, pd.Series] = {
    "metric": pd.Series(dtype=str),
    "layer": pd.Series(dtype="Int64"),
    "split": pd.Series(dtype=str),
    "series": pd.Series(dtype=str),
    **{name: pd.Series(dtype=float) for name in ("second_value", "strength", "mean", "low", "high")},
    **{name: pd.Series(dtype="int64") for name in ("step", "n", "n_expected", *STATISTICS[5:])},
}
