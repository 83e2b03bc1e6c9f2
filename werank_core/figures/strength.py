"""Metrics against strength: linked rows with mean, 95% band, every seed, and strength 0 on its own strip."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from werank_core.figures.formats import format_second, format_strength, format_value
from werank_core.figures.rows import headline, row_domains, row_titles, rows_frame, rows_height
from werank_core.figures.strength_axis import StrengthAxis
from werank_core.figures.strength_series import Series, row_series, scale_layout, series_traces, theory_traces
from werank_core.figures.style import (
    BAND_OPACITY,
    PALETTES,
    Theme,
    empty_figure,
    listed_legend,
    template,
    translucent,
)
from werank_core.figures.summaries import distinct, distinct_seconds, select_metrics
from werank_core.vocabulary import MetricKey, RunState

NOTHING_YET = "Nothing to draw yet: run a sweep, or choose one that has finished runs."
IN_TRAINING = "In training: the curves appear when the first runs finish."
_INVISIBLE = {"mode": "markers", "marker": {"opacity": 0}, "hoverinfo": "skip", "showlegend": False}
_ACTIVE = (RunState.QUEUED, RunState.RUNNING)
_LEFT_OUT = {
    "num_diverged": "diverged",
    "num_failed": "failed",
    "num_unfinished": "unfinished",
    "num_undefined": "undefined",
}


def plot_strength(
    summary: pd.DataFrame,
    points: pd.DataFrame,
    metrics: Sequence[str],
    *,
    strength_label: str = "strength",
    theme: Theme = "light",
    second_axis_label: str | None = None,
    theory: pd.DataFrame | None = None,
    picked: float | None = None,
    notes: Mapping[str, str] | None = None,
    title: str = "",
) -> go.Figure:
    """One row per metric over a shared strength axis; in it one line per second value, series, split and layer.

    A point carries `customdata` [run_id, strength, second_value]; on a mean the run id is "". A unified hover
    box shows mean, interval and n of every row. A hollow mean has fewer seeds than expected, a hollow point
    is a run that has not finished.

    Args:
        summary: of `summarize_strength`.
        points: the tidy frame it was made of.
        metrics: keys ("split/metric"), one row each, the first at the top.
        strength_label: of the axis, such as "strength α".
        second_axis_label: what the legend calls the second values.
        theory: closed forms drawn behind, [metric, strength, value] and optionally `label`.
        picked: a strength to mark across all rows, such as the last one clicked.
        notes: what follows a metric's name over its row, such as `ceilings.ceiling_notes`.
        title: over the figure; the page's own heading usually stands for it.
    """
    chosen = select_metrics(summary, metrics)
    if chosen.empty or chosen["mean"].isna().all():
        active = len(points) > 0 and bool(points["state"].isin(_ACTIVE).any())
        return _nothing_to_draw(chosen, metrics, strength_label, theme, title, active)
    caption = "\n".join([strength_caption(chosen, strength_label), *lengths_sentence(points)])
    lines = [line for row, key in enumerate(metrics) for line in row_series(chosen, points, key, row, theme)]
    names = list(dict.fromkeys(line.name for line in lines))
    placed, legend_height = listed_legend(names)
    has_legend = len(names) > 1 or theory is not None
    frame = rows_frame(title, caption, len(metrics), legend_height * has_legend, theme)
    domains = tuple(row_domains(len(metrics), frame))
    scales = tuple(scale_layout(chosen, key) for key in metrics)
    axis = StrengthAxis(tuple(distinct(chosen["strength"])), domains, scales)
    layout = frame | axis.layout(strength_label, theme) | {"hovermode": "x unified", "hoversubplots": "axis"}
    layout["shapes"] = [*layout["shapes"], *_baseline_lines(lines, axis, theme), *_picked_mark(picked, axis, theme)]
    titles = row_titles(metrics, domains, _with_constants(notes or {}, chosen, metrics))
    drawn = {line.row for line in lines if line.summary["mean"].notna().any()}
    empty = [row for row in range(len(metrics)) if row not in drawn]
    layout["annotations"] = [*titles, *_left_out_marks(chosen, axis, theme), *_empty_notes(empty, axis, theme)]
    layout["legend"] = {"title": {"text": second_axis_label or ""}} | placed
    behind = list(theory_traces(theory, metrics, axis, theme))
    measured = _measured_traces(lines, axis, unnamed=bool(behind))
    return go.Figure(data=[*behind, *_held_axes(empty, axis), *measured], layout=layout)


def plot_layers_strength(
    summary: pd.DataFrame,
    points: pd.DataFrame,
    metrics: Sequence[str],
    *,
    strength_label: str = "strength",
    theme: Theme = "light",
    theory: pd.DataFrame | None = None,
    title: str = "",
) -> go.Figure:
    """As `plot_strength` for per-layer metrics: one line per layer, coloured from the first to the last."""
    kept = [frame[frame["layer"] > 0] if len(frame) else frame for frame in (summary, points)]
    return plot_strength(
        kept[0], kept[1], metrics, strength_label=strength_label, theme=theme, theory=theory, title=title
    )


def _with_constants(notes: Mapping[str, str], summary: pd.DataFrame, metrics: Sequence[str]) -> dict[str, str]:
    """The notes beside the names of metrics, and in words where one is the same at every strength."""
    told = dict(notes)
    for key in metrics:
        means = select_metrics(summary, [key])["mean"].dropna()
        texts = {format_value(mean) for mean in means}
        if len(means) > 1 and len(texts) == 1:
            name = MetricKey.parse(key).metric
            told[name] = ", ".join(filter(None, [told.get(name), f"{texts.pop()} everywhere"]))
    return told


def strength_caption(summary: pd.DataFrame, strength_label: str = "strength") -> str:
    """How many seeds the figure shows, and a line for each kind of run that it leaves out."""
    if summary.empty:
        return ""
    low, high, expected = int(summary["n"].min()), int(summary["n"].max()), int(summary["n_expected"].max())
    seeds = f"{high} of {expected} seeds" if high < expected else f"{expected} seed{'s' * (expected != 1)}"
    fewer = f" ({low or 'none'} at some strengths)" if low < high else ""
    shown = f"Mean and 95% interval over {seeds}{fewer}." if high > 1 else f"{seeds}: one seed has no interval."
    return "\n".join([shown, *left_out_sentences(summary, strength_label)])


def left_out_sentences(summary: pd.DataFrame, strength_label: str = "strength") -> Iterator[str]:
    """One sentence for each kind of run that is not in the mean, with its strengths."""
    for column, word in _LEFT_OUT.items():
        counts = _left_out(summary, column)
        if len(counts):
            where = ", ".join(map(format_strength, counts.index))
            several = int(counts.sum()) != 1
            subject = ("value" if column == "num_undefined" else "run") + "s" * several
            are = "are" if several else "is"
            verb = f"{are} " * (word in ("undefined", "unfinished"))
            place = f"{strength_label.split()[-1]} = {where}"
            yield f"{counts.sum()} {subject} {verb}{word} at {place} and {are} not in the mean."


def lengths_sentence(points: pd.DataFrame) -> Iterator[str]:
    """A warning where finished runs were trained for different numbers of steps; nothing where they agree."""
    if points.empty:
        return
    finished = points[points["state"] == RunState.FINISHED]
    steps = finished.groupby("run_id")["step"].max()
    if steps.nunique() > 1:
        yield f"Runs differ in length: {steps.min():,} to {steps.max():,} steps."


def _left_out(summary: pd.DataFrame, column: str) -> pd.Series:
    """Runs left out per strength; a run is counted once, however many metrics it has."""
    if summary.empty:
        return pd.Series(dtype=int)
    counts = summary.groupby(["strength", "second_value"], dropna=False)[column].max().groupby("strength").sum()
    return counts[counts > 0].astype(int)


def _nothing_to_draw(
    chosen: pd.DataFrame, metrics: Sequence[str], strength_label: str, theme: Theme, title: str, active: bool
) -> go.Figure:
    sentence = IN_TRAINING if active else " ".join(left_out_sentences(chosen, strength_label)) or NOTHING_YET
    return empty_figure(title or headline(metrics), sentence, theme, rows_height(len(metrics)))


def _measured_traces(lines: Sequence[Series], axis: StrengthAxis, unnamed: bool) -> Iterator[dict[str, Any]]:
    """The lines, each name once in the legend; one without a name only where it stands against a theory."""
    seen: set[str] = set() if unnamed else {""}
    if axis.has_baseline and axis.positive:
        yield from _undefined_baselines(lines, axis)
    for line in lines:
        yield from series_traces(line, axis, legend=line.name not in seen)
        seen.add(line.name)


def _held_axes(empty: Sequence[int], axis: StrengthAxis) -> Iterator[dict[str, Any]]:
    """An invisible point in rows without a mean: Plotly leaves out axes without points, and what hangs on them."""
    for row in empty:
        for baseline in [*[False] * bool(axis.positive), *[True] * axis.has_baseline]:
            yield axis.place(row, baseline) | _INVISIBLE | {"x": [0 if baseline else axis.positive[0]], "y": [0.5]}


def _empty_notes(empty: Sequence[int], axis: StrengthAxis, theme: Theme) -> Iterator[dict[str, Any]]:
    for row in empty:
        low, high = axis.domains[row]
        yield {
            "text": "nothing to draw: undefined, or not recorded", "x": 0.5, "xref": "paper", "y": (low + high) / 2,
            "yref": "paper", "showarrow": False, "font": {"color": PALETTES[theme].muted},
        }  # fmt: skip


def _undefined_baselines(lines: Sequence[Series], axis: StrengthAxis) -> Iterator[dict[str, Any]]:
    """An invisible point on the strip of rows that are undefined at strength 0: the strip carries the row's numbers."""
    for row in dict.fromkeys(line.row for line in lines):
        means = pd.concat([line.summary for line in lines if line.row == row]).dropna(subset="mean")
        if len(means) and not (means["strength"] == 0).any():
            yield axis.place(row, baseline=True) | _INVISIBLE | {"x": [0], "y": [means["mean"].iloc[0]]}


