"""Singular values of one layer on a log axis, with the effective rank of exactly what is drawn in the legend."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from werank_core.figures.formats import format_strength, format_value
from werank_core.figures.style import (
    BAND_OPACITY,
    FONT_SIZE,
    MARGIN,
    PALETTES,
    Theme,
    decade_ticks,
    empty_figure,
    strength_colors,
    template,
    title_layout,
    top_margin,
    translucent,
)
from werank_core.figures.summaries import distinct

NO_SPECTRA = "No spectra yet: they are stored when a run records its first step."
HEIGHT = 460
MAX_STOPS = 24
_SLIDER_HEIGHT = 84
_LEGEND_LINE = 20
_MAX_BANDS = 3


@dataclass(frozen=True)
class _Spectrum:
    """One line at one step."""

    index: list[int]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    effective_rank: float


@dataclass(frozen=True)
class _View:
    """The spectra by step and strength, the steps the slider stops at, and how lines are named and coloured."""

    summary: pd.DataFrame
    spectra: dict[tuple[float, float], _Spectrum]
    stops: list[float]
    recorded: int
    colors: dict[float, str]
    symbol: str
    theme: Theme

    def at_start(self, strength: float) -> _Spectrum:
        """What the strength began with."""
        return self.spectra.get((self.stops[0], strength), _NO_SPECTRUM)

    @property
    def common_start(self) -> _Spectrum | None:
        """What all strengths began with, None where they did not begin alike; runs of one seed do."""
        first = [self.at_start(strength) for strength in self.colors]
        return first[0] if all(np.array_equal(spectrum.mean, first[0].mean) for spectrum in first) else None


_NO_SPECTRUM = _Spectrum([], np.empty(0), np.empty(0), np.empty(0), math.nan)


def plot_spectra(
    summary: pd.DataFrame, *, strength_label: str = "strength", theme: Theme = "light", title: str = ""
) -> go.Figure:
    """One line per strength at the step that a slider above chooses, dotted ones at the first step.

    The slider works in the browser and starts at the last step. The legend carries the effective rank of exactly the
    values drawn. Up to three lines carry their 95% bands. Zeros have no place
    on a log axis: they are left out of the line but not out of the rank.

    Args:
        summary: of `summarize_spectra`, of one layer and one second value.
    """
    if summary.empty or not (summary["mean"] > 0).any():
        return empty_figure(title or "Singular values", NO_SPECTRA, theme, HEIGHT)
    view = _view(summary, strength_label, theme)
    last, several = view.stops[-1], len(view.stops) > 1
    layout = _layout(view, title) | ({"sliders": [_slider(view)]} if several else {})
    frames = [_frame(view, stop) for stop in view.stops] if several else []
    return go.Figure(data=_traces(view, last), layout=layout, frames=frames)


def _view(summary: pd.DataFrame, strength_label: str, theme: Theme) -> _View:
    recorded = distinct(summary["step"])
    kept = summary[summary["step"].isin(_evenly_chosen(recorded))]
    spectra = _spectra(kept)
    colors = strength_colors(distinct(summary["strength"]), theme)
    stops = sorted({step for step, _ in spectra})
    return _View(kept, spectra, stops, len(recorded), colors, strength_label.split()[-1], theme)


def _spectra(rows: pd.DataFrame) -> dict[tuple[float, float], _Spectrum]:
    """Every spectrum by step and strength; columns are taken out once, not once a spectrum."""
    index = rows["index"].to_numpy(int)
    mean, low, high, rank = (rows[name].to_numpy(float) for name in ("mean", "low", "high", "effective_rank"))
    places: Any = rows.groupby(["step", "strength"]).indices
    return {
        (float(step), float(strength)): _Spectrum(
            index[at].tolist(), mean[at], low[at], high[at], float(rank[at[0]])
        )
        for (step, strength), at in places.items()
    }  # fmt: skip


def _evenly_chosen(stops: list[float]) -> list[float]:
    """At most `MAX_STOPS` of the stops, first and last included: each one adds its spectra to the page."""
    if len(stops) <= MAX_STOPS:
        return stops
    return [stops[round(place)] for place in np.linspace(0, len(stops) - 1, MAX_STOPS)]


def _layout(view: _View, title: str) -> dict[str, Any]:
    caption = _caption(view)
    slider = _SLIDER_HEIGHT * (len(view.stops) > 1)
    common = view.common_start is not None
    legend = _LEGEND_LINE * (1 + math.ceil(len(view.colors) / (1 + common)))  # of a telephone: two columns at most
    top, bottom = top_margin(title, caption) + 16 + slider, MARGIN["b"] + legend
    height = HEIGHT - _SLIDER_HEIGHT + slider + legend + 34 * bool(title)
    low, high = _log_range(view)
    return {
        "template": template(view.theme), "title": title_layout(title, caption, view.theme),
        "height": height,
        "margin": MARGIN | {"t": top, "b": bottom}, "showlegend": True, "hovermode": "x unified",
        "legend": {
            "title": {"text": _legend_title(view), "side": "top"}, "traceorder": "normal",
            "entrywidth": 76 if common else 116, "entrywidthmode": "pixels", "y": legend / height, "yanchor": "top",
        },
        "xaxis": {
            "title": {"text": "index of the singular value"}, "showline": True, "rangemode": "tozero",
            "unifiedhovertitle": {"text": "index %{x}"},
        },
        "yaxis": {"type": "log", "range": (low, high)} | decade_ticks(10.0**edge for edge in (low, high)),
    }  # fmt: skip


def _caption(view: _View) -> str:
    seeds = int(view.summary["n"].max())
    bands = ", with its 95% interval" if len(view.colors) <= _MAX_BANDS and seeds > 1 else ""
    shown = f"Mean over {seeds} seed{'s' * (seeds != 1)} at every index{bands}."
    start = f" Dotted: step {view.stops[0]:,.0f}." if len(view.stops) > 1 else f" Step {view.stops[0]:,.0f}."
    fewer = f"\nThe slider stops at {len(view.stops)} of {view.recorded} recorded steps."
    return shown + start + fewer * (len(view.stops) < view.recorded)


def _legend_title(view: _View) -> str:
    common, title = view.common_start, f"{view.symbol}: effective rank of the line"
    if common is None or len(view.stops) == 1:
        return title
    return f"{title}; {format_value(common.effective_rank)} at step {view.stops[0]:,.0f}"


def _log_range(view: _View) -> tuple[float, float]:
    """One range for every step, so that nothing jumps; at most eight decades."""
    values = view.summary["mean"]
    top = math.log10(values.max())
    bottom = math.log10(values[values > 0].min())
    pad = 0.06 * max(top - bottom, 0.5)
    return max(bottom, top - 8) - pad, top + pad


def _traces(view: _View, stop: float) -> list[dict[str, Any]]:
    """The first step's lines, then bands and means at `stop`, in the same order at every stop."""
    measured = [trace for strength in view.colors for trace in _line_traces(view, stop, strength)]
    if len(view.stops) == 1:
        return measured
    if view.common_start is not None:
        return [_start_line(view.common_start, PALETTES[view.theme].muted), *measured]
    starts = [
        _start_line(view.at_start(strength), color) | {"legendgroup": str(strength)}
        for strength, color in view.colors.items()
    ]
    return [*starts, *measured]


