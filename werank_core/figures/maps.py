"""Two-way maps, strength against a second axis, one per metric and linked; and pictures of an embedding."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.colors import sample_colorscale

from werank_core.figures.comparisons import strength_differences
from werank_core.figures.formats import (
    format_difference,
    format_interval,
    format_second,
    format_strength,
    format_together,
    format_value,
)
from werank_core.figures.rows import axis_number, headline
from werank_core.figures.style import (
    MARGIN,
    PALETTES,
    Theme,
    empty_figure,
    map_colors,
    readable_on,
    template,
    title_layout,
    top_margin,
    wrapped,
)
from werank_core.figures.summaries import GRID_COLUMNS, distinct, distinct_seconds
from werank_core.vocabulary import MetricKey

MAP_HEIGHT = 250
NO_GRID = "No map yet: it needs a sweep with a second axis and at least one finished run."
_GAP_X, _GAP_Y = 0.13, 64
_BREAK = 0.3

Domain = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class _Cells:
    """Where the cells lie: whole numbers, strength 0 set apart by a narrow empty column, the axis break."""

    strengths: list[float]
    seconds: list[Any]

    @property
    def split(self) -> bool:
        return self.strengths[0] == 0 and len(self.strengths) > 1

    @property
    def x(self) -> list[float]:
        return [place + _BREAK * (self.split and place > 0) for place in range(len(self.strengths))]

    @property
    def y(self) -> list[float]:
        return [float(place) for place in range(len(self.seconds))]

    @property
    def x_edges(self) -> list[float]:
        """Edges of the drawn columns, the empty one included."""
        edges = [x - 0.5 for x in self.x] + [self.x[-1] + 0.5]
        return [edges[0], edges[0] + 1, *edges[1:]] if self.split else edges

    def with_break(self, table: NDArray[Any], empty: Any) -> NDArray[Any]:
        """A (second values, strengths) table with the empty column put in."""
        return np.insert(table, 1, empty, axis=1) if self.split else table

    def table(self, grid: pd.DataFrame, column: str) -> NDArray[Any]:
        """One column as (second values, strengths)."""
        wide = grid.pivot(index="second_value", columns="strength", values=column)
        return wide.reindex(index=self.seconds, columns=self.strengths).to_numpy()


def summarize_grid_difference(frame: pd.DataFrame, metric_key: str, *, baseline: float = 0.0) -> pd.DataFrame:
    """Each cell minus the cell of the same second value at the baseline strength, paired by seed: as
    `summarize_grid`.
    """
    table = strength_differences(frame, [metric_key], baseline=baseline)
    cells = table.drop_duplicates(["second_value", "strength"])
    named = cells.assign(mean=cells["difference"], n_expected=cells["n_a"])
    return named.reindex(columns=GRID_COLUMNS, fill_value=0).reset_index(drop=True)


def plot_maps(
    grids: Mapping[str, pd.DataFrame],
    *,
    strength_label: str = "strength",
    second_label: str = "second axis",
    theme: Theme = "light",
    difference: bool = False,
    columns: int = 2,
    notes: Mapping[str, str] | None = None,
    title: str = "",
) -> go.Figure:
    """One map per metric over the same cells; zooming one zooms all.

    A click on a cell gives `customdata` [strength, second value].

    Args:
        grids: metric key -> frame of `summarize_grid`, or of `summarize_grid_difference` with
            `difference`. strength_label, second_label: of the axes.
        difference: colours diverge around 0 and values carry their sign.
        columns: maps side by side; 1 for a telephone.
        notes: what follows a metric's name over its map, such as `ceilings.ceiling_notes`.
    """
    drawn = {key: grid for key, grid in grids.items() if len(grid) and grid["mean"].notna().any()}
    if not drawn:
        return empty_figure(title or headline(list(grids)) or "Map", NO_GRID, theme, maps_height(len(grids), columns))
    every = pd.concat(drawn.values())
    cells = _Cells(distinct(every["strength"]), distinct_seconds(every["second_value"]))
    if not cells.seconds:
        return empty_figure(title or headline(list(grids)), NO_GRID, theme, maps_height(len(grids), columns))
    caption = _caption(drawn, difference, strength_label)
    margin = MARGIN | {"t": top_margin(title, caption) + 26, "l": 64, "r": 48}
    height = maps_height(len(drawn), columns) + 34 * bool(title)
    domains = _panel_domains(len(drawn), min(columns, len(drawn)), height - margin["t"] - margin["b"])
    layout: dict[str, Any] = {
        "template": template(theme), "title": title_layout(title, caption, theme), "height": height,
        "margin": margin,
        "hovermode": "closest", "hoverdistance": 80, "showlegend": False,
        "annotations": _map_titles(list(drawn), domains, notes or {}),
    }  # fmt: skip
    traces: list[dict[str, Any]] = []
    for place, (key, grid) in enumerate(drawn.items()):
        layout |= _map_axes(cells, place, domains[place], (strength_label, second_label))
        traces += _map_traces(cells, grid, key, place, domains[place], theme, difference)
    return go.Figure(data=traces, layout=layout)


def maps_height(num_maps: int, columns: int = 2) -> int:
    """Pixels of a figure of maps without a title, for a page to reserve."""
    return 110 + math.ceil(max(num_maps, 1) / columns) * MAP_HEIGHT


def _caption(grids: Mapping[str, pd.DataFrame], difference: bool, strength_label: str) -> str:
    every = pd.concat(grids.values())
    symbol = strength_label.split()[-1]
    what = f"Difference to {symbol} = 0, paired by seed" if difference else "Mean"
    low, high = int(every["n"].min()), int(every["n"].max())
    seeds = f"{low} to {high}" if low < high else f"{high}"
    diverged = int(max(grid["num_diverged"].sum() for grid in grids.values()))
    left_out = f" {diverged} diverged run{'s' * (diverged != 1)} not in the means." if diverged else ""
    return f"{what} over {seeds} seed{'s' * (high != 1)} a cell.{left_out}"


def _panel_domains(count: int, columns: int, pixels: int) -> list[Domain]:
    lines = math.ceil(count / columns)
    width = (1 - _GAP_X * (columns - 1)) / columns
    gap = _GAP_Y / pixels
    height = (1 - gap * (lines - 1)) / lines
    return [
        {
            "x": (place % columns * (width + _GAP_X), place % columns * (width + _GAP_X) + width),
            "y": (max(1 - (place // columns + 1) * height - place // columns * gap, 0),
            1 - place // columns * (height + gap)),
        }
        for place in range(count)
    ]  # fmt: skip


def _map_titles(keys: Sequence[str], domains: Sequence[Domain], notes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "text": ", ".join(
                filter(None, [f"<b>{MetricKey.parse(key).label}</b>", notes.get(MetricKey.parse(key).metric)])
            ),
            "hovertext": wrapped(MetricKey.parse(key).known.tooltip),
            "x": domain["x"][0], "xref": "paper", "xanchor": "left", "y": domain["y"][1], "yref": "paper",
            "yanchor": "bottom",
            "showarrow": False, "yshift": 2,
        }
        for key, domain in zip(keys, domains, strict=True)
    ]  # fmt: skip


def _map_axes(cells: _Cells, place: int, domain: Domain, labels: tuple[str, str]) -> dict[str, Any]:
    number = axis_number(place)
    plain = {"showgrid": False, "ticks": ""}
    x = {"tickvals": cells.x, "ticktext": [format_strength(s) for s in cells.strengths], "title": {"text": labels[0]}}
    y = {"tickvals": cells.y, "ticktext": [format_second(s) for s in cells.seconds]}
    y_title = {"title": {"text": labels[1]}} if domain["x"][0] == 0 else {}
    linked = ({}, {}) if place == 0 else ({"matches": "x"}, {"matches": "y"})
    return {
        f"xaxis{number}": plain | x | linked[0] | {"domain": domain["x"], "anchor": "y" + number},
        f"yaxis{number}": plain | y | y_title | linked[1] | {"domain": domain["y"], "anchor": "x" + number},
    }


def _map_traces(
    cells: _Cells, grid: pd.DataFrame, key: str, place: int, domain: Domain, theme: Theme, difference: bool
) -> list[dict[str, Any]]:
    """The coloured cells, and over them invisible squares that can be hovered and picked."""
    axes = {"xaxis": "x" + axis_number(place), "yaxis": "y" + axis_number(place)}
    heat = axes | {
        "type": "heatmap", "x": cells.x_edges, "y": cells.y, "texttemplate": "%{text}", "xgap": 2, "ygap": 2,
        "hoverinfo": "skip", "colorscale": map_colors(theme, difference), "colorbar": _color_bar(domain),
    }  # fmt: skip
    values = cells.table(grid, "mean").astype(float)
    texts = cells.with_break(_cell_texts(cells, grid, difference), "")
    return [
        *(heat | layer for layer in _heat_layers(cells.with_break(values, np.nan), texts, key, theme, difference)),
        axes | _pickable(cells, grid, key, theme, difference),
    ]


def _heat_layers(
    values: NDArray[np.float64], texts: NDArray[Any], key: str, theme: Theme, difference: bool
) -> Iterator[dict[str, Any]]:
    """Two layers of cells, those with black and those with white text: one map has one text colour only."""
    low, high = _color_range(values, key, difference)
    shares = np.nan_to_num((values - low) / (high - low), nan=0.5)
    colors = sample_colorscale(map_colors(theme, difference), shares.ravel().tolist())
    inks = np.array([readable_on(color) for color in colors]).reshape(values.shape)
    for ink, scale in (("#FFFFFF", True), ("#000000", False)):
        z = np.where(inks == ink, values, np.nan)
        yield {
            "z": _with_none(z), "text": np.where(np.isnan(z), "", texts).tolist(), "textfont": {"color": ink},
            "zmin": low, "zmax": high, "showscale": scale,
        }  # fmt: skip


def _color_range(values: NDArray[np.float64], key: str, difference: bool) -> tuple[float, float]:
    """Ends of the colour scale: of a constant something around it, inside the metric's range."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if difference:
        limit = max(abs(low), abs(high)) or 1.0
        return -limit, limit
    if high > low:
        return low, high
    least, most = MetricKey.parse(key).known.span
    return max(low - 0.5, -math.inf if least is None else least), min(low + 0.5, math.inf if most is None else most)