def _baseline_lines(lines: Sequence[Series], axis: StrengthAxis, theme: Theme) -> Iterator[dict[str, Any]]:
    """The mean at strength 0 as a dotted line across its row, where the row has one line only."""
    rows = [line.row for line in lines]
    for line in lines:
        at_zero = line.summary.loc[line.summary["strength"] == 0, "mean"].dropna()
        if rows.count(line.row) == 1 and len(at_zero):
            y = axis.place(line.row, baseline=True)["yaxis"]
            yield {
                "type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": y, "y0": at_zero.iloc[0],
                "y1": at_zero.iloc[0],
                "line": {"color": PALETTES[theme].muted, "width": 1, "dash": "dot"}, "layer": "below",
            }  # fmt: skip


def _picked_mark(picked: float | None, axis: StrengthAxis, theme: Theme) -> Iterator[dict[str, Any]]:
    if picked in axis.strengths:
        place = axis.place(0, baseline=picked == 0)
        yield {
            "type": "line", "xref": place["xaxis"], "x0": picked, "x1": picked, "yref": "paper", "y0": 0,
            "y1": 1, "layer": "below",
            "line": {"color": translucent(PALETTES[theme].series[0], 0.25), "width": 12},
        }  # fmt: skip


def _left_out_marks(chosen: pd.DataFrame, axis: StrengthAxis, theme: Theme) -> Iterator[dict[str, Any]]:
    """A cross with the number of diverged and failed runs at the foot of the figure, at their strength."""
    bottom = axis.num_rows - 1
    counts = _left_out(chosen, "num_diverged").add(_left_out(chosen, "num_failed"), fill_value=0).astype(int)
    for strength, count in zip(counts.index.astype(float), counts, strict=True):
        place = axis.place(bottom, baseline=strength == 0)
        yield {
            "text": f"✕ {count}",
            "hovertext": f"{count} diverged or failed at {format_strength(strength)}: not in the mean",
            "x": math.log10(strength) if strength > 0 else 0, "xref": place["xaxis"], "y": 0,
            "yref": place["yaxis"] + " domain", "yanchor": "bottom", "showarrow": False,
            "font": {"size": 11, "color": PALETTES[theme].muted},
        }  # fmt: skip


