import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from tests.figures.frames import tidy_frame, with_state
from werank_core.figures.strength import plot_layers_strength, plot_sparkline, plot_strength, strength_caption
from werank_core.figures.style import Theme
from werank_core.figures.summaries import distinct_seconds, summarize_strength

METRICS = ["effective_rank", "accuracy"]


def strength_figure(frame: pd.DataFrame, theme: Theme = "light", **options: object) -> go.Figure:
    return plot_strength(
        summarize_strength(frame, METRICS),
        frame,
        METRICS,
        strength_label="strength α",
        theme=theme,
        **options,
    )  # type: ignore[arg-type]


def seeds_of(figure: go.Figure) -> list[go.Scatter]:
    return [t for t in figure.data if t.mode == "markers" and t.hoverinfo == "none"]


def means_of(figure: go.Figure) -> list[go.Scatter]:
    return [t for t in figure.data if t.text is not None]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_seed_is_a_point_that_knows_its_run(theme: Theme) -> None:
    frame = tidy_frame()
    figure = strength_figure(frame, theme)
    points = [tuple(c) for trace in seeds_of(figure) for c in trace.customdata]
    assert len(points) == len(frame) == 40
    assert {(run_id, strength) for run_id, strength, _ in points} == set(
        zip(frame["run_id"], frame["strength"], strict=True)
    )


def test_baseline_lives_on_its_own_strip() -> None:
    figure = strength_figure(tidy_frame())
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis2.ticktext) == ["0"]
    assert figure.layout.xaxis2.domain[1] < figure.layout.xaxis.domain[0]
    on_log_axis = [x for t in figure.data if t.xaxis == "x" for x in t.x]
    assert min(on_log_axis) > 0
    strips = [t for t in figure.data if t.xaxis == "x2"]
    assert {t.yaxis for t in strips} == {"y3", "y4"}
    assert (figure.layout.yaxis3.matches, figure.layout.yaxis4.matches) == ("y", "y2")


def test_ticks_are_powers_and_rows_share_one_axis() -> None:
    figure = strength_figure(tidy_frame(strengths=(0.0, 0.001, 0.03, 1.0)))
    ticks = np.log10(np.array(figure.layout.xaxis.tickvals))
    np.testing.assert_allclose(ticks, np.round(ticks), atol=1e-9)
    assert {t.yaxis for t in figure.data if t.xaxis == "x"} == {"y", "y2"}
    assert (figure.layout.hovermode, figure.layout.hoversubplots) == ("x unified", "axis")


def test_the_band_is_two_quiet_lines_in_the_legend_group_of_its_mean() -> None:
    figure = strength_figure(tidy_frame())
    bands = [t for t in figure.data if t.hoverinfo == "skip"]
    assert len(bands) == 4
    assert [t.fill for t in bands] == [None, "tonexty"] * 2
    assert {t.mode for t in bands} == {"lines"}
    summary = summarize_strength(tidy_frame(), METRICS)
    rows = summary[(summary["metric"] == "effective_rank") & (summary["strength"] > 0)]
    np.testing.assert_allclose(bands[0].y, rows["low"])
    np.testing.assert_allclose(bands[1].y, rows["high"])


def test_one_seed_draws_no_band_and_no_error_bar() -> None:
    figure = strength_figure(tidy_frame(seeds=1))
    assert not [t for t in figure.data if t.fill == "tonexty"]
    assert all(width is None for t in means_of(figure) for width in t.error_y.array)
    assert "no interval" in figure.layout.title.text


def test_a_lone_interval_becomes_an_error_bar() -> None:
    frame = tidy_frame(["accuracy"], strengths=(0.01, 0.1, 1.0))
    frame = frame[(frame["strength"] == 0.1) | (frame["seed"] == 0)]
    figure = plot_strength(summarize_strength(frame), frame, ["accuracy"])
    (mean,) = means_of(figure)
    assert [width is None for width in mean.error_y.array] == [True, False, True]


def test_left_out_runs_are_named_and_marked() -> None:
    frame = with_state(with_state(tidy_frame(), "diverged", 1.0, 0), "running", 0.1, 1)
    figure = strength_figure(frame)
    assert "1 run diverged at α = 1 and is not in the mean." in figure.layout.title.text
    assert "1 run is unfinished at α = 0.1" in figure.layout.title.text
    assert [a.text for a in figure.layout.annotations if a.text.startswith("✕")] == ["✕ 1"]
    assert len([c for t in seeds_of(figure) for c in t.customdata]) == 2 * 19
    hollow = [symbol for t in seeds_of(figure) for symbol in t.marker.symbol if symbol == "circle-open"]
    assert len(hollow) == 2


