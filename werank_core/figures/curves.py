"""Training curves: metrics against step, every seed faint and the mean bold, one colour per strength."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from werank_core.figures.formats import format_interval, format_second, format_strength
from werank_core.figures.rows import axis_number, headline, row_domains, row_titles, rows_frame, rows_height
from werank_core.figures.strength import left_out_sentences
from werank_core.figures.strength_series import scale_layout
from werank_core.figures.style import DASHES, LEGEND_HEIGHT, Theme, empty_figure, strength_colors
from werank_core.figures.summaries import select_metrics
from werank_core.vocabulary import MetricKey, RunState

NO_HISTORY = "No training curves yet: they appear with the first recorded steps of a run."

# More points than this are drawn by WebGL, fewer as SVG: sharp in an export, and drawn where a browser has no WebGL.
SVG_POINTS = 20_000

_VARIANT = ["split", "series", "second_value"]


def plot_training(
    summary: pd.DataFrame,
    points: pd.DataFrame,
    metrics: Sequence[str],
    *,
    layer: int = 0,
    strength_label: str = "strength",
    theme: Theme = "light",
    notes: Mapping[str, str] | None = None,
    title: str = "",
) -> go.Figure:
    """One row per metric over the training steps; per strength one bold mean and all seeds in one faint trace.

    Dashes tell splits, series or second values apart, a cross ends a run that diverged.

    Args:
        summary: of `summarize_history`.
        points: the tidy history it was made of.
        metrics: keys ("split/metric"), one row each, the first at the top.
        layer: which layer of a per-layer metric.
        notes: what follows a metric's name over its row, such as `ceilings.ceiling_notes`.
    """
    chosen, seeds = (_of_layer(select_metrics(frame, metrics), layer) for frame in (summary, points))
    if seeds.empty or not np.isfinite(seeds["value"].astype(float)).any():
        return empty_figure(title or headline(metrics), NO_HISTORY, theme, rows_height(len(metrics)))
    looks = _Looks(seeds, strength_label, theme)
    frame = rows_frame(title, _caption(chosen, looks, strength_label), len(metrics), LEGEND_HEIGHT, theme)
    domains = row_domains(len(metrics), frame)
    traces = [trace for row, key in enumerate(metrics) for trace in _row_traces(chosen, seeds, key, row, looks)]
    layout = (
        frame
        | _axes(chosen, metrics, domains)
        | {"hovermode": "x unified", "annotations": row_titles(metrics, domains, notes)}
    )
    layout["legend"] = {"title": {"text": strength_label}, "traceorder": "normal"}
    return go.Figure(data=[*traces, *_legend_traces(looks)], layout=layout)


class _Looks:
    """Colour by strength; dash by what else differs within a row."""

    def __init__(self, seeds: pd.DataFrame, strength_label: str, theme: Theme) -> None:
        self.colors = strength_colors(seeds["strength"], theme)
        self.symbol = strength_label.split()[-1]
        self.line_type = "scattergl" if len(seeds) > SVG_POINTS else "scatter"
        kinds = seeds[["metric", *_VARIANT]].drop_duplicates().sort_values(_VARIANT)
        self._variants = {
            str(name): [_variant(*row) for row in rows[_VARIANT].itertuples(index=False)]
            for name, rows in kinds.groupby("metric")
        }

    def dash(self, name: str, variant: str) -> str:
        return DASHES[self._variants[name].index(variant) % len(DASHES)]

    def numbers(self, values: NDArray[np.float64]) -> Any:
        """With gaps as None where a person may export the figure as text; many as single-precision binary."""
        if self.line_type == "scattergl":
            return values.astype(np.float32)
        return [None if math.isnan(value) else value for value in values.tolist()]

    def sentence(self) -> str:
        """What the dashes mean, empty where every row has one kind of line."""
        longest = max(self._variants.values(), key=len)
        if len(longest) < 2:
            return ""
        return "Lines: " + ", ".join(f"{DASHES[i % len(DASHES)]} = {kind}" for i, kind in enumerate(longest)) + "."


def _variant(split: str, series: str, second_value: Any) -> str:
    return " ".join(part for part in (split, series, format_second(second_value)) if part)


def _of_layer(frame: pd.DataFrame, layer: int) -> pd.DataFrame:
    return frame[frame["layer"].isin([0, layer])] if len(frame) else frame


def _caption(chosen: pd.DataFrame, looks: _Looks, strength_label: str) -> str:
    seeds = int(chosen["n"].max())
    shown = f"Bold: mean over {seeds} seeds. Faint: every seed." if seeds != 1 else "One seed."
    return "\n".join(part for part in [shown, looks.sentence(), *left_out_sentences(chosen, strength_label)] if part)


def _axes(chosen: pd.DataFrame, metrics: Sequence[str], domains: Sequence[tuple[float, float]]) -> dict[str, Any]:
    x = {"anchor": "y" + axis_number(len(metrics) - 1), "title": {"text": "step"}, "showline": True}
    axes: dict[str, Any] = {
        f"yaxis{axis_number(row)}": {"domain": domain, "anchor": "x", "nticks": 5} | scale_layout(chosen, key)
        for row, (key, domain) in enumerate(zip(metrics, domains, strict=True))
    }
    return axes | {"xaxis": x | {"unifiedhovertitle": {"text": "step %{x}"}}}


def _row_traces(
    chosen: pd.DataFrame, seeds: pd.DataFrame, key: str, row: int, looks: _Looks
) -> Iterator[dict[str, Any]]:
    place = {"xaxis": "x", "yaxis": "y" + axis_number(row), "showlegend": False}
    faint = list(_seed_traces(select_metrics(seeds, [key]), looks))
    bold = list(_mean_traces(select_metrics(chosen, [key]), key, looks))
    for trace in [*faint, *bold]:
        yield place | trace


def _seed_traces(seeds: pd.DataFrame, looks: _Looks) -> Iterator[dict[str, Any]]:
    """All seeds of a strength as one trace with gaps between the runs, and a cross where a run diverged."""
    for strength, rows in seeds.groupby("strength"):
        color = looks.colors[float(strength)]  # type: ignore[arg-type]
        group = {"legendgroup": str(strength), "hoverinfo": "skip"}
        x, y = _separated(rows)
        yield group | {
            "type": looks.line_type, "mode": "lines", "x": looks.numbers(x), "y": looks.numbers(y), "opacity": 0.28,
            "connectgaps": False,
            "line": {"color": color, "width": 1},
        }  # fmt: skip
        ends = _last_before_divergence(rows)
        if len(ends):
            marker = {"symbol": "x", "size": 8, "color": color}
            yield group | {"mode": "markers", "x": ends["step"].tolist(), "y": ends["value"].tolist(), "marker": marker}


def _separated(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values run after run, with NaN between two runs."""
    ordered = rows.sort_values(["run_id", "split", "series", "layer", "step"], kind="stable")
    line = ordered["run_id"].astype(str) + "/" + ordered["split"].astype(str) + "/" + ordered["series"].astype(str)
    new = (line != line.shift()).to_numpy()[1:].nonzero()[0] + 1
    values = ordered["value"].astype(float).to_numpy()
    x: NDArray[np.float64] = np.insert(ordered["step"].astype(float).to_numpy(), new, np.nan)
    y = np.insert(np.where(np.isfinite(values), values, np.nan), new, np.nan)
    return x, y


