import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.figures.frames import tidy_frame, with_state
from werank_core.figures.comparisons import Association
from werank_core.figures.rank_accuracy import association_text, plot_rank_accuracy, rank_and_accuracy

KEYS = {"rank_metric": "effective_rank", "accuracy_metric": "accuracy"}


def test_one_dot_per_finished_run() -> None:
    frame = with_state(tidy_frame(), "diverged", 1.0, 0)
    figure = plot_rank_accuracy(frame, strength_label="strength α", **KEYS)
    dots = [tuple(c) for t in figure.data for c in t.customdata]
    assert len(dots) == 19
    assert {(run_id, strength) for run_id, strength, _ in dots} == {
        (row.run_id, row.strength) for row in frame[frame["state"] == "finished"].itertuples()
    }
    assert [t.name for t in figure.data] == ["0", "0.01", "0.1", "1"]


def test_title_gives_scipys_rho_and_the_caption_the_warning() -> None:
    runs = rank_and_accuracy(tidy_frame(), **KEYS)
    rho = np.mean([stats.spearmanr(rows["rank"], rows["accuracy"]).statistic for _, rows in runs.groupby("seed")])
    figure = plot_rank_accuracy(tidy_frame(), **KEYS)
    assert figure.layout.title.text.startswith(f"Spearman's ρ over strengths = {rho:.2f} [")
    assert "n = 5 seeds (20 runs)" in figure.layout.title.text
    assert "Rank is not accuracy" in figure.layout.title.subtitle.text


def test_the_key_says_on_which_rows_the_accuracy_is() -> None:
    frame = pd.concat(
        [
            tidy_frame(["effective_rank"]),
            tidy_frame(["accuracy"], splits=("train",), value=lambda *_: 0.9),
            tidy_frame(["accuracy"], splits=("test",), value=lambda *_: 0.5),
        ]
    )
    for split, value in (("test", 0.5), ("train", 0.9)):
        runs = rank_and_accuracy(frame, rank_metric="effective_rank", accuracy_metric=f"{split}/accuracy")
        assert set(runs["accuracy"]) == {value}
    figure = plot_rank_accuracy(frame, rank_metric="effective_rank", accuracy_metric="test/accuracy")
    assert figure.layout.yaxis.title.text == "accuracy, test rows"


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), tidy_frame(["accuracy"]), tidy_frame().assign(state="failed"), tidy_frame().iloc[:0]]
)
def test_without_both_numbers_it_says_what_to_do(frame: pd.DataFrame) -> None:
    figure = plot_rank_accuracy(frame, "dark", **KEYS)
    assert not figure.data
    assert "run a sweep" in figure.layout.annotations[0].text.replace("<br>", " ")


def test_association_in_words() -> None:
    several = association_text(Association(-0.5, -0.8, 0.02, 3, 12))
    assert several == "Spearman's ρ over strengths = −0.50 [−0.80, 0.02], n = 3 seeds (12 runs)"
    alone = association_text(Association(1.0, math.nan, math.nan, 1, 3))
    assert alone == "Spearman's ρ over strengths = 1.00 no interval, n = 1 seed (3 runs)"
    none = association_text(Association(math.nan, math.nan, math.nan, 0, 1))
    assert none.startswith("No correlation from 1 run:")


def test_a_single_run_is_drawn() -> None:
    figure = plot_rank_accuracy(tidy_frame(strengths=(0.0,), seeds=1), **KEYS)
    assert len(figure.data) == 1
    assert "No correlation" in figure.layout.title.text
