"""What a chart shows, in words with its numbers, for those who cannot see it."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from werank_core.figures.comparisons import spearman_by_seed
from werank_core.figures.formats import format_interval, format_second, format_strength, format_value, no_second
from werank_core.figures.rank_accuracy import NOT_ACCURACY, association_text, rank_and_accuracy
from werank_core.figures.strength import left_out_sentences
from werank_core.figures.summaries import SERIES_KEYS, distinct, select_metrics
from werank_core.vocabulary import MetricKey

NO_DATA = "An empty chart: there is no data yet."


def strength_alt_text(summary: pd.DataFrame, metrics: Sequence[str], strength_label: str = "strength") -> str:
    """Per metric and line: the baseline, the highest and the lowest mean with intervals, and where they are."""
    sentences = [s for key in metrics for s in _series_sentences(select_metrics(summary, [key]), strength_label)]
    if not sentences:
        return NO_DATA
    left_out = left_out_sentences(select_metrics(summary, metrics), strength_label)
    return " ".join([f"Line chart against {strength_label}.", *sentences, *left_out])


def _series_sentences(rows: pd.DataFrame, strength_label: str) -> Iterator[str]:
    symbol = strength_label.split()[-1]
    known = rows[rows["mean"].notna()] if len(rows) else rows
    groups: list[tuple[Any, pd.DataFrame]] = list(known.groupby(SERIES_KEYS, dropna=False)) if len(known) else []
    for (name, layer, split, series, second_value), line in groups:
        parts = [f"layer {layer}"] * bool(layer) + [series] * bool(series)
        parts += [f"second axis {format_second(second_value)}"] * (not no_second(second_value))
        what = MetricKey(name, split).label + (f" ({', '.join(parts)})" if parts else "")
        baseline = [f"{_numbers(row)} at {symbol} = 0" for _, row in line[line["strength"] == 0].iterrows()]
        extremes = [
            f"{word} {_numbers(row)} at {symbol} = {format_strength(row['strength'])}"
            for word, row in _highest_and_lowest(line)
        ]
        yield f"{what}: " + ", ".join([*baseline, *extremes]) + "."


def _highest_and_lowest(rows: pd.DataFrame) -> list[tuple[str, Any]]:
    """The row with the highest mean and the one with the lowest; neither is called better."""
    rising = rows.sort_values("mean", kind="stable")
    return [("highest", rising.iloc[-1]), ("lowest", rising.iloc[0])]


def _numbers(row: Any) -> str:
    return format_interval(row["mean"], row["low"], row["high"])


def training_alt_text(history: pd.DataFrame, metrics: Sequence[str], strength_label: str = "strength") -> str:
    """Per metric: the mean at the first and the last step, at the smallest and at the largest strength."""
    chosen = select_metrics(history, metrics)
    known = chosen[chosen["mean"].notna()] if len(chosen) else chosen
    if known.empty:
        return NO_DATA
    first, last = int(known["step"].min()), int(known["step"].max())
    sentences = [_first_to_last(rows, strength_label) for _, rows in known.groupby("metric", sort=False)]
    return " ".join([f"Training curves from step {first:,} to {last:,}.", *sentences])


def _first_to_last(rows: pd.DataFrame, strength_label: str) -> str:
    strengths = distinct(rows["strength"])
    ends = []
    for strength in dict.fromkeys((strengths[0], strengths[-1])):
        line = rows[rows["strength"] == strength].sort_values("step")["mean"]
        path = f"{format_value(line.iloc[0])} to {format_value(line.iloc[-1])}"
        ends.append(f"from {path} at {strength_label.split()[-1]} = {format_strength(strength)}")
    return f"{MetricKey(str(rows['metric'].iloc[0]), str(rows['split'].iloc[0])).label}: {', '.join(ends)}."


def rank_accuracy_alt_text(frame: pd.DataFrame, *, rank_metric: str, accuracy_metric: str) -> str:
    """The correlation with its interval, and the ranges of both numbers."""
    runs = rank_and_accuracy(frame, rank_metric=rank_metric, accuracy_metric=accuracy_metric)
    if runs.empty:
        return NO_DATA
    found = association_text(spearman_by_seed(runs, "rank", "accuracy"))
    ranges = (_range(key, runs[column]) for key, column in ((rank_metric, "rank"), (accuracy_metric, "accuracy")))
    return f"Scatter plot, one dot per run: {', '.join(ranges)}. {found}. {NOT_ACCURACY}"


def _range(key: str, values: pd.Series) -> str:
    return f"{MetricKey.parse(key).label} from {format_value(values.min())} to {format_value(values.max())}"


def spectra_alt_text(summary: pd.DataFrame, strength_label: str = "strength") -> str:
    """Per layer, at the last step: the effective rank of the drawn spectrum at every strength."""
    if summary.empty:
        return NO_DATA
    last = summary[summary["step"] == summary["step"].max()].drop_duplicates(["layer", "strength"])
    symbol = strength_label.split()[-1]
    sentences = [
        f"Layer {layer}: effective rank "
        + ", ".join(
            f"{format_value(rank)} at {symbol} = {format_strength(strength)}"
            for strength, rank in zip(rows["strength"], rows["effective_rank"], strict=True)
        )
        + "."
        for layer, rows in last.groupby("layer")
    ]
    return " ".join([f"Singular values on a log axis at step {last['step'].iloc[0]:,.0f}.", *sentences])


def map_alt_text(
    grid: pd.DataFrame, metric_key: str, strength_label: str = "strength", second_label: str = "second axis"
) -> str:
    """The highest and the lowest cell of a map, with their places."""
    known = grid[grid["mean"].notna()] if len(grid) else grid
    if known.empty:
        return NO_DATA
    extremes = [
        f"{word} {_numbers(row)} at {strength_label} {format_strength(row['strength'])}"
        f" and {second_label} {format_second(row['second_value'])}"
        for word, row in _highest_and_lowest(known)
    ]
    return f"Map of {MetricKey.parse(metric_key).label} over {len(known)} cells: {', '.join(extremes)}."
