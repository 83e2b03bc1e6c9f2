"""The lines of a strength figure: which there are, how each looks, and its traces."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from werank_core.figures.formats import format_interval, format_label, format_second, no_second
from werank_core.figures.strength_axis import StrengthAxis
from werank_core.figures.style import (
    BAND_OPACITY,
    DASHES,
    PALETTES,
    SYMBOLS,
    Theme,
    decade_ticks,
    in_legend,
    sequential_colors,
    translucent,
)
from werank_core.figures.summaries import distinct, distinct_seconds, newest_values, select_metrics
from werank_core.vocabulary import MetricKey, RunState, metric

_KEYS = ["split", "series", "layer", "second_value"]
_DRAWN_STATES = (RunState.FINISHED, RunState.RUNNING, RunState.QUEUED, RunState.CANCELLED)


@dataclass(frozen=True)
class Series:
    """One line of a row: its summary by rising strength, its seeds' points, and how it looks."""

    metric: str
    row: int
    name: str
    summary: pd.DataFrame
    points: pd.DataFrame
    color: str
    symbol: str
    dash: str
    background: str
    offset: float
    logarithmic: bool

    def hover_label(self) -> str:
        """What the hover box calls it."""
        return metric(self.metric).label + (f", {self.name}" if self.name else "")


def row_series(summary: pd.DataFrame, points: pd.DataFrame, key: str, row: int, theme: Theme) -> list[Series]:
    """The lines of one row, one per split, series, layer and second value of the metric `key`."""
    chosen = select_metrics(summary, [key])
    seeds = _drawn_points(select_metrics(points, [key]))
    looks = _Looks(chosen, theme)
    groups: list[tuple[Any, pd.DataFrame]] = list(chosen.groupby(_KEYS, dropna=False))
    return [
        Series(
            MetricKey.parse(key).metric, row, looks.name(*group), rows.sort_values("strength"), _same_group(seeds,
            *group),
            *looks.look(*group), PALETTES[theme].background, (place + 0.5) / len(groups) - 0.5,
            logarithmic(chosen, key),
        )
        for place, (group, rows) in enumerate(groups)
    ]  # fmt: skip


def logarithmic(summary: pd.DataFrame, key: str) -> bool:
    """Whether the metric wants a log axis and its means allow one."""
    means = select_metrics(summary, [key])["mean"].dropna()
    return MetricKey.parse(key).known.log and len(means) > 0 and bool((means > 0).all())


def scale_layout(summary: pd.DataFrame, key: str) -> dict[str, Any]:
    """Type and ticks of a row's y axis."""
    if not logarithmic(summary, key):
        ends = dict(zip(("clipmin", "clipmax"), MetricKey.parse(key).known.span, strict=True))
        return {"type": "linear", "autorangeoptions": {name: end for name, end in ends.items() if end is not None}}
    return {"type": "log"} | decade_ticks(select_metrics(summary, [key])["mean"])


def series_traces(series: Series, axis: StrengthAxis, legend: bool) -> Iterator[dict[str, Any]]:
    """Band, mean and seeds on the log axis, mean with its interval and seeds on the strip."""
    shared = {"legendgroup": series.name, "name": in_legend(series.name) or "measured"}
    for baseline in (False, True):
        rows = series.summary[(series.summary["strength"] == 0) == baseline]
        rows = rows[rows["mean"].notna()]
        place = shared | axis.place(series.row, baseline)
        if not baseline:
            yield from _band(series, rows, place)
        yield from _points(series, baseline, place)
        if len(rows):
            yield _means(series, rows, place, baseline) | {"showlegend": legend and not baseline}


class _Looks:
    """Colour, symbol, dash and name of a line, from what differs within the row."""

    def __init__(self, rows: pd.DataFrame, theme: Theme) -> None:
        self.kinds = sorted(set(zip(rows["split"], rows["series"], strict=True)))
        self.layers = distinct(rows["layer"].astype(float))
        self.seconds = distinct_seconds(rows["second_value"])
        self.theme, self.colors = theme, PALETTES[theme].series

    def name(self, split: str, series: str, layer: int, second_value: Any) -> str:
        parts = [f"layer {int(layer)}"] if len(self.layers) > 1 else []
        parts += [] if no_second(second_value) else [format_second(second_value)]
        several = (len({kind[place] for kind in self.kinds}) > 1 for place in (0, 1))
        parts += [format_label(part) for part, told in zip((split, series), several, strict=True) if told and part]
        return ", ".join(parts)

    def look(self, split: str, series: str, layer: int, second_value: Any) -> tuple[str, str, str]:
        second = 0 if no_second(second_value) else self.seconds.index(second_value)
        place = self.layers.index(float(layer))
        several_layers, several_kinds = len(self.layers) > 1, len(self.kinds) > 1
        dash = self.kinds.index((split, series)) if several_kinds else second
        shade = second if self.seconds else dash
        color = (
            sequential_colors(len(self.layers), self.theme)[place]
            if several_layers
            else self.colors[shade % len(self.colors)]
        )
        symbol = SYMBOLS[(place if several_layers else second) % len(SYMBOLS)]
        return color, symbol, DASHES[dash % len(DASHES)]


def _drawn_points(points: pd.DataFrame) -> pd.DataFrame:
    """Newest finite value of every run that neither diverged nor failed."""
    if points.empty:
        return pd.DataFrame(columns=[*_KEYS, "strength", "value", "state", "run_id"])
    newest = newest_values(points)
    return newest[newest["state"].isin(_DRAWN_STATES) & np.isfinite(newest["value"].astype(float))]


