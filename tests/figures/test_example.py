"""The overview's fixed example: it has the form of a summary, says what it is of, and draws as one."""

import numpy as np

from tests.figures.frames import tidy_frame
from werank_core.experiments import experiment
from werank_core.figures.example import measured_example
from werank_core.figures.strength import plot_sparkline, plot_strength, strength_caption
from werank_core.figures.summaries import summarize_strength


def test_it_has_every_column_that_a_summary_has() -> None:
    summary = summarize_strength(tidy_frame(["effective_rank"], splits=("test",)), ["test/effective_rank"])
    assert set(measured_example().columns) == set(summary.columns)


def test_it_is_of_the_default_sweep_of_the_first_experiment() -> None:
    example, toy = measured_example(), experiment("toy_ssl")
    assert tuple(example["strength"]) == toy.default_strengths
    assert f"{example['split'].iloc[0]}/{example['metric'].iloc[0]}" == toy.headline[0]
    assert strength_caption(example) == "Mean and 95% interval over 10 seeds."


def test_its_intervals_hold_their_means_and_its_ranks_fit_the_encoder() -> None:
    example = measured_example()
    assert ((example["low"] < example["mean"]) & (example["mean"] < example["high"])).all()
    width = experiment("toy_ssl").config_class().width  # type: ignore[attr-defined]
    assert example["high"].max() < width


def test_it_is_drawn_like_any_other_summary() -> None:
    example, key = measured_example(), "test/effective_rank"
    large = plot_strength(example, tidy_frame(strengths=()), [key])
    drawn = {x: y for t in large.data if t.text is not None for x, y in zip(t.x, t.y, strict=True)}
    assert len(drawn) == len(example)
    *_, small = plot_sparkline(example, key).data
    np.testing.assert_allclose(small.y, example["mean"])
