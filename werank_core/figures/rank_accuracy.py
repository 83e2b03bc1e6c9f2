"""Rank against accuracy: one dot per run, with the correlation, its interval, and what it does not say."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from werank_core.figures.ceilings import ceiling_notes
from werank_core.figures.comparisons import Association, spearman_by_seed
from werank_core.figures.formats import format_strength, format_value, no_second
from werank_core.figures.rows import within_span
from werank_core.figures.style import (
    MARGIN,
    SYMBOLS,
    Theme,
    empty_figure,
    strength_colors,
    template,
    title_layout,
    top_margin,
    wrapped,
)
from werank_core.figures.summaries import distinct_seconds, newest_values, select_metrics, usable
from werank_core.vocabulary import MetricKey

HEIGHT = 440
NOT_ACCURACY = "Rank is not accuracy: a higher rank can go with a better, an equal or a worse classifier."
NO_RUNS = "No finished run has both numbers yet: run a sweep and come back."


def rank_and_accuracy(frame: pd.DataFrame, *, rank_metric: str, accuracy_metric: str) -> pd.DataFrame:
    """One row per finished run that has both numbers, given by their keys.

    Columns: run_id, strength, second_value, seed, rank, accuracy.
    """
    columns = ["run_id", "strength", "second_value", "seed"]
    if frame.empty:
        return pd.DataFrame(columns=[*columns, "rank", "accuracy"])
    rank = _one_value_per_run(frame, rank_metric).rename(columns={"value": "rank"})
    accuracy = _one_value_per_run(frame, accuracy_metric)[["run_id", "value"]].rename(columns={"value": "accuracy"})
    return rank.merge(accuracy, on="run_id")[[*columns, "rank", "accuracy"]].reset_index(drop=True)


def plot_rank_accuracy(
    frame: pd.DataFrame,
    theme: Theme = "light",
    *,
    rank_metric: str,
    accuracy_metric: str,
    strength_label: str = "strength",
    title: str = "",
) -> go.Figure:
    """One dot per finished run, coloured by strength, `customdata` [run_id, strength, second_value].

    The title gives Spearman's ρ with its 95% interval over seeds; the caption, that rank is not accuracy.
    """
    runs = rank_and_accuracy(frame, rank_metric=rank_metric, accuracy_metric=accuracy_metric)
    names = [MetricKey.parse(key).label for key in (rank_metric, accuracy_metric)]
    ceiling = ceiling_notes(frame).get(MetricKey.parse(rank_metric).metric)
    if runs.empty:
        return empty_figure(title or f"{names[0]} against {names[1]}", NO_RUNS, theme, HEIGHT)
    found = spearman_by_seed(runs, "rank", "accuracy")
    heading = f"{title}: {association_text(found)}" if title else association_text(found)
    lines = wrapped(heading, 46)
    layout = {
        "template": template(theme), "title": title_layout(lines, NOT_ACCURACY), "height": HEIGHT,
        "margin": MARGIN | {"t": top_margin(lines, NOT_ACCURACY) + 8, "b": 88, "l": 60},
        "xaxis": {"title": {"text": ", ".join(filter(None, [names[0], ceiling]))}} | within_span(rank_metric),
        "yaxis": {"title": {"text": names[1]}} | within_span(accuracy_metric),
        "legend": {"title": {"text": strength_label}}, "showlegend": True, "hovermode": "closest",
    }  # fmt: skip
    return go.Figure(data=list(_dots(runs, strength_label, theme)), layout=layout)


def association_text(found: Association) -> str:
    """Text such as "Spearman's ρ over strengths = 0.62 [0.31, 0.81], n = 5 seeds (40 runs)", or why there is none."""
    runs = f"{found.num_runs} run{'s' * (found.num_runs != 1)}"
    if math.isnan(found.rho):
        return f"No correlation from {runs}: a seed needs three strengths at which both numbers vary"
    interval = "no interval" if math.isnan(found.low) else f"[{_two(found.low)}, {_two(found.high)}]"
    seeds = f"n = {found.n} seed{'s' * (found.n != 1)}"
    return f"Spearman's ρ over strengths = {_two(found.rho)} {interval}, {seeds} ({runs})"


def _two(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _one_value_per_run(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    rows = newest_values(select_metrics(frame, [key]))
    return rows[usable(rows)].sort_values("layer").drop_duplicates("run_id")


def _dots(runs: pd.DataFrame, strength_label: str, theme: Theme) -> Iterator[dict[str, Any]]:
    colors, seconds = strength_colors(runs["strength"], theme), distinct_seconds(runs["second_value"])
    for strength, rows in runs.groupby("strength"):
        places = [0 if no_second(v) else seconds.index(v) for v in rows["second_value"]]
        texts = [
            f"{strength_label} {format_strength(a)}, seed {s}<br>rank {format_value(r)}, accuracy {format_value(y)}"
            for a, s, r, y in zip(rows["strength"], rows["seed"], rows["rank"], rows["accuracy"], strict=True)
        ]
        yield {
            "mode": "markers", "x": rows["rank"].tolist(), "y": rows["accuracy"].tolist(),
            "name": format_strength(float(strength)),  # type: ignore[arg-type]
            "marker": {
                "size": 9, "opacity": 0.85, "color": colors[float(strength)],  # type: ignore[arg-type]
                "symbol": [SYMBOLS[place % len(SYMBOLS)] for place in places],
            },
            "customdata": rows[["run_id", "strength", "second_value"]].to_numpy(dtype=object),
            "text": texts, "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False,
        }  # fmt: skip