def plot_sparkline(summary: pd.DataFrame, metric_key: str, theme: Theme = "light", height: int = 72) -> go.Figure:
    """A miniature for a card: one metric against the rank of the strength, with band and baseline.

    With a second axis there is a line for each of its values, in the colours of the large figure, without bands.
    """
    bare = {"visible": False, "fixedrange": True}
    layout = {
        "template": template(theme), "height": height, "margin": {"l": 2, "r": 2, "t": 4, "b": 4},
        "showlegend": False,
        "xaxis": bare, "yaxis": bare, "hovermode": "x", "title": {"text": ""},
    }  # fmt: skip
    rows = select_metrics(summary, [metric_key])
    if rows.empty or rows["mean"].isna().all():
        return go.Figure(layout=layout)
    strengths, seconds = distinct(rows["strength"]), distinct_seconds(rows["second_value"])
    lines = {format_second(second): rows[rows["second_value"] == second] for second in seconds} or {"": rows}
    traces: list[dict[str, Any]] = []
    for place, (name, line) in enumerate(lines.items()):
        first = line.drop_duplicates("strength").dropna(subset="mean").sort_values("strength")
        color = PALETTES[theme].series[place % len(PALETTES[theme].series)]
        if len(first):
            traces += _sparkline_traces(first, strengths, color, name, theme)
    return go.Figure(data=traces, layout=layout)


def _sparkline_traces(
    rows: pd.DataFrame, strengths: Sequence[float], color: str, name: str, theme: Theme
) -> Iterator[dict[str, Any]]:
    """Baseline and band where this is the only line, and its means."""
    places = [strengths.index(strength) for strength in rows["strength"]]
    if not name:
        yield from _sparkline_ground(rows, places, color, theme)
    texts = [f"{format_strength(s)}: {format_value(m)}" for s, m in zip(rows["strength"], rows["mean"], strict=True)]
    yield {
        "mode": "lines+markers", "x": places, "y": rows["mean"].tolist(), "name": name,
        "text": [f"{name}, {text}" if name else text for text in texts],
        "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False,
        "line": {"color": color, "width": 2}, "marker": {"size": 4},
    }  # fmt: skip


def _sparkline_ground(rows: pd.DataFrame, places: list[int], color: str, theme: Theme) -> Iterator[dict[str, Any]]:
    quiet = {"mode": "lines", "hoverinfo": "skip", "x": places}
    band = rows["low"].fillna(rows["mean"]), rows["high"].fillna(rows["mean"])
    if rows["strength"].iloc[0] == 0:
        reference = {"color": PALETTES[theme].line, "width": 1, "dash": "dot"}
        yield quiet | {"y": [rows["mean"].iloc[0]] * len(rows), "line": reference}
    yield quiet | {"y": band[0].tolist(), "line": {"width": 0}}
    fill = {"fill": "tonexty", "fillcolor": translucent(color, BAND_OPACITY)}
    yield quiet | fill | {"y": band[1].tolist(), "line": {"width": 0}}