def test_partial_sweeps_say_how_many_seeds() -> None:
    summary = summarize_strength(tidy_frame(seeds=2), METRICS, expected_seeds=5)
    assert strength_caption(summary) == "Mean and 95% interval over 2 of 5 seeds."


def test_second_values_get_a_line_each_with_one_legend_entry() -> None:
    figure = strength_figure(tidy_frame(seconds=(0.5, 1.0, 2.0)), second_axis_label="depth")
    shown = [t for t in figure.data if t.showlegend]
    assert [t.name for t in shown] == ["0.5", "1", "2"]
    assert len({(t.line.color, t.marker.symbol, t.line.dash) for t in shown}) == 3
    assert figure.layout.legend.title.text == "depth"


def test_choices_on_the_second_axis_are_lines_named_by_their_words() -> None:
    names = {0.5: "one_vs_rest", 1.0: "smaller"}
    frame = tidy_frame(seconds=tuple(names))
    numbers = [t for t in strength_figure(frame).data if t.showlegend]
    words = strength_figure(frame.assign(second_value=frame["second_value"].map(names)), second_axis_label="gram")
    shown = [t for t in words.data if t.showlegend]
    assert [t.name for t in shown] == ["one-vs-rest", "smaller"]
    assert [list(t.y) for t in shown] == [list(t.y) for t in numbers]
    assert len({(t.line.color, t.marker.symbol, t.line.dash) for t in shown}) == 2


def test_a_choice_has_its_place_and_colour_whatever_the_order_of_the_rows() -> None:
    frame = tidy_frame(seconds=(0.5, 1.0))
    frame["second_value"] = frame["second_value"].map({0.5: "smaller", 1.0: "input"})
    looks = [
        {t.name: t.line.color for t in strength_figure(rows).data if t.showlegend} for rows in (frame, frame.iloc[::-1])
    ]
    assert looks[0] == looks[1]
    assert list(looks[0]) == ["input", "smaller"]
    assert distinct_seconds(["smaller", 2, "input", 1.0, math.nan, None]) == [1.0, 2.0, "input", "smaller"]


def test_a_line_without_a_name_stands_in_the_legend_only_against_a_theory() -> None:
    """Two rows, one with two kinds of lines and one with a single one: "measured" would name nothing."""
    frame = tidy_frame(["effective_rank", "accuracy"])
    frame.loc[frame["metric"] == "effective_rank", "series"] = "bound"
    other = frame[frame["metric"] == "effective_rank"].assign(series="distance")
    figure = strength_figure(pd.concat([frame, other], ignore_index=True))
    assert [t.name for t in figure.data if t.showlegend] == ["bound", "distance"]


def test_layers_get_a_line_each() -> None:
    frame = tidy_frame(["weight_effective_rank"], layers=(1, 2, 3))
    figure = plot_layers_strength(summarize_strength(frame), frame, ["weight_effective_rank"])
    assert [t.name for t in figure.data if t.showlegend] == ["layer 1", "layer 2", "layer 3"]


def test_theory_is_drawn_first() -> None:
    theory = pd.DataFrame({"metric": "accuracy", "strength": [0.0, 0.01, 1.0], "value": [1.0, 2.0, 3.0]})
    figure = strength_figure(tidy_frame(), theory=theory)
    assert [t.name for t in figure.data[:2]] == ["closed form", "closed form"]
    assert {len(figure.data[0].x), len(figure.data[1].x)} == {1, 2}
    assert [t.name for t in figure.data if t.showlegend] == ["closed form", "measured"]


def test_picked_strength_is_marked_on_its_axis() -> None:
    for picked, axis in ((0.0, "x2"), (0.1, "x")):
        marks = [s for s in strength_figure(tidy_frame(), picked=picked).layout.shapes if s.line.width == 12]
        assert [(s.xref, s.x0) for s in marks] == [(axis, picked)]


