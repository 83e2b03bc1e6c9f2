"""Spectra of several things on one log axis, one line each, with the effective rank of exactly what is drawn."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from werank_core.figures.formats import format_interval, format_label, format_value
from werank_core.figures.spectrum_summaries import SPECTRUM_COLUMNS, summarize_spectra
from werank_core.figures.style import (
    BAND_OPACITY,
    DASHES,
    MARGIN,
    PALETTES,
    Theme,
    decade_ticks,
    empty_figure,
    in_legend,
    listed_legend,
    template,
    title_layout,
    top_margin,
    translucent,
)

HEIGHT = 380
NO_SPECTRA = "No spectra to compare yet: they are stored when a run records its first step."
COLUMNS = ["name", *[c for c in SPECTRUM_COLUMNS if c not in ("layer", "second_value", "strength", "step")]]


def summarize_compared_spectra(arrays: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean spectrum over the runs of each name, with its interval and ranks.

    Args:
        arrays: name -> one array a run (columns as in `summarize_spectra`), of one layer.

    Returns:
        `COLUMNS`, in the order of the names.
    """
    one_group = {"strength": 0.0, "second_value": np.nan, "step": 0}
    parts = [
        summarize_spectra(rows.assign(**one_group)).assign(name=name) for name, rows in arrays.items() if len(rows)
    ]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def plot_compared_spectra(summary: pd.DataFrame, *, theme: Theme = "light", title: str = "") -> go.Figure:
    """One line a name in the colours and dashes of the strength figure; the legend carries the effective rank."""
    drawn = summary[summary["mean"] > 0] if len(summary) else summary
    if drawn.empty:
        return empty_figure(title or "Spectra", NO_SPECTRA, theme, HEIGHT)
    names = sorted(drawn["name"].unique())  # the order in which a strength figure gives lines their looks
    caption = "Mean over seeds at every index, with 95% interval. Legend: effective rank of the line drawn."
    placed, legend = listed_legend([f"{format_label(name)}: 00.0" for name in names])
    layout = {
        "template": template(theme), "title": title_layout(title, caption, theme), "height": HEIGHT + legend,
        "margin": MARGIN | {"t": top_margin(title, caption) + 10, "b": 64 + legend}, "hovermode": "x unified",
        "xaxis": {"title": {"text": "index of the singular value"}, "showline": True, "rangemode": "tozero"},
        "yaxis": {"type": "log"} | decade_ticks(drawn["mean"]),
        "legend": placed,
        "showlegend": True,
    }  # fmt: skip
    traces = [trace for place, name in enumerate(names) for trace in _traces(drawn, name, place, theme)]
    return go.Figure(data=traces, layout=layout)


def _traces(drawn: pd.DataFrame, name: str, place: int, theme: Theme) -> Iterator[dict[str, Any]]:
    rows, name = drawn[drawn["name"] == name], format_label(name)
    colors = PALETTES[theme].series
    color, dash = colors[place % len(colors)], DASHES[place % len(DASHES)]
    x = rows["index"].astype(int).tolist()
    known = rows[rows["low"].notna()]
    if len(known):
        quiet = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": name}
        floor = 0.1 * float(drawn["mean"].min())  # an interval that reaches below 0 has no place on a log axis
        quiet |= {"x": known["index"].astype(int).tolist()}
        yield quiet | {"y": known["low"].clip(lower=floor).tolist()}
        fill = {"fill": "tonexty", "fillcolor": translucent(color, BAND_OPACITY)}
        yield quiet | fill | {"y": known["high"].tolist()}
    columns = (rows[column] for column in ("mean", "low", "high"))
    yield {
        "mode": "lines", "x": x, "y": rows["mean"].tolist(), "legendgroup": name,
        "name": in_legend(f"{name}: {format_value(float(rows['effective_rank'].iloc[0]))}"),
        "line": {"color": color, "width": 2, "dash": dash},
        "text": [format_interval(*values) for values in zip(*columns, strict=True)],
        "hovertemplate": f"{name}  <b>%{{text}}</b><extra></extra>",
    }  # fmt: skip


def compared_spectra_alt_text(summary: pd.DataFrame) -> str:
    """The effective rank and the largest singular value of every line."""
    if summary.empty:
        return "An empty chart: there is no data yet."
    sentences = [
        f"{name}: effective rank {format_value(rows['effective_rank'].iloc[0])}, largest singular value "
        f"{format_value(rows['mean'].max())}."
        for name, rows in summary.groupby("name", sort=False)
    ]
    return " ".join(["Singular values on a log axis, one line each.", *sentences])