def _start_line(spectrum: _Spectrum, color: str) -> dict[str, Any]:
    return {
        "mode": "lines", "x": spectrum.index, "y": _drawable(spectrum.mean), "showlegend": False, "hoverinfo": "skip",
        "line": {"color": color, "width": 1.5, "dash": "dot"},
    }  # fmt: skip


def _line_traces(view: _View, stop: float, strength: float) -> Iterator[dict[str, Any]]:
    color, spectrum = view.colors[strength], view.spectra.get((stop, strength), _NO_SPECTRUM)
    place: dict[str, Any] = {"mode": "lines", "x": spectrum.index, "legendgroup": str(strength)}
    if len(view.colors) <= _MAX_BANDS:
        yield from _band(spectrum, place, color, 10 ** _log_range(view)[0])
    name = f"{view.symbol} = {format_strength(strength)}"
    yield place | {
        "y": _drawable(spectrum.mean), "line": {"color": color, "width": 3}, "name": _legend_text(view, stop, strength),
        "hovertemplate": f"{name}  <b>%{{y:.3~g}}</b><extra></extra>",
    }  # fmt: skip


def _legend_text(view: _View, stop: float, strength: float) -> str:
    """The strength and its effective rank at this step, after that of the first where strengths began differently."""
    told = [format_value(view.spectra.get((stop, strength), _NO_SPECTRUM).effective_rank)]
    if view.common_start is None and stop != view.stops[0]:
        told.insert(0, format_value(view.at_start(strength).effective_rank))
    return f"{format_strength(strength)}: {' → '.join(told)}"


def _band(spectrum: _Spectrum, place: dict[str, Any], color: str, floor: float) -> Iterator[dict[str, Any]]:
    """The interval as two quiet lines; without one (a single seed) both lie on the mean."""
    quiet = place | {"line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    low, high = (np.where(np.isnan(edge), spectrum.mean, edge) for edge in (spectrum.low, spectrum.high))
    yield quiet | {"y": _drawable(np.maximum(low, floor))}
    fill = {"fill": "tonexty", "fillcolor": translucent(color, BAND_OPACITY)}
    yield quiet | fill | {"y": _drawable(np.maximum(high, floor))}


def _drawable(values: Any) -> list[float | None]:
    """Five significant digits, which keeps the page light, and None where a log axis has no place."""
    return [float(f"{value:.5g}") if value > 0 else None for value in np.asarray(values, dtype=float).tolist()]


def _frame(view: _View, stop: float) -> dict[str, Any]:
    # As arrays: Plotly checks lists number by number, and there are many of them here.
    kinds: dict[str, Any] = {"x": int, "y": np.float32}
    moving = [
        {key: np.array(trace[key], dtype=kind) for key, kind in kinds.items()}
        | {key: trace[key] for key in ("name",) if key in trace}
        for trace in _traces(view, stop)
    ]
    return {"name": f"{stop:g}", "data": moving}


def _slider(view: _View) -> dict[str, Any]:
    """Above the picture, where it stays in sight however tall the picture is."""
    colors = PALETTES[view.theme]
    instant = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"method": "animate", "args": [[f"{stop:g}"], instant], "label": f"{stop:,.0f}"} for stop in view.stops]
    return {
        "active": len(steps) - 1, "steps": steps, "x": 0, "len": 1, "y": 1, "yanchor": "bottom",
        "pad": {"t": 4, "b": 10, "l": 0, "r": 0},
        "currentvalue": {"prefix": "step ", "font": {"size": FONT_SIZE, "color": colors.text}, "xanchor": "left"},
        "bgcolor": colors.grid, "activebgcolor": colors.series[0], "bordercolor": colors.line, "borderwidth": 1,
        "tickcolor": colors.line, "font": {"size": FONT_SIZE - 2, "color": colors.muted}, "ticklen": 4,
        "minorticklen": 0,
    }  # fmt: skip
