"""The probe's C curve."""

import numpy as np
import pandas as pd
import pytest

from werank_core.figures.probe_curve import plot_probe_curve, summarize_probe_curve


def arrays() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [{"strength": s, "seed": seed, "values": rng.random((4, 21))} for s in (0.0, 0.1) for seed in range(3)]
    return pd.DataFrame(rows)


def test_splits_are_averaged_before_seeds() -> None:
    frame = arrays()
    summary = summarize_probe_curve(frame)
    assert len(summary) == 2 * 21
    expected = np.mean([v.mean(0) for v in frame[frame["strength"] == 0.1]["values"]], axis=0)
    np.testing.assert_allclose(summary[summary["strength"] == 0.1]["mean"], expected)
    assert summary["c"].min() == pytest.approx(2**-10)
    assert (summary["n"] == 3).all()


def test_figure_has_a_line_a_strength_and_is_total() -> None:
    assert [t.name for t in plot_probe_curve(summarize_probe_curve(arrays()), strength_label="strength α").data] == [
        "α = 0",
        "α = 0.1",
    ]
    empty = summarize_probe_curve(arrays().head(0))
    assert len(plot_probe_curve(empty).data) == 0


def test_two_runs_of_a_seed_are_one_observation() -> None:
    frame = arrays()
    twice = summarize_probe_curve(pd.concat([frame, frame], ignore_index=True))
    assert (twice["n"] == 3).all()
    pd.testing.assert_frame_equal(twice, summarize_probe_curve(frame))