def _same_group(points: pd.DataFrame, split: str, series: str, layer: int, second_value: Any) -> pd.DataFrame:
    same = (points["split"] == split) & (points["series"] == series) & (points["layer"] == layer)
    second = points["second_value"]
    return points[same & (second.isna() if no_second(second_value) else second == second_value)]


def _horizontal(series: Series, strengths: pd.Series, baseline: bool) -> list[float]:
    return [series.offset] * len(strengths) if baseline else strengths.astype(float).tolist()


def _band(series: Series, rows: pd.DataFrame, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Two line traces per stretch of neighbouring strengths with an interval; a lone one has an error bar."""
    # An interval that reaches below 0 has no place on a log axis.
    floor = 0.1 * rows["mean"].min() if series.logarithmic else -math.inf
    shared = place | {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    for stretch in _stretches(rows):
        x = stretch["strength"].tolist()
        yield shared | {"x": x, "y": stretch["low"].clip(lower=floor).tolist()}
        fill = {"fill": "tonexty", "fillcolor": translucent(series.color, BAND_OPACITY)}
        yield shared | fill | {"x": x, "y": stretch["high"].tolist()}


def _stretches(rows: pd.DataFrame) -> list[pd.DataFrame]:
    known = rows["low"].notna()
    stretches = [part for _, part in rows[known].groupby((~known).cumsum()[known])]
    return [part for part in stretches if len(part) > 1]


def _lone_intervals(rows: pd.DataFrame, baseline: bool) -> dict[str, list[float | None]]:
    """Error bars for the intervals that no band shows; an interval cut at the metric's range is not symmetric."""
    banded = {strength for part in _stretches(rows) for strength in part["strength"]} if not baseline else set()
    arms = {"array": rows["high"] - rows["mean"], "arrayminus": rows["mean"] - rows["low"]}
    return {
        name: [None if s in banded or math.isnan(a) else a for s, a in zip(rows["strength"], arm, strict=True)]
        for name, arm in arms.items()
    }


def _means(series: Series, rows: pd.DataFrame, place: dict[str, Any], baseline: bool) -> dict[str, Any]:
    partial = rows["n"] < rows["n_expected"]
    texts = [
        f"{format_interval(mean, low, high)}, n = {n}"
        for mean, low, high, n in zip(rows["mean"], rows["low"], rows["high"], rows["n"], strict=True)
    ]
    return place | {
        "mode": "markers" if baseline else "lines+markers",
        "x": _horizontal(series, rows["strength"], baseline),
        "y": rows["mean"].tolist(),
        "error_y": _lone_intervals(rows, baseline) | {"thickness": 1.5, "width": 4, "color": series.color},
        "line": {"color": series.color, "width": 2, "dash": series.dash},
        "marker": {
            "size": 8, "symbol": series.symbol, "line": {"width": 1.5, "color": series.color},
            "color": [series.background if hollow else series.color for hollow in partial],
        },
        "customdata": [["", s, v] for s, v in zip(rows["strength"], rows["second_value"], strict=True)],
        "unselected": {"marker": {"opacity": 1}},
        "text": texts,
        "cliponaxis": False,  # a mean at the end of the metric's range is drawn whole
        "hovertemplate": f"{series.hover_label()}  <b>%{{text}}</b><extra></extra>",
    }  # fmt: skip


def _points(series: Series, baseline: bool, place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rows = series.points[(series.points["strength"] == 0) == baseline]
    if rows.empty:
        return
    unfinished = rows["state"] != RunState.FINISHED
    yield place | {
        "mode": "markers",
        "x": _horizontal(series, rows["strength"], baseline),
        "y": rows["value"].astype(float).tolist(),
        "marker": {
            "size": 5, "color": series.color, "opacity": 0.4, "line": {"width": 1, "color": series.color},
            "symbol": ["circle-open" if hollow else "circle" for hollow in unfinished],
        },
        "customdata": rows[["run_id", "strength", "second_value"]].to_numpy(dtype=object),
        # The page marks what was picked; dimming everything else would hide the finding.
        "unselected": {"marker": {"opacity": 0.4}},
        "hoverinfo": "none",  # not "skip", which would also swallow clicks
        "cliponaxis": False,
        "showlegend": False,
    }  # fmt: skip


def theory_traces(
    theory: pd.DataFrame | None, metrics: Sequence[str], axis: StrengthAxis, theme: Theme
) -> Iterator[dict[str, Any]]:
    """Closed forms as wide pale lines, to be drawn before (behind) the measurements."""
    if theory is None or theory.empty:
        return
    labelled = theory if "label" in theory else theory.assign(label="closed form")
    for row, key in enumerate(metrics):
        mine = labelled[labelled["metric"] == MetricKey.parse(key).metric]
        for place, (label, line) in enumerate(mine.groupby("label", sort=False)):
            for baseline in (False, True):
                rows = line[(line["strength"] == 0) == baseline].sort_values("strength")
                if len(rows) and (axis.has_baseline or not baseline):
                    yield _theory_line(rows, str(label), place, baseline, theme) | axis.place(row, baseline)


def _theory_line(rows: pd.DataFrame, label: str, place: int, baseline: bool, theme: Theme) -> dict[str, Any]:
    color = translucent(PALETTES[theme].muted, 0.55)
    return {
        "mode": "markers" if baseline else "lines",
        "x": [0] * len(rows) if baseline else rows["strength"].tolist(),
        "y": rows["value"].tolist(),
        "line": {"color": color, "width": 5, "dash": DASHES[place % len(DASHES)]},
        "marker": {"symbol": "line-ew", "size": 16, "line": {"color": color, "width": 5}},
        "name": label,
        "legendgroup": "theory " + label,
        "showlegend": not baseline,
        "hovertemplate": f"{label}  %{{y:.3~g}}<extra></extra>",
    }
