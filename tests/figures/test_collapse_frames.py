"""Stored arrays of rank collapse as tidy frames, closed forms, violations, compression."""

import numpy as np
import pandas as pd
import pytest

from werank_core.figures.collapse_frames import (
    CERTIFICATE_ROWS,
    TIDY,
    certificate_counts,
    certificate_points,
    certificate_sentence,
    closed_form_ranks,
    closed_form_values,
    product_ranks,
    product_singular_values,
    ranks_at_tolerance,
)
from werank_core.figures.compression import plot_compression, summarize_compression
from werank_core.figures.strength import plot_strength
from werank_core.figures.summaries import summarize_strength
from werank_core.theory.deep_linear import optimal_singular_values


def arrays(*spectra: list[float]) -> pd.DataFrame:
    rows = [
        {
            "run_id": f"r{i}", "sweep_id": "s", "strength": 0.1 * i, "second_value": np.nan, "seed": 0, "step": 9,
            "layer": 1, "values": np.array(values, dtype=np.float32),
        }
        for i, values in enumerate(spectra)
    ]  # fmt: skip
    return pd.DataFrame(
        rows, columns=["run_id", "sweep_id", "strength", "second_value", "seed", "step", "layer", "values"]
    )


STATES = {"r0": "finished", "r1": "diverged"}


@pytest.mark.parametrize(("tolerance", "rank"), [(0.001, 4), (0.05, 3), (0.3, 2), (0.9, 1)])
def test_rank_is_recomputed_at_any_tolerance(tolerance: float, rank: int) -> None:
    frame = ranks_at_tolerance(arrays([10, 5, 1, 0.02], [np.nan, 1, 1, 1]), tolerance, STATES)
    assert list(frame.columns) == TIDY
    assert frame["value"].iloc[0] == rank
    assert np.isnan(frame["value"].iloc[1])
    assert list(frame["state"]) == ["finished", "diverged"]


def test_the_rank_of_a_product_is_relative_to_its_target() -> None:
    """A product that decay has emptied has no rank, whatever the ratio of its singular values."""
    targets = arrays([3.0, 2.0], [200.0, 2.0], [3.0, 2.0])
    frame = product_ranks(arrays([1e-6, 1e-7], [2.5, 1.0], [np.nan, 1.0]), targets, STATES)
    assert list(frame["metric"].unique()) == ["product_rank"]
    np.testing.assert_equal(frame["value"].to_numpy(), [0, 1, np.nan])


def test_singular_values_are_lines_of_their_own() -> None:
    frame = product_singular_values(arrays([3.0, 1.0]), STATES)
    assert list(frame["series"]) == ["σ1", "σ2"]
    assert list(frame["value"]) == [3.0, 1.0]
    assert product_singular_values(arrays(), STATES).empty


def test_closed_forms_are_the_theorys_on_a_dense_grid() -> None:
    target = np.array([3.0, 1.5, 0.9])
    frame = closed_form_values(target, [0.0, 0.1, 1.0], depth=3)
    first = frame[frame["label"] == "closed form σ1"]
    assert first["strength"].min() == pytest.approx(0.1)
    expected = [optimal_singular_values(target, s, 3)[0] for s in first["strength"]]
    np.testing.assert_allclose(first["value"], expected)
    narrow = closed_form_values(target, [0.1, 1.0], 3, max_rank=2)
    assert narrow.loc[narrow["label"] == "closed form σ3", "value"].eq(0).all()
    assert closed_form_ranks(target, [0.01], {2: 2})["value"].eq(2).all()
    ranks = closed_form_ranks(target, [0.1, 1.0], {1: None, 4: 9})
    assert ranks[ranks["label"] == "closed form, depth 1"]["value"].eq(3).all(), "one layer shrinks and never cuts"
    assert ranks[ranks["label"] == "closed form, depth 4"]["value"].min() < 3


def certificates(*layers: tuple[float, float, float]) -> pd.DataFrame:
    """Distance, certificate and norm of layers 1, 2, ... of one run."""
    rows = [
        {
            "run_id": "r", "layer": layer, "step": 0, "metric": name, "value": value, "split": "", "series": "",
            "strength": 0.1, "second_value": np.nan, "seed": 0, "state": "finished",
        }
        for layer, (distance, bound, norm) in enumerate(layers, start=1)
        for name, value in (
            ("distance_to_rank", distance), ("certificate_bound", bound), ("weight_norm", norm),
            ("certificate_tightness", distance / bound),
        )
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_certificates_count_where_they_say_something() -> None:
    """Informative twice, above the norm once, undefined at λ = 0, no distance in a narrow layer, broken once."""
    found = certificates((1, 2, 3), (2, 2.5, 3), (1, 9, 3), (1, np.nan, 3), (0, 1, 3), (2, 1, 3))
    counts = certificate_counts(found)
    assert counts[:3] == (4, 3, 1)
    assert counts.tightness == pytest.approx((0.8, 0.5, 2.0))
    sentence = certificate_sentence(certificate_counts(certificates((1, 2, 3), (2, 2.5, 3), (1, 9, 3))))
    assert sentence.startswith("2 of 3 certificates (one for every run, layer and recorded step) are informative")
    assert "certificate / ‖W‖_F is 0.750 and distance / certificate 0.650 (0.500 to 0.800)" in sentence
    assert "holds for any matrices" in sentence


def test_certificates_of_older_or_missing_records_are_total() -> None:
    without_norm = certificates((1, 2, 3))
    without_norm = without_norm[~without_norm["metric"].isin(["weight_norm", "certificate_tightness"])]
    assert certificate_counts(without_norm)[:3] == (1, 0, 0)
    assert certificate_sentence(certificate_counts(without_norm)).startswith("0 of 1 certificates")
    assert certificate_counts(certificates((1, 2, 3))[:0])[:3] == (0, 0, 0)
    assert "No certificate is recorded yet" in certificate_sentence(certificate_counts(certificates((1, 2, 3))[:0]))
    assert certificate_points(without_norm)["series"].tolist() == ["distance", "certificate"]
    assert certificate_points(certificates((1, 2, 3))[:0]).empty


def test_tightness_is_drawn_where_the_certificate_is_informative() -> None:
    for norm, rows in ((3.0, ["distance", "certificate", "‖W‖_F", ""]), (1.5, ["distance", "certificate", "‖W‖_F"])):
        points = certificate_points(certificates((1, 2, norm)))
        assert points["series"].tolist() == rows
        assert set(points["layer"]) == {0}
        summary = summarize_strength(points, CERTIFICATE_ROWS)
        figure = plot_strength(summary, points, CERTIFICATE_ROWS)
        assert "tightness" in [note["text"].strip("</b>") for note in figure.layout.annotations]


def test_compression_averages_runs_and_is_total() -> None:
    curves = [np.array([[0.01, 0.5, 0.9], [0.1, 0.2, 0.5]]), np.array([[0.01, 0.7, 1.0], [0.1, 0.4, 0.7]])]
    frame = pd.DataFrame({"strength": [0.1, 0.1], "seed": [0, 1], "values": curves})
    summary = summarize_compression(frame)
    assert list(summary["kept_parameters"]) == pytest.approx([0.6, 0.3])
    assert list(summary["truncated_accuracy"]) == pytest.approx([0.95, 0.6])
    assert len(plot_compression(summary).data) == 1
    assert len(plot_compression(summarize_compression(frame[:0])).data) == 0