def _color_bar(domain: Domain) -> dict[str, Any]:
    return {
        "x": domain["x"][1] + 0.01, "xanchor": "left", "y": domain["y"][0], "yanchor": "bottom", "thickness": 8,
        "nticks": 4, "len": domain["y"][1] - domain["y"][0], "outlinewidth": 0, "ypad": 0, "xpad": 0,
        "tickfont": {"size": 10},
    }  # fmt: skip


def _with_none(values: NDArray[np.float64]) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in values.tolist()]


def _cell_texts(cells: _Cells, grid: pd.DataFrame, difference: bool) -> NDArray[Any]:
    """What is written in each cell: the mean, and n where seeds are missing. (second values, strengths)"""
    means, counts, expected = (cells.table(grid, name).astype(float) for name in ("mean", "n", "n_expected"))
    flat = means.ravel().tolist()
    written = format_together(flat) if difference else [format_value(mean) for mean in flat]
    fewer = [
        f"<br>n = {n:.0f}" if n < wanted else "" for n, wanted in zip(counts.ravel(), expected.ravel(), strict=True)
    ]
    return np.array([text + note for text, note in zip(written, fewer, strict=True)]).reshape(means.shape)


def _pickable(cells: _Cells, grid: pd.DataFrame, key: str, theme: Theme, difference: bool) -> dict[str, Any]:
    spots = grid[grid["second_value"].isin(cells.seconds)]
    x, y = dict(zip(cells.strengths, cells.x, strict=True)), dict(zip(cells.seconds, cells.y, strict=True))
    written = format_difference if difference else format_interval
    columns = (spots[name].astype(float) for name in ("mean", "low", "high", "n"))
    label = MetricKey.parse(key).known.label
    return {
        "mode": "markers", "x": [x[s] for s in spots["strength"]], "y": [y[v] for v in spots["second_value"]],
        "marker": {
            "symbol": "square-open", "size": 24, "opacity": 0, "color": PALETTES[theme].text,
            "line": {"width": 3},
        },
        "selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": 0}},
        "customdata": spots[["strength", "second_value"]].to_numpy(object).tolist(),
        "text": [f"<b>{written(m, low, high)}</b>, n = {n:.0f}" for m, low, high, n in zip(*columns,
        strict=True)],
        "hovertemplate": label + " %{text}<br>%{customdata[0]} × %{customdata[1]}<extra></extra>",
    }  # fmt: skip
