import math

import numpy as np
import pandas as pd
import pytest

from tests.figures.frames import tidy_frame, with_state
from werank_core.figures import curves
from werank_core.figures.curves import plot_training
from werank_core.figures.summaries import summarize_history

STEPS = (0, 50, 100)


def history(**options: object) -> pd.DataFrame:
    return tidy_frame(["loss", "accuracy"], steps=STEPS, **options)  # type: ignore[arg-type]


def training(frame: pd.DataFrame, **options: object):  # type: ignore[no-untyped-def]
    metrics = ["loss", "accuracy"]
    return plot_training(summarize_history(frame, metrics), frame, metrics, strength_label="strength α", **options)  # type: ignore[arg-type]


def test_all_seeds_of_a_strength_are_one_trace_with_gaps() -> None:
    figure = training(history())
    faint = [t for t in figure.data if t.opacity == 0.28]
    assert len(faint) == 2 * 4
    assert all(t.x.count(None) == t.y.count(None) == 4 for t in faint)
    assert all(len(t.x) == 5 * 3 + 4 for t in faint)


def test_means_are_bold_and_carry_the_summary() -> None:
    frame = history()
    figure = training(frame)
    bold = [t for t in figure.data if t.text is not None]
    assert len(bold) == 2 * 4
    rows = frame[(frame["metric"] == "loss") & (frame["strength"] == 0.0)].groupby("step")["value"].mean()
    np.testing.assert_allclose(bold[0].y, rows)
    assert bold[0].line.width > 2


def test_a_strength_has_one_colour_and_one_legend_entry() -> None:
    figure = training(history())
    shown = [t for t in figure.data if t.showlegend]
    assert [t.name for t in shown] == ["0", "0.01", "0.1", "1"]
    for entry in shown:
        assert {t.line.color for t in figure.data if t.legendgroup == entry.legendgroup} == {entry.line.color}


def test_rows_share_one_step_axis() -> None:
    figure = training(history())
    assert {t.xaxis for t in figure.data} == {"x"}
    assert figure.layout.yaxis.domain[0] > figure.layout.yaxis2.domain[1]


def test_a_diverged_run_ends_in_a_cross_and_is_counted() -> None:
    frame = with_state(history(), "diverged", 1.0, 2)
    gone = (frame["strength"] == 1.0) & (frame["seed"] == 2) & (frame["step"] == 100)
    frame = frame.assign(value=frame["value"].mask(gone, math.inf))
    figure = training(frame)
    crosses = [t for t in figure.data if t.marker.symbol == "x"]
    assert [list(t.x) for t in crosses] == [[50], [50]]
    assert "1 run diverged" in figure.layout.title.text


def test_dashes_tell_splits_apart_and_the_caption_says_which() -> None:
    figure = training(history(splits=("test", "train")))
    assert {t.line.dash for t in figure.data if t.text is not None} == {"solid", "dash"}
    assert "solid = test, dash = train" in figure.layout.title.text.replace("<br>", " ")


def test_many_points_go_to_webgl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "SVG_POINTS", 10)
    assert {t.type for t in training(history()).data if t.opacity == 0.28} == {"scattergl"}


def test_one_layer_of_a_per_layer_metric() -> None:
    frame = tidy_frame(["weight_effective_rank"], steps=STEPS, layers=(1, 2))
    summary = summarize_history(frame)
    figure = plot_training(summary, frame, ["weight_effective_rank"], layer=2)
    bold = [t for t in figure.data if t.text is not None]
    wanted = summary[(summary["layer"] == 2) & (summary["strength"] == 0.0)]["mean"]
    np.testing.assert_allclose(bold[0].y, wanted)
    assert len(bold) == 4


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame(), history().iloc[:0], history().assign(value=math.nan)],
)
def test_nothing_to_draw_says_so(frame: pd.DataFrame) -> None:
    figure = training(frame)
    assert not figure.data
    assert figure.layout.annotations[0].text


@pytest.mark.parametrize("state", ["running", "diverged"])
def test_without_a_finished_run_the_seeds_are_drawn_alone(state: str) -> None:
    figure = training(history(seeds=1).assign(state=state))
    assert [t for t in figure.data if t.opacity == 0.28]
    assert not [t for t in figure.data if t.text is not None]
