"""Pictures of an embedding: two-dimensional points coloured by class, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from werank_core.figures.rows import axis_number
from werank_core.figures.style import (
    MARGIN,
    SYMBOLS,
    Theme,
    empty_figure,
    label_color,
    template,
    title_layout,
    top_margin,
)

HEIGHT = 440
NO_PICTURE = "No picture yet: it is stored at the end of a run that records its embedding."
_GAP = 0.04


@dataclass(frozen=True)
class Picture:
    """Points of one embedding, `points` (N, 2) and `labels` (N,), and what it shows, such as "α = 0.1, seed
    0".
    """

    name: str
    points: ArrayLike
    labels: ArrayLike


def plot_embeddings(
    pictures: Sequence[Picture],
    *,
    theme: Theme = "light",
    class_names: Sequence[str] | None = None,
    caption: str = "",
    title: str = "",
) -> go.Figure:
    """The pictures side by side, by WebGL, one colour per class in all of them; axes have equal units and no numbers.

    A class is shown and hidden in every picture at once by its legend entry. Points that are not finite are
    left out.
    """
    arrays = [(picture.name, *_finite(picture)) for picture in pictures]
    arrays = [entry for entry in arrays if len(entry[1])]
    if not arrays:
        return empty_figure(title or "Embedding", NO_PICTURE, theme, HEIGHT)
    classes = sorted({int(label) for _, _, labels in arrays for label in np.unique(labels)})
    layout: dict[str, Any] = {
        "template": template(theme), "title": title_layout(title, caption, theme),
        "height": HEIGHT + 34 * bool(title),
        "margin": MARGIN | {"t": top_margin(title, caption) + 26, "l": 12, "r": 12, "b": 44},
        "hovermode": "closest",
        "showlegend": True, "legend": {"title": {"text": "class"}, "itemsizing": "constant"},
        "annotations": [],
    }  # fmt: skip
    width = (1 - _GAP * (len(arrays) - 1)) / len(arrays)
    for place, (name, _, _) in enumerate(arrays):
        start = place * (width + _GAP)
        layout |= _blank_axes(place, (start, min(start + width, 1.0)))
        layout["annotations"].append(_heading(name, start))
    names = {label: class_names[label] if class_names and label < len(class_names) else str(label) for label in classes}
    traces = [trace for place, entry in enumerate(arrays) for trace in _class_traces(place, entry[1], entry[2], names)]
    return go.Figure(data=traces, layout=layout)


def _finite(picture: Picture) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    points = np.asarray(picture.points, dtype=float).reshape(-1, 2)
    labels = np.asarray(picture.labels).astype(np.int64)
    kept = np.isfinite(points).all(axis=1)
    return points[kept], labels[kept]


def _class_traces(
    place: int, points: NDArray[np.float64], labels: NDArray[np.int64], names: dict[int, str]
) -> Iterator[dict[str, Any]]:
    for position, (label, name) in enumerate(names.items()):
        mine = points[labels == label]
        yield {
            "type": "scattergl", "mode": "markers", "x": mine[:, 0].tolist(), "y": mine[:, 1].tolist(),
            "name": name,
            "legendgroup": name, "showlegend": place == 0, "xaxis": "x" + axis_number(place),
            "yaxis": "y" + axis_number(place),
            "marker": {
                "size": 5, "opacity": 0.75, "color": label_color(position),
                "symbol": SYMBOLS[position // 10 % len(SYMBOLS)],
            },
            "hovertemplate": f"class {name}<extra></extra>",
        }  # fmt: skip


def _blank_axes(place: int, domain: tuple[float, float]) -> dict[str, Any]:
    number = axis_number(place)
    blank = {"showgrid": False, "showticklabels": False, "ticks": "", "showline": True, "mirror": True}
    return {
        f"xaxis{number}": blank | {"domain": domain, "anchor": "y" + number},
        f"yaxis{number}": blank | {"anchor": "x" + number, "scaleanchor": "x" + number},
    }


def _heading(name: str, start: float) -> dict[str, Any]:
    return {
        "text": f"<b>{name}</b>", "x": start, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False, "yshift": 2,
    }  # fmt: skip
