import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.figures.frames import array_frame, tidy_frame, with_state
from werank_core.figures.spectrum_summaries import effective_rank, numerical_rank, summarize_spectra
from werank_core.figures.summaries import (
    GRID_COLUMNS,
    HISTORY_COLUMNS,
    STRENGTH_COLUMNS,
    summarize_grid,
    summarize_history,
    summarize_strength,
)


def at(summary: pd.DataFrame, **wanted: object) -> pd.Series:
    for column, value in wanted.items():
        summary = summary[summary[column] == value]
    assert len(summary) == 1
    return summary.iloc[0]


def test_mean_and_interval_are_those_of_scipy() -> None:
    frame = tidy_frame()
    summary = summarize_strength(frame, ["accuracy"])
    assert list(summary.columns) == STRENGTH_COLUMNS
    for strength in (0.0, 0.01, 0.1, 1.0):
        values = frame[(frame["metric"] == "accuracy") & (frame["strength"] == strength)]["value"]
        low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
        row = at(summary, strength=strength)
        np.testing.assert_allclose([row["mean"], row["low"], row["high"]], [values.mean(), low, high], rtol=1e-12)
        assert (row["n"], row["n_expected"]) == (5, 5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
@settings(max_examples=12, deadline=None)
def test_interval_for_any_values(values: list[float]) -> None:
    frame = tidy_frame(["loss"], [0.1], len(values), value=lambda m, a, seed, s: values[seed])
    row = summarize_strength(frame).iloc[0]
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    assert row["high"] - row["low"] == pytest.approx(2 * half, abs=1e-9)
    assert row["mean"] == pytest.approx(np.mean(values), abs=1e-9)


def test_only_the_newest_step_of_a_run_counts_and_a_shared_run_counts_once() -> None:
    frame = tidy_frame(steps=(0, 50, 100))
    twice = pd.concat([frame, frame.assign(sweep_id="another")])
    pd.testing.assert_frame_equal(summarize_strength(twice), summarize_strength(frame[frame["step"] == 100]))


@pytest.mark.parametrize(
    ("state", "column"),
    [
        ("diverged", "num_diverged"),
        ("failed", "num_failed"),
        ("running", "num_unfinished"),
        ("cancelled", "num_unfinished"),
    ],
)
def test_what_did_not_finish_is_counted_and_never_averaged(state: str, column: str) -> None:
    whole = tidy_frame(["accuracy"])
    frame = with_state(whole, state, 0.1, 2)
    row = at(summarize_strength(frame), strength=0.1)
    kept = whole[(whole["strength"] == 0.1) & (whole["seed"] != 2)]["value"]
    assert row["mean"] == pytest.approx(kept.mean())
    assert (row["n"], row["n_expected"], row[column]) == (4, 5, 1)
    assert row[["num_diverged", "num_failed", "num_unfinished", "num_undefined"]].sum() == 1


def test_unfinished_runs_enter_when_told_but_diverged_ones_never_do() -> None:
    frame = with_state(with_state(tidy_frame(["accuracy"]), "running", 0.1, 2), "diverged", 0.1, 3)
    row = at(summarize_strength(frame, include_unfinished=True), strength=0.1)
    assert (row["n"], row["num_unfinished"], row["num_diverged"]) == (4, 1, 1)


def test_an_undefined_value_of_a_finished_run_is_counted() -> None:
    frame = tidy_frame(["accuracy"])
    frame.loc[frame["seed"] == 0, "value"] = math.nan
    assert (summarize_strength(frame)[["n", "num_undefined"]] == [4, 1]).all(axis=None)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    summary = summarize_strength(tidy_frame(seeds=1))
    assert summary["mean"].notna().all()
    assert summary[["low", "high"]].isna().all(axis=None)


def test_all_diverged_keeps_its_rows_with_counts() -> None:
    summary = summarize_strength(tidy_frame(["accuracy"]).assign(state="diverged"))
    assert summary["mean"].isna().all()
    assert (summary["n"] == 0).all()
    assert (summary["num_diverged"] == 5).all()


def test_two_runs_of_one_seed_are_one_observation() -> None:
    frame = tidy_frame(["loss"])
    again = frame.assign(run_id=frame["run_id"] + "-again", value=frame["value"] + 2)
    summary, plain = summarize_strength(pd.concat([frame, again])), summarize_strength(frame)
    np.testing.assert_allclose(summary["mean"], plain["mean"] + 1)
    np.testing.assert_allclose(summary["high"] - summary["low"], plain["high"] - plain["low"])
    assert (summary["n"] == 5).all()


def test_metric_order_and_split_keys() -> None:
    frame = tidy_frame(["loss", "accuracy"], splits=("test", "train"))
    summary = summarize_strength(frame, ["train/loss", "accuracy"])
    assert list(dict.fromkeys(zip(summary["metric"], summary["split"], strict=True))) == [
        ("loss", "train"), ("accuracy", "test"), ("accuracy", "train"),
    ]  # fmt: skip


def test_layers_and_second_values_are_groups() -> None:
    summary = summarize_strength(tidy_frame(["loss"], layers=(1, 2), seconds=(0.5, 1.0)))
    assert len(summary) == 2 * 2 * 4
    gap = (
        at(summary, layer=2, second_value=0.5, strength=0.1)["mean"]
        - at(summary, layer=1, second_value=0.5, strength=0.1)["mean"]
    )
    assert gap == pytest.approx(1)


@pytest.mark.parametrize("frame", [pd.DataFrame(), tidy_frame().iloc[:0]])
def test_empty_frames_give_empty_summaries(frame: pd.DataFrame) -> None:
    assert list(summarize_strength(frame, ["accuracy"]).columns) == STRENGTH_COLUMNS
    assert list(summarize_history(frame).columns) == HISTORY_COLUMNS
    assert list(summarize_grid(frame, "accuracy").columns) == GRID_COLUMNS
    assert summarize_spectra(frame).empty


def test_history_has_one_row_per_step() -> None:
    frame = tidy_frame(["loss"], steps=(0, 50, 100))
    history = summarize_history(frame)
    assert history.groupby("strength")["step"].apply(list).tolist() == [[0, 50, 100]] * 4
    values = frame[(frame["step"] == 50) & (frame["strength"] == 0.1)]["value"]
    assert at(history, step=50, strength=0.1)["mean"] == pytest.approx(values.mean())


def test_grid_cells() -> None:
    frame = tidy_frame(["accuracy"], seconds=(0.5, 1.0))
    grid = summarize_grid(frame, "accuracy")
    assert len(grid) == 8
    plain = summarize_strength(frame, ["accuracy"])
    np.testing.assert_allclose(grid["high"] - grid["mean"], plain["high"] - plain["mean"])


def test_spectra_are_means_over_seeds_with_the_rank_of_the_mean() -> None:
    arrays = array_frame()
    summary = summarize_spectra(arrays)
    picked = arrays[(arrays["strength"] == 0.1) & (arrays["step"] == 100) & (arrays["layer"] == 2)]
    stacked = np.stack(picked["values"].tolist()).astype(float)
    rows = summary[(summary["strength"] == 0.1) & (summary["step"] == 100) & (summary["layer"] == 2)]
    np.testing.assert_allclose(rows["mean"], stacked.mean(axis=0))
    half = stats.t.ppf(0.975, 2) * stats.sem(stacked, axis=0)
    np.testing.assert_allclose(rows["high"] - rows["mean"], half)
    assert rows["index"].tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(rows["effective_rank"], np.exp(stats.entropy(stacked.mean(axis=0))))


def test_spectra_with_infinite_values_are_left_out_and_counted() -> None:
    arrays = array_frame(seeds=3, steps=(0,), layers=(1,))
    arrays.at[0, "values"] = np.full(6, np.inf, dtype="float32")
    summary = summarize_spectra(arrays)
    assert summary[summary["strength"] == 0.0][["n", "num_undefined"]].drop_duplicates().values.tolist() == [[2, 1]]
    assert np.isfinite(summary["mean"]).all()


def test_numerical_rank_follows_its_tolerance() -> None:
    assert numerical_rank([1.0, 0.1, 0.02, 0.001]) == 3
    assert numerical_rank([1.0, 0.1, 0.02, 0.001], 0.05) == 2
    assert numerical_rank([0.0, 0.0]) == 0


@given(st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=20))
def test_effective_rank_against_scipy(values: list[float]) -> None:
    if sum(values) == 0:
        assert math.isnan(effective_rank(values))
    else:
        assert effective_rank(values) == pytest.approx(float(np.exp(stats.entropy(values))), rel=1e-9)


def test_effective_rank_of_known_spectra() -> None:
    np.testing.assert_allclose(effective_rank([[1.0, 1, 1, 1], [5, 0, 0, 0]]), [4, 1])


def test_intervals_end_where_their_metric_does() -> None:
    frame = tidy_frame(
        ["accuracy", "effective_rank"], strengths=(0.0,), seeds=3, value=lambda m, a, seed, t: 1 - 0.1 * (seed == 0)
    )
    summary = summarize_strength(frame, ["accuracy", "effective_rank"]).set_index("metric")
    assert summary.loc["accuracy", "high"] == 1, "no accuracy above 1"
    assert summary.loc["accuracy", "low"] < 0.9
    assert summary.loc["effective_rank", "low"] == 1, "no rank below 1"
    assert summary.loc["effective_rank", "high"] > 1
