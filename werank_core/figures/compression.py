"""Accuracy after truncation against the parameters that are kept."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from werank_core.figures.formats import format_strength, format_value
from werank_core.figures.rows import within_span
from werank_core.figures.style import MARGIN, Theme, empty_figure, strength_colors, template, title_layout, top_margin
from werank_core.figures.summaries import distinct

HEIGHT = 420
COLUMNS = ["strength", "tolerance", "kept_parameters", "truncated_accuracy", "n"]


def summarize_compression(arrays: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of kept share and accuracy, per strength and tolerance.

    Args:
        arrays: one row a run, of one second value, whose `values` are `(T, 3)`: tolerance, kept share, accuracy.
    """
    rows = [
        {
            "strength": row.strength,
            "seed": row.seed,
            "tolerance": float(t),
            "kept_parameters": float(k),
            "truncated_accuracy": float(a),
        }
        for row in arrays.itertuples(index=False)
        for t, k, a in np.asarray(row.values, dtype=float)
    ]
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    table = pd.DataFrame(rows, columns=["strength", "seed", *COLUMNS[1:-1]]).dropna()
    seeds = table.groupby(["strength", "tolerance", "seed"]).mean()
    groups = seeds.groupby(["strength", "tolerance"])
    return groups.mean().join(groups.size().rename("n")).reset_index()[COLUMNS]


def plot_compression(summary: pd.DataFrame, *, strength_label: str = "strength", theme: Theme = "light") -> go.Figure:
    """One line a strength through its tolerances: how much accuracy is left at how many parameters."""
    if summary.empty:
        return empty_figure("Compression", "Recorded at the end of a run: nothing has finished yet.", theme, HEIGHT)
    symbol = strength_label.split()[-1]
    colors = strength_colors(distinct(summary["strength"]), theme)
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": f"{symbol} = {format_strength(strength)}",
            "x": rows["kept_parameters"].tolist(), "y": rows["truncated_accuracy"].tolist(),
            "line": {"color": colors[strength], "width": 2}, "marker": {"size": 7},
            "text": [
                f"{symbol} = {format_strength(strength)} keeps {format_value(100 * kept)}%, accuracy "
                f"<b>{format_value(accuracy)}</b><br>tolerance {format_strength(tolerance)}, n = {n}"
                for tolerance, kept, accuracy, n in zip(*(rows[name] for name in COLUMNS[1:]), strict=True)
            ],
            "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False,
        }
        for strength in distinct(summary["strength"])
        for rows in [summary[summary["strength"] == strength].sort_values("kept_parameters")]
    ]  # fmt: skip
    caption = (
        "Every layer is cut to its numerical rank and stored as two factors where that is smaller. One point for every "
        "tolerance, the mean over seeds."
    )
    layout = {
        "template": template(theme), "height": HEIGHT, "title": title_layout("", caption, theme),
        "margin": MARGIN | {"t": top_margin("", caption) + 8, "b": 88, "l": 64}, "hovermode": "closest",
        "xaxis": {"title": {"text": "share of the weights kept"}, "tickformat": ".0%"} | within_span("kept_parameters"),
        "yaxis": {"title": {"text": "test accuracy"}} | within_span("truncated_accuracy"),
    }  # fmt: skip
    return go.Figure(data=traces, layout=layout)
