"""Validation accuracy of the probe against its own regularization C."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from werank_core.figures.formats import format_interval, format_strength
from werank_core.figures.rows import within_span
from werank_core.figures.style import MARGIN, Theme, empty_figure, strength_colors, template, title_layout, top_margin
from werank_core.figures.summaries import distinct, t_half_width

POWERS = np.arange(-10, 11)
HEIGHT = 380
COLUMNS = ["strength", "c", "mean", "low", "high", "n"]


def summarize_probe_curve(arrays: pd.DataFrame) -> pd.DataFrame:
    """Mean validation accuracy per strength and C, splits averaged first, with a 95% t-interval over seeds.

    Args:
        arrays: one row a run, of one second value, whose `values` are `(S, C)`, C = 2^-10 .. 2^10.

    Returns:
        `COLUMNS`, one row for every strength and C.
    """
    rows = []
    for strength, group in arrays.groupby("strength"):
        by_seed = [
            np.stack([np.asarray(v, float).mean(0) for v in runs]).mean(0)
            for _, runs in group.groupby("seed")["values"]
        ]
        curves = np.stack(by_seed)
        deviation = curves.std(0, ddof=1) if len(curves) > 1 else np.full(curves.shape[1], np.nan)
        half = t_half_width(deviation, len(curves))
        mean = curves.mean(0)
        columns = (2.0 ** POWERS[: len(mean)], mean, mean - half, mean + half)
        rows.append(
            pd.DataFrame(dict(zip(COLUMNS[1:5], columns, strict=True))).assign(strength=strength, n=len(curves))
        )
    return pd.concat(rows, ignore_index=True)[COLUMNS] if rows else pd.DataFrame(columns=COLUMNS)


def plot_probe_curve(summary: pd.DataFrame, *, strength_label: str = "strength", theme: Theme = "light") -> go.Figure:
    """One line a strength over C (log₂ axis); the interval is in the hover text."""
    if summary.empty:
        return empty_figure("Probe", "Appears when the first run of the sweep has finished.", theme, HEIGHT)
    symbol = strength_label.split()[-1]
    colors = strength_colors(distinct(summary["strength"]), theme)
    traces = [
        {
            "type": "scatter", "mode": "lines", "x": rows["c"].tolist(), "y": rows["mean"].tolist(),
            "name": f"{symbol} = {format_strength(strength)}", "line": {"color": colors[strength], "width": 2},
            "text": [
                f"{format_interval(mean, low, high)}, n = {n}"
                for mean, low, high, n in zip(*(rows[name] for name in COLUMNS[2:]), strict=True)
            ],
            "hovertemplate": f"{symbol} = {format_strength(strength)}  <b>%{{text}}</b><extra></extra>",
        }
        for strength in distinct(summary["strength"])
        for rows in [summary[summary["strength"] == strength]]
    ]  # fmt: skip
    seeds = int(summary["n"].max())
    caption = f"Mean over splits and {seeds} seed{'s' * (seeds != 1)}. The probe keeps the C that is best here."
    ticks = 2.0 ** POWERS[::5]
    layout = {
        "template": template(theme), "height": HEIGHT, "title": title_layout("", caption, theme),
        "margin": MARGIN | {"t": top_margin("", caption) + 8, "b": 88}, "hovermode": "x unified",
        "xaxis": {
            "type": "log", "title": {"text": "C of the probe"}, "tickvals": ticks.tolist(),
            "ticktext": [f"2<sup>{power}</sup>" for power in POWERS[::5]],
        },
        "yaxis": {"title": {"text": "validation accuracy"}} | within_span("accuracy"),
    }  # fmt: skip
    return go.Figure(data=traces, layout=layout)
