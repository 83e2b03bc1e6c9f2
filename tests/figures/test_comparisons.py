import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.figures.frames import tidy_frame, with_state
from werank_core.figures.comparisons import (
    compare_by_seed,
    holm,
    paired_difference,
    spearman_by_seed,
    strength_differences,
    values_by_seed,
    welch_difference,
)


def test_paired_difference_is_scipys_paired_t_test() -> None:
    frame = tidy_frame(["accuracy"])
    found = paired_difference(frame, "accuracy", 0.0, 0.1)
    a, b = (frame[frame["strength"] == s].sort_values("seed")["value"].to_numpy() for s in (0.0, 0.1))
    test = stats.ttest_rel(b, a)
    interval = test.confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high, found.p_value], [interval.low, interval.high, test.pvalue])
    assert found.difference == pytest.approx((b - a).mean())
    assert found.effect_size == pytest.approx((b - a).mean() / (b - a).std(ddof=1))
    assert (found.n, found.paired) == (5, True)


def test_only_seeds_on_both_sides_are_paired() -> None:
    frame = with_state(tidy_frame(["accuracy"]), "diverged", 0.1, 4)
    found = paired_difference(frame, "accuracy", 0.0, 0.1)
    assert (found.n, found.n_a, found.n_b) == (4, 5, 4)


def test_disjoint_seeds_fall_back_to_welch() -> None:
    rng = np.random.default_rng(0)
    a, b = pd.Series(rng.normal(size=6)), pd.Series(rng.normal(1, 3, size=9), index=range(10, 19))
    found = compare_by_seed(a, b)
    test = stats.ttest_ind(b, a, equal_var=False)
    interval = test.confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high, found.p_value], [interval.low, interval.high, test.pvalue])
    assert (found.paired, found.n, found.n_a, found.n_b) == (False, 15, 6, 9)
    pooled = math.sqrt((5 * a.var() + 8 * b.var()) / 13)
    assert found.effect_size == pytest.approx((b.mean() - a.mean()) / pooled)


def test_one_pair_has_a_difference_only() -> None:
    found = compare_by_seed(pd.Series([1.0]), pd.Series([3.0]))
    assert (found.difference, found.n) == (2.0, 1)
    assert all(map(math.isnan, (found.low, found.high, found.effect_size, found.p_value)))


def test_nothing_to_compare_is_nan_everywhere() -> None:
    found = paired_difference(pd.DataFrame(), "accuracy", 0.0, 0.1)
    assert found.n == 0
    assert all(map(math.isnan, (found.difference, found.low, found.high, found.p_value)))
    lonely = welch_difference(np.array([1.0, 2.0]), np.array([5.0]))
    assert lonely.difference == 3.5
    assert math.isnan(lonely.low)


def test_equal_differences_have_no_spread() -> None:
    found = compare_by_seed(pd.Series([1.0, 2.0]), pd.Series([2.0, 3.0]))
    assert (found.effect_size, found.p_value, found.low, found.high) == (math.inf, 0.0, 1.0, 1.0)
    same = compare_by_seed(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0]))
    assert (same.effect_size, same.p_value) == (0.0, 1.0)


def test_values_by_seed_filters() -> None:
    frame = tidy_frame(["weight_effective_rank"], layers=(1, 2), seconds=(0.5, 1.0))
    values = values_by_seed(frame, "weight_effective_rank", strength=0.1, second_value=1.0, layer=2)
    words = frame.assign(second_value=frame["second_value"].map(str))
    same = values_by_seed(words, "weight_effective_rank", strength=0.1, second_value="1.0", layer=2)
    pd.testing.assert_series_equal(same, values)
    rows = frame[(frame["strength"] == 0.1) & (frame["second_value"] == 1.0) & (frame["layer"] == 2)]
    np.testing.assert_allclose(values, rows.sort_values("seed")["value"])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_testing_procedure(p_values: list[float]) -> None:
    m = len(p_values)
    ranked = sorted(range(m), key=lambda i: p_values[i])
    expected, so_far = [0.0] * m, 0.0
    for place, i in enumerate(ranked):
        so_far = max(so_far, (m - place) * p_values[i])
        expected[i] = min(1.0, so_far)
    np.testing.assert_allclose(holm(p_values), expected)


def test_holm_ignores_missing_tests() -> None:
    np.testing.assert_allclose(holm([0.01, math.nan, 0.04]), [0.02, math.nan, 0.04])
    assert holm([]).size == 0


def test_strength_differences_correct_within_a_metric() -> None:
    table = strength_differences(tidy_frame(), ["effective_rank", "accuracy"])
    assert table["strength"].tolist() == [0.01, 0.1, 1.0] * 2
    for _, group in table.groupby("metric"):
        np.testing.assert_allclose(group["p_holm"], holm(group["p_value"]))
    single = paired_difference(tidy_frame(), "accuracy", 0.0, 0.1)
    row = table[(table["metric"] == "accuracy") & (table["strength"] == 0.1)].iloc[0]
    assert row["difference"] == pytest.approx(single.difference)


def test_strength_differences_without_a_baseline_or_without_rows() -> None:
    assert strength_differences(pd.DataFrame(), ["accuracy"]).empty
    table = strength_differences(tidy_frame(strengths=(0.1, 1.0)), ["accuracy"])
    assert table["difference"].isna().all()


def related(rho_of_seed: Callable[[int], float], seeds: int = 5, runs: int = 40) -> pd.DataFrame:
    """Pairs with a given correlation inside each seed and a different level of both numbers between seeds."""
    parts = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x, noise, rho = rng.normal(size=runs), rng.normal(size=runs), rho_of_seed(seed)
        y = rho * x + math.sqrt(1 - rho**2) * noise
        parts.append(pd.DataFrame({"seed": seed, "second_value": np.nan, "x": x + 10 * seed, "y": y - 10 * seed}))
    return pd.concat(parts, ignore_index=True)


def test_rank_correlation_is_taken_inside_each_seed_and_averaged() -> None:
    frame = related(lambda seed: 0.9)
    found = spearman_by_seed(frame, "x", "y")
    each = [stats.spearmanr(rows["x"], rows["y"]).statistic for _, rows in frame.groupby("seed")]
    interval = stats.t.interval(0.95, 4, np.mean(each), stats.sem(each))
    assert (found.rho, found.low, found.high) == pytest.approx((np.mean(each), *interval))
    assert (found.n, found.num_runs) == (5, 200)
    assert stats.spearmanr(frame["x"], frame["y"]).statistic < -0.8, "all runs together would say the opposite"


def test_two_second_values_of_a_seed_are_no_two_seeds() -> None:
    frame = related(lambda seed: 0.5)
    both = pd.concat([frame.assign(second_value=value) for value in (0.25, 1.0)], ignore_index=True)
    assert spearman_by_seed(both, "x", "y").n == 5
    assert spearman_by_seed(both, "x", "y").low == pytest.approx(spearman_by_seed(frame, "x", "y").low)


def test_a_rank_correlation_that_cannot_be_had_is_nan() -> None:
    frame = related(lambda seed: 0.5, seeds=2)
    assert math.isnan(spearman_by_seed(frame.assign(y=1.0), "x", "y").rho)
    assert math.isnan(spearman_by_seed(frame.groupby("seed").head(2), "x", "y").rho)
    one = spearman_by_seed(frame[frame["seed"] == 0], "x", "y")
    assert one.rho > 0
    assert math.isnan(one.low)
    perfect = spearman_by_seed(frame.assign(y=frame["x"]), "x", "y")
    assert (perfect.rho, perfect.high) == pytest.approx((1, 1))