def _last_before_divergence(rows: pd.DataFrame) -> pd.DataFrame:
    diverged = rows[(rows["state"] == RunState.DIVERGED) & np.isfinite(rows["value"].astype(float))]
    return diverged.sort_values("step").drop_duplicates(["run_id", "split", "series"], keep="last")


def _mean_traces(chosen: pd.DataFrame, key: str, looks: _Looks) -> Iterator[dict[str, Any]]:
    name = MetricKey.parse(key).metric
    known = chosen[chosen["mean"].notna()]
    groups: list[tuple[Any, pd.DataFrame]] = list(known.groupby(["strength", *_VARIANT], dropna=False))
    for (strength, *kind), rows in groups:
        variant = _variant(*kind)
        label = f"{looks.symbol} = {format_strength(strength)} {variant}".strip()
        columns = (rows[column] for column in ("mean", "low", "high", "n"))
        yield {
            "mode": "lines", "x": rows["step"].tolist(), "y": rows["mean"].tolist(), "legendgroup": str(strength),
            "line": {"color": looks.colors[strength], "width": 2.5, "dash": looks.dash(name, variant)},
            "text": [f"{format_interval(m, low, high)}, n = {n}" for m, low, high, n in zip(*columns, strict=True)],
            "hovertemplate": f"{label}  <b>%{{text}}</b><extra></extra>",
        }  # fmt: skip


def _legend_traces(looks: _Looks) -> Iterator[dict[str, Any]]:
    """One legend entry per strength, which shows and hides that strength in every row."""
    for strength, color in looks.colors.items():
        yield {
            "mode": "lines", "x": [None], "y": [None], "name": format_strength(strength), "legendgroup": str(strength),
            "line": {"color": color, "width": 2.5}, "xaxis": "x", "yaxis": "y", "showlegend": True,
        }  # fmt: skip
