"""The ceiling of a rank, min(N, D), from what runs have recorded, and where a person reads it."""

import math

import pandas as pd
import pytest

from tests.figures.frames import tidy_frame
from werank_core.figures import plot_rank_accuracy, plot_strength, plot_training, summarize_history, summarize_strength
from werank_core.figures.ceilings import RANKS, SIZES, ceiling_notes, rank_ceilings, within_ceilings
from werank_core.vocabulary import METRICS, metric

METRIC_NAMES = ("effective_rank", "covariance_effective_rank", "accuracy")


def sized(**sizes: float) -> pd.DataFrame:
    """A sweep whose runs measured so many rows of so many dimensions."""
    frame = tidy_frame((*METRIC_NAMES, *sizes))
    given = frame["metric"].map(sizes)
    return frame.assign(value=frame["value"].where(given.isna(), given))


@pytest.mark.parametrize(
    ("rows", "width", "ceiling", "centred"), [(34, 256, 34, 33), (4096, 32, 32, 32), (32, 32, 32, 31), (1, 8, 1, 0)]
)
def test_a_rank_is_at_most_the_smaller_of_rows_and_dimensions(
    rows: int, width: int, ceiling: int, centred: int
) -> None:
    found = rank_ceilings(sized(measured_rows=rows, representation_width=width, embedding_width=7))
    assert found["effective_rank"] == (ceiling, ceiling)
    assert found["covariance_effective_rank"] == found["participation_ratio"] == (centred, centred)
    assert found["embedding_rankme"] == (min(rows, 7),) * 2
    assert set(found) == set(RANKS)


def test_runs_that_differ_give_a_range_and_old_or_broken_ones_do_not_count() -> None:
    frame = sized(measured_rows=34, representation_width=256)
    wide = frame["strength"].eq(0) & frame["metric"].eq("representation_width")
    frame.loc[wide, "value"] = 8
    lost = frame["strength"].eq(1) & frame["metric"].eq("measured_rows")
    frame.loc[lost, "value"] = math.nan
    assert rank_ceilings(frame)["effective_rank"] == (8, 34)
    assert ceiling_notes(frame)["effective_rank"] == "at most 8 to 34"
    assert "embedding_rankme" not in ceiling_notes(frame)
    assert ceiling_notes(tidy_frame()) == {}
    assert ceiling_notes(tidy_frame()[:0]) == ceiling_notes(pd.DataFrame()) == {}


def test_figures_name_the_ceiling_behind_the_rank_and_nowhere_else() -> None:
    frame = sized(measured_rows=34, representation_width=256)
    notes = ceiling_notes(frame)
    strength = plot_strength(summarize_strength(frame, METRIC_NAMES), frame, METRIC_NAMES, notes=notes)
    training = plot_training(summarize_history(frame, METRIC_NAMES), frame, METRIC_NAMES, notes=notes)
    for figure in (strength, training):
        titles = [note["text"] for note in figure.layout.annotations]
        assert "<b>effective rank</b>, at most 34" in titles
        assert "<b>covariance effective rank</b>, at most 33" in titles
        assert "<b>accuracy</b>" in titles
    keys = {"rank_metric": "effective_rank", "accuracy_metric": "accuracy"}
    assert plot_rank_accuracy(frame, **keys).layout.xaxis.title.text == "effective rank, at most 34"
    assert plot_rank_accuracy(tidy_frame(), **keys).layout.xaxis.title.text == "effective rank"


def test_tooltips_say_what_bounds_a_rank() -> None:
    bounded = {name for name, one in METRICS.items() if "at most min(" in one.tooltip}
    assert bounded == {*RANKS, "weight_effective_rank", "weight_stable_rank", "weight_numerical_rank"}
    assert "at most min(rows − 1, dimensions)" in metric("covariance_effective_rank").tooltip
    assert set(SIZES) <= METRICS.keys()


def test_no_interval_of_a_rank_goes_beyond_its_ceiling() -> None:
    """Two seeds far apart: Student's interval reaches 40 where 8 is all there can be."""
    frame = sized(measured_rows=34, representation_width=8)
    frame = frame[frame["seed"] < 2].reset_index(drop=True)
    key = frame["metric"].eq("effective_rank")
    frame.loc[key, "value"] = frame.loc[key, "seed"].mod(2).mul(6.0).add(1.5)
    summary = summarize_strength(frame, ["effective_rank", "measured_rows"])
    assert summary.loc[summary["metric"] == "effective_rank", "high"].max() > 8
    cut = within_ceilings(summary, frame)
    assert cut.loc[cut["metric"] == "effective_rank", "high"].max() == 8
    others = summary["metric"] != "effective_rank"
    pd.testing.assert_frame_equal(cut[others], summary[others])
    assert within_ceilings(summary.iloc[:0], frame).empty
    pd.testing.assert_frame_equal(within_ceilings(summary, frame.iloc[:0]), summary)
