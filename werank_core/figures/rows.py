"""Linked rows: one metric each, stacked over one shared x axis, so that one zoom moves all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from werank_core.figures.style import MARGIN, Theme, template, title_layout, top_margin, wrapped
from werank_core.vocabulary import ROWS, MetricKey

ROW_HEIGHT = 138
_MOST_ROWS_HEIGHT = 440
_LEAST_ROW_HEIGHT = 96
ROW_TITLE = 30


def rows_height(num_rows: int) -> int:
    """Pixels of a figure of linked rows without title and legend, for a page to reserve before the data is there.

    More than three rows are drawn lower, so that the whole figure fits a laptop's screen.
    """
    rows = max(num_rows, 1)
    return 108 + rows * max(_LEAST_ROW_HEIGHT, min(ROW_HEIGHT, _MOST_ROWS_HEIGHT // rows))


def rows_frame(title: str, caption: str, num_rows: int, legend: int, theme: Theme) -> dict[str, Any]:
    """Everything around the axes: template, title, height, margins; the legend takes so many pixels, 0 is none."""
    return {
        "template": template(theme),
        "title": title_layout(title, caption, theme),
        "showlegend": legend > 0,
        "height": rows_height(num_rows) + 34 * bool(title) + legend,
        "margin": MARGIN | {"t": top_margin(title, caption) + 26, "b": MARGIN["b"] + legend},
    }


def row_domains(num_rows: int, frame: dict[str, Any]) -> list[tuple[float, float]]:
    """Bottom and top of every row as fractions of the plot area, the first row at the top, with room for row titles."""
    gap = ROW_TITLE / (frame["height"] - frame["margin"]["t"] - frame["margin"]["b"])
    height = (1 - gap * (num_rows - 1)) / num_rows
    tops = [1 - row * (height + gap) for row in range(num_rows)]
    return [(max(top - height, 0.0), min(top, 1.0)) for top in tops]


def row_titles(
    metrics: Sequence[str], domains: Sequence[tuple[float, float]], notes: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The metric and its rows over each row of the figure, the definition on hover. `metrics` are keys.

    `notes`: what follows the name of a metric, such as the ceiling of a rank.
    """
    return [_row_title(key, top, notes or {}) for key, (_, top) in zip(metrics, domains, strict=True)]


def _row_title(text: str, top: float, notes: Mapping[str, str]) -> dict[str, Any]:
    key = MetricKey.parse(text)
    parts = (f"<b>{key.known.axis_title}</b>", ROWS.get(key.split, key.split), notes.get(key.metric))
    return {
        "text": ", ".join(filter(None, parts)),
        "hovertext": wrapped(key.known.tooltip),
        "x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom", "yshift": 2,
        "showarrow": False,
    }  # fmt: skip


def within_span(key: str) -> dict[str, Any]:
    """An axis of this metric that ends where the metric does: no accuracy above 1."""
    ends = dict(zip(("clipmin", "clipmax"), MetricKey.parse(key).known.span, strict=True))
    return {"autorangeoptions": {name: end for name, end in ends.items() if end is not None}}


def axis_number(row: int) -> str:
    """Plotly's suffix of the row's axis: "" for the first, then "2", "3"."""
    return "" if row == 0 else str(row + 1)


def headline(metrics: Sequence[str]) -> str:
    """The metrics' labels as a title, for a figure that has nothing to draw."""
    labels = ", ".join(MetricKey.parse(key).known.label for key in metrics)
    return labels[:1].upper() + labels[1:]
