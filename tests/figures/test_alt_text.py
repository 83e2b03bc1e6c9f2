import pandas as pd
import pytest

from tests.figures.frames import array_frame, tidy_frame, with_state
from werank_core.figures.alt_text import (
    NO_DATA,
    map_alt_text,
    rank_accuracy_alt_text,
    spectra_alt_text,
    strength_alt_text,
    training_alt_text,
)
from werank_core.figures.spectrum_summaries import summarize_spectra
from werank_core.figures.summaries import summarize_grid, summarize_history, summarize_strength


def rising(metric: str, strength: float, seed: int, step: int) -> float:
    return 20.0 + 10 * strength + seed + step / 100


def test_a_strength_curve_in_words() -> None:
    frame = with_state(tidy_frame(["effective_rank"], seeds=3, value=rising), "diverged", 1.0, 0)
    text = strength_alt_text(summarize_strength(frame), ["effective_rank"], "strength α")
    assert text == (
        "Line chart against strength α. effective rank: 22.0 [19.5, 24.5] at α = 0, highest 32.5 [26.1, 38.9] "
        "at α = 1, lowest 22.0 [19.5, 24.5] at α = 0. 1 run diverged at α = 1 and is not in the mean."
    )


def test_no_word_calls_a_rank_better() -> None:
    frame = tidy_frame(["effective_rank"])
    text = strength_alt_text(summarize_strength(frame), ["effective_rank"])
    assert not any(word in text for word in ("best", "better", "improve", "worse"))


def test_training_spectra_maps_and_scatter_in_words() -> None:
    frame = tidy_frame(["loss"], steps=(0, 100), value=rising, seeds=2)
    assert "loss: from 20.5 to 21.5 at strength = 0, from 30.5 to 31.5 at strength = 1." in training_alt_text(
        summarize_history(frame), ["loss"]
    )
    assert "Layer 2: effective rank" in spectra_alt_text(summarize_spectra(array_frame()))
    grid = summarize_grid(tidy_frame(["accuracy"], seconds=(1.0, 2.0), value=rising), "accuracy")
    assert "over 8 cells: highest 33.0" in map_alt_text(grid, "accuracy")
    assert "n = 5 seeds (20 runs)" in rank_accuracy_alt_text(
        tidy_frame(), rank_metric="effective_rank", accuracy_metric="accuracy"
    )


@pytest.mark.parametrize("frame", [pd.DataFrame(), tidy_frame().iloc[:0], tidy_frame().assign(state="diverged")])
def test_nothing_is_said_to_be_nothing(frame: pd.DataFrame) -> None:
    assert strength_alt_text(summarize_strength(frame, ["accuracy"]), ["accuracy"]) == NO_DATA
    assert training_alt_text(summarize_history(frame, ["accuracy"]), ["accuracy"]) == NO_DATA
    assert rank_accuracy_alt_text(frame, rank_metric="effective_rank", accuracy_metric="accuracy") == NO_DATA
    assert map_alt_text(summarize_grid(frame, "accuracy"), "accuracy") == NO_DATA
    assert spectra_alt_text(pd.DataFrame()) == NO_DATA
