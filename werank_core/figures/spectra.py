"""Singular values per layer on a log axis, with the effective rank of exactly what is drawn beside them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from werank_core.figures.formats import format_strength, format_value
from werank_core.figures.rows import axis_number
from werank_core.figures.style import (
    BAND_OPACITY,
    FONT_SIZE,
    MARGIN,
    PALETTES,
    Theme,
    decade_ticks,
    empty_figure,
    sequential_colors,
    strength_colors,
    template,
    title_layout,
    top_margin,
    translucent,
)
from werank_core.figures.summaries import distinct

NO_SPECTRA = "No spectra yet: they are stored when a run records its first step."
PANEL_HEIGHT = 230
_PANEL_GAP = 36
_SLIDER_HEIGHT = 76
_MAX_BANDS = 3
MAX_STOPS = 24

Over = Literal["step", "strength"]
Theory = Mapping[tuple[int, float], ArrayLike]


@dataclass(frozen=True)
class _Spectrum:
    """One line at one stop."""

    index: list[int]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    effective_rank: float
    numerical_rank: int


@dataclass(frozen=True)
class _View:
    """What the slider and the lines are over, and how lines are named and coloured."""

    summary: pd.DataFrame
    spectra: dict[tuple[float, int, float], _Spectrum]
    layers: list[int]
    stops: list[float]
    recorded: int
    slider: str
    lines: str
    colors: dict[float, str]
    symbol: str
    theory: Theory
    theme: Theme

    def text(self, column: str, value: float) -> str:
        return f"step {value:,.0f}" if column == "step" else f"{self.symbol} = {format_strength(value)}"


_NO_SPECTRUM = _Spectrum([], np.empty(0), np.empty(0), np.empty(0), math.nan, 0)


def plot_spectra(
    summary: pd.DataFrame,
    *,
    over: Over = "step",
    theory: Theory | None = None,
    numerical: bool = False,
    strength_label: str = "strength",
    theme: Theme = "light",
    title: str = "",
) -> go.Figure:
    """One panel per layer, and beside its lines the effective rank of exactly the values drawn.

    The slider works in the browser: `over` "step" slides through training with a line per strength, "strength"
    through the strengths with a line per step. Up to three lines carry their 95% bands. Zeros have no place on a
    log axis: they are left out of the line but not out of the rank.

    Args:
        summary: of `summarize_spectra`, of one second value.
        theory: (layer, strength) -> expected singular values, drawn behind the measured ones.
        numerical: also writes the numerical rank, at the tolerance the summary was made with.
    """
    if summary.empty or not (summary["mean"] > 0).any():
        return empty_figure(title or "Singular values", NO_SPECTRA, theme, spectra_height(1))
    view = _view(summary, over, theory or {}, strength_label, theme)
    stops = view.stops
    start = len(stops) - 1 if over == "step" else 0
    layout = _layout(view, title, numerical) | {"annotations": _annotations(view, stops[start], numerical)}
    if len(stops) < 2:
        return go.Figure(data=_traces(view, stops[start]), layout=layout)
    layout["sliders"] = [_slider(view, start)]
    frames = [_frame(view, stop, numerical) for stop in stops]
    return go.Figure(data=_traces(view, stops[start]), layout=layout, frames=frames)


def spectra_height(num_layers: int) -> int:
    """Pixels of the figure without a title, for a page to reserve."""
    return 120 + _SLIDER_HEIGHT + max(num_layers, 1) * PANEL_HEIGHT


def _view(summary: pd.DataFrame, over: Over, theory: Theory, strength_label: str, theme: Theme) -> _View:
    lines = "strength" if over == "step" else "step"
    recorded = distinct(summary[over])
    kept = summary[summary[over].isin(_evenly_chosen(recorded))]
    spectra = _spectra(kept, [over, "layer", lines])
    values = distinct(summary[lines])
    by_rank = dict(zip(values, sequential_colors(len(values)), strict=True))
    colors = strength_colors(values) if lines == "strength" else by_rank
    layers, stops = sorted({key[1] for key in spectra}), sorted({key[0] for key in spectra})
    return _View(
        kept, spectra, layers, stops, len(recorded), over, lines, colors, strength_label.split()[-1], theory, theme
    )


def _spectra(rows: pd.DataFrame, keys: list[str]) -> dict[tuple[float, int, float], _Spectrum]:
    """Every spectrum by stop, layer and line; columns are taken out once, not once a spectrum."""
    index = rows["index"].to_numpy(int)
    mean, low, high, rank = (rows[name].to_numpy(float) for name in ("mean", "low", "high", "effective_rank"))
    numerical = rows["numerical_rank"].to_numpy(int)
    places: Any = rows.groupby(keys).indices
    return {
        (float(stop), int(layer), float(line)): _Spectrum(
            index[at].tolist(), mean[at], low[at], high[at], float(rank[at[0]]), int(numerical[at[0]])
        )
        for (stop, layer, line), at in places.items()
    }


def _evenly_chosen(stops: list[float]) -> list[float]:
    """At most `MAX_STOPS` of the stops, first and last included: each one adds its spectra to the page."""
    if len(stops) <= MAX_STOPS:
        return stops
    return [stops[round(place)] for place in np.linspace(0, len(stops) - 1, MAX_STOPS)]


def _domains(view: _View, height: int) -> list[tuple[float, float]]:
    count = len(view.layers)
    gap = 34 / max(height, 1)
    size = (1 - gap * (count - 1)) / count
    return [(max(1 - row * (size + gap) - size, 0.0), min(1 - row * (size + gap), 1.0)) for row in range(count)]


def _layout(view: _View, title: str, numerical: bool) -> dict[str, Any]:
    caption = _caption(view)
    slider = _SLIDER_HEIGHT * (len(view.stops) > 1)
    height = spectra_height(len(view.layers)) - _SLIDER_HEIGHT + slider + 34 * bool(title)
    margin = MARGIN | {"t": top_margin(title, caption) + 26, "b": MARGIN["b"] + slider, "r": 104 + 34 * numerical}
    domains = _domains(view, height - margin["t"] - margin["b"])
    bottom = "y" + axis_number(len(domains) - 1)
    title_x = {"text": "index of the singular value"}
    axes: dict[str, Any] = {
        "xaxis": {
            "anchor": bottom,
            "title": title_x,
            "showline": True,
            "rangemode": "tozero",
            "unifiedhovertitle": {"text": "index %{x}"},
        }
    }
    for row, domain in enumerate(domains):
        matched = {} if row == 0 else {"matches": "y"}
        shared = {"type": "log", "domain": domain, "anchor": "x", "range": _log_range(view)} | decade_ticks(
            10.0**edge for edge in _log_range(view)
        )
        axes[f"yaxis{axis_number(row)}"] = shared | matched
    return axes | {
        "template": template(view.theme), "title": title_layout(title, caption, view.theme), "height": height,
        "margin": margin, "showlegend": False, "hovermode": "x unified",
    }  # fmt: skip


def _caption(view: _View) -> str:
    shown = f"Mean over {int(view.summary['n'].max())} seeds at every index"
    bands = ", with 95% interval." if len(view.colors) <= _MAX_BANDS else "."
    theory = "\nWide pale lines: closed form." if view.theory else ""
    fewer = f"\nSlider: {len(view.stops)} of {view.recorded} {view.slider}s." if len(view.stops) < view.recorded else ""
    return shown + bands + theory + fewer


def _log_range(view: _View) -> tuple[float, float]:
    """One range for every stop and panel, so that nothing jumps; at most eight decades."""
    values = view.summary["mean"]
    top = math.log10(values.max())
    bottom = math.log10(values[values > 0].min())
    pad = 0.06 * max(top - bottom, 0.5)
    return max(bottom, top - 8) - pad, top + pad


def _traces(view: _View, stop: float) -> list[dict[str, Any]]:
    """Theory first, then the bands and means, in the same order at every stop."""
    panels = [(row, layer) for row, layer in enumerate(view.layers)]
    theory = [trace for row, layer in panels for trace in _theory_traces(view, stop, row, layer)]
    measured = [
        trace for row, layer in panels for line in view.colors for trace in _line_traces(view, stop, row, layer, line)
    ]
    return theory + measured


def _theory_traces(view: _View, stop: float, row: int, layer: int) -> Iterator[dict[str, Any]]:
    strengths = list(view.colors) if view.lines == "strength" else [stop]
    if not any(known_layer == layer for known_layer, _ in view.theory):
        return
    for strength in strengths:
        values = np.asarray(view.theory.get((layer, strength), ()), dtype=float)
        color = view.colors[strength] if view.lines == "strength" else PALETTES[view.theme].muted
        yield {
            "mode": "lines", "x": list(range(1, len(values) + 1)), "y": _drawable(values), "xaxis": "x",
            "yaxis": "y" + axis_number(row), "line": {"color": translucent(color, 0.35), "width": 7},
            "hoverinfo": "skip",
        }  # fmt: skip


def _line_traces(view: _View, stop: float, row: int, layer: int, line: float) -> Iterator[dict[str, Any]]:
    place: dict[str, Any] = {"xaxis": "x", "yaxis": "y" + axis_number(row), "mode": "lines"}
    color, name = view.colors[line], view.text(view.lines, line)
    spectrum = view.spectra.get((stop, layer, line), _NO_SPECTRUM)
    place["x"] = spectrum.index
    if len(view.colors) <= _MAX_BANDS:
        yield from _band(spectrum, place, color, 10 ** _log_range(view)[0])
    yield place | {
        "y": _drawable(spectrum.mean), "line": {"color": color, "width": 2}, "name": name,
        "hovertemplate": f"{name}  <b>%{{y:.3~g}}</b><extra></extra>",
    }  # fmt: skip


def _band(spectrum: _Spectrum, place: dict[str, Any], color: str, floor: float) -> Iterator[dict[str, Any]]:
    """The interval as two quiet lines; without one (a single seed) both lie on the mean."""
    quiet = place | {"line": {"width": 0}, "hoverinfo": "skip"}
    low, high = (np.where(np.isnan(edge), spectrum.mean, edge) for edge in (spectrum.low, spectrum.high))
    yield quiet | {"y": _drawable(np.maximum(low, floor))}
    fill = {"fill": "tonexty", "fillcolor": translucent(color, BAND_OPACITY)}
    yield quiet | fill | {"y": _drawable(np.maximum(high, floor))}


def _drawable(values: Any) -> list[float | None]:
    """Five significant digits, which keeps the page light, and None where a log axis has no place."""
    return [float(f"{value:.5g}") if value > 0 else None for value in np.asarray(values, dtype=float).tolist()]


def _annotations(view: _View, stop: float, numerical: bool) -> list[dict[str, Any]]:
    """Layer titles, and beside every panel the list of effective ranks, which is the legend too."""
    listed = []
    for row, layer in enumerate(view.layers):
        axis = "y" + axis_number(row) + " domain"
        above = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "yshift": 2, "text": f"<b>layer {layer}</b>"}
        beside = {"x": 1, "xanchor": "left", "y": 1, "yanchor": "top", "xshift": 8, "align": "left"}
        shared = {"xref": "paper", "yref": axis, "showarrow": False}
        small = {"font": {"size": FONT_SIZE - 1}}
        listed += [shared | above, shared | beside | small | {"text": _rank_list(view, stop, layer, numerical)}]
    return listed


def _rank_list(view: _View, stop: float, layer: int, numerical: bool) -> str:
    muted = PALETTES[view.theme].muted
    lines = [f'<span style="color:{muted}">effective{" / numerical" * numerical}<br>rank</span>']
    for line, color in view.colors.items():
        spectrum = view.spectra.get((stop, layer, line))
        if spectrum:
            ranks = format_value(spectrum.effective_rank) + f" / {spectrum.numerical_rank}" * numerical
            name = f"{line:,.0f}" if view.lines == "step" else format_strength(line)
            lines.append(f'<span style="color:{color}">▬</span> {name}: <b>{ranks}</b>')
    return "<br>".join(lines)


def _frame(view: _View, stop: float, numerical: bool) -> dict[str, Any]:
    # As arrays: Plotly checks lists number by number, and there are many of them here.
    kinds: dict[str, Any] = {"x": int, "y": np.float32}
    moving = [{key: np.array(trace[key], dtype=kind) for key, kind in kinds.items()} for trace in _traces(view, stop)]
    return {"name": f"{stop:g}", "data": moving, "layout": {"annotations": _annotations(view, stop, numerical)}}


def _slider(view: _View, start: int) -> dict[str, Any]:
    colors = PALETTES[view.theme]
    instant = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [
        {
            "method": "animate", "args": [[f"{stop:g}"], instant],
            "label": f"{stop:,.0f}" if view.slider == "step" else format_strength(stop),
        }
        for stop in view.stops
    ]  # fmt: skip
    prefix = "step " if view.slider == "step" else f"{view.symbol} = "
    return {
        "active": start, "steps": steps, "x": 0, "len": 1, "y": 0, "yanchor": "top",
        "pad": {"t": 56, "b": 4, "l": 0, "r": 0},
        "currentvalue": {"prefix": prefix, "font": {"size": FONT_SIZE, "color": colors.text}, "xanchor": "left"},
        "bgcolor": colors.grid, "activebgcolor": colors.series[0], "bordercolor": colors.line, "borderwidth": 1,
        "tickcolor": colors.line, "font": {"size": FONT_SIZE - 2, "color": colors.muted}, "ticklen": 4,
        "minorticklen": 0,
    }  # fmt: skip