def test_log_metrics_get_log_rows_unless_a_mean_is_zero() -> None:
    frame = tidy_frame(["nc1"])
    assert plot_strength(summarize_strength(frame), frame, ["nc1"]).layout.yaxis.type == "log"
    frame = frame.assign(value=0.0)
    assert plot_strength(summarize_strength(frame), frame, ["nc1"]).layout.yaxis.type == "linear"


@pytest.mark.parametrize("strengths", [(0.0,), (0.1,), (0.1, 1.0), (0.0, 0.1)])
def test_any_set_of_strengths_can_be_drawn(strengths: tuple[float, ...]) -> None:
    figure = strength_figure(tidy_frame(strengths=strengths))
    assert sum(len(t.x) for t in means_of(figure)) == 2 * len(strengths)
    assert all(0 <= edge <= 1 for edge in figure.layout.xaxis.domain)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        tidy_frame().iloc[:0],
        tidy_frame().assign(state="diverged"),
        tidy_frame().assign(value=math.nan),
    ],
)
def test_nothing_to_draw_says_so(frame: pd.DataFrame) -> None:
    figure = strength_figure(frame)
    assert not figure.data
    assert figure.layout.title.text
    assert len(figure.layout.annotations[0].text) > 20
    assert not plot_sparkline(summarize_strength(frame, METRICS), "accuracy").data
    assert not plot_layers_strength(summarize_strength(frame, METRICS), frame, METRICS).data


def test_a_metric_without_values_keeps_its_row_empty() -> None:
    """Its axes have an invisible point: without one Plotly leaves them out, and hangs the x axis on another row."""
    for metric, empty in (("accuracy", {"y", "y3"}), ("effective_rank", {"y2", "y4"})):
        frame = tidy_frame([metric])
        figure = plot_strength(summarize_strength(frame), frame, METRICS)
        assert {t.yaxis for t in figure.data if t.marker.opacity == 0} == empty
        assert {t.yaxis for t in figure.data} == {"y", "y2", "y3", "y4"}
        assert sum("nothing to draw" in note.text for note in figure.layout.annotations) == 1


def test_sparkline_shows_means_in_order() -> None:
    summary = summarize_strength(tidy_frame(), METRICS)
    figure = plot_sparkline(summary, "accuracy")
    np.testing.assert_allclose(figure.data[-1].y, summary[summary["metric"] == "accuracy"]["mean"])
    assert figure.data[-1].text[0].startswith("0: ")


@pytest.mark.parametrize("seconds", [(0.5, 1.0), ("smaller", "input")])
def test_a_miniature_has_a_line_for_every_second_value_in_the_colours_of_the_large_figure(
    seconds: tuple[float | str, ...],
) -> None:
    frame = tidy_frame(seconds=(0.5, 1.0))
    frame["second_value"] = frame["second_value"].map(dict(zip((0.5, 1.0), seconds, strict=True)))
    large = {t.name: (t.line.color, list(t.y)[-1]) for t in strength_figure(frame).data if t.showlegend}
    small = {t.name: (t.line.color, list(t.y)[-1]) for t in plot_sparkline(summarize_strength(frame), METRICS[0]).data}
    assert small == large


def test_axes_keep_to_the_range_of_their_metric() -> None:
    figure = strength_figure(tidy_frame(METRICS, value=lambda *_: 1.0))
    rank, accuracy = figure.layout.yaxis.autorangeoptions, figure.layout.yaxis2.autorangeoptions
    assert (rank.clipmin, rank.clipmax) == (1, None)
    assert (accuracy.clipmin, accuracy.clipmax) == (0, 1)


def test_a_constant_is_said_in_words() -> None:
    frame = tidy_frame(METRICS, value=lambda metric, strength, *_: 1.0 if metric == "accuracy" else 3 + strength)
    titles = [note.text for note in strength_figure(frame).layout.annotations]
    assert titles == ["<b>effective rank</b>", "<b>accuracy</b>, 1.00 everywhere"]


def test_a_row_that_is_undefined_at_strength_0_keeps_its_numbers() -> None:
    """The y numbers stand on the strip's axis, which Plotly leaves out where nothing is drawn on it."""
    frame = tidy_frame()
    undefined = (frame["strength"] == 0) & (frame["metric"] == "accuracy")
    figure = strength_figure(frame.assign(value=frame["value"].mask(undefined)))
    for strip in ("y3", "y4"):
        drawn = [y for t in figure.data if t.yaxis == strip for y in t.y if y is not None and y == y]
        assert drawn, strip
