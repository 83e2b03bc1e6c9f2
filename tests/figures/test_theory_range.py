"""Where the stationary theory applies and where a layer has rank K, from cosines and ranks that are given."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from tests.figures.frames import tidy_frame, with_state
from werank_core.figures.theory_range import theory_range, theory_sentences

DECAYS = (0.0, 0.001, 0.01, 0.1)
K = 3


def measured(
    cosine: Mapping[float, float], rank: Mapping[float, tuple[float, float]], second: float = math.nan
) -> pd.DataFrame:
    """Two layers, two seeds; the second seed's cosine is a little higher, its ranks are the same."""
    cosines = tidy_frame(["eigenvalue_cosine"], DECAYS, 2, layers=(1, 2), splits=("train",), seconds=(second,))
    ranks = tidy_frame(["weight_numerical_rank"], DECAYS, 2, layers=(1, 2), seconds=(second,))
    cosines["value"] = [cosine[s] + 0.001 * seed for s, seed in zip(cosines["strength"], cosines["seed"], strict=True)]
    ranks["value"] = [rank[s][int(layer) - 1] for s, layer in zip(ranks["strength"], ranks["layer"], strict=True)]
    return pd.concat([cosines, ranks], ignore_index=True)


COSINES = {0.0: 1.0, 0.001: 0.5, 0.01: 0.992, 0.1: 0.998}
RANKS = {0.0: (8.0, 3.0), 0.001: (8.0, 3.0), 0.01: (3.0, 3.0), 0.1: (2.0, 3.0)}


def test_theory_applies_where_every_layer_of_every_run_is_stationary() -> None:
    found = theory_range(measured(COSINES, RANKS), K)
    assert found.decays == (0.001, 0.01, 0.1), "decay 0 is no stationary point of a decay"
    assert found.applies == (0.01, 0.1)
    frame = measured(COSINES, RANKS)
    one = frame["metric"].eq("eigenvalue_cosine") & frame["strength"].eq(0.1) & frame["layer"].eq(2)
    frame.loc[one & frame["seed"].eq(1), "value"] = 0.98
    assert theory_range(frame, K).applies == (0.01,), "one layer of one run is enough to say no"


def test_a_layer_that_cannot_have_a_higher_rank_has_not_fallen() -> None:
    found = theory_range(measured(COSINES, RANKS), K)
    assert (found.rank_from, found.layers) == (0.01, (1,)), "layer 2 has rank 3 from the beginning"
    ranks = RANKS | {0.01: (4.0, 3.0)}
    assert theory_range(measured(COSINES, ranks), K).rank_from == 0.1
    assert theory_range(measured(COSINES, dict.fromkeys(DECAYS, (8.0, 3.0))), K).rank_from is None


def test_every_run_has_to_have_the_rank() -> None:
    frame = measured(COSINES, RANKS)
    one = frame["metric"].eq("weight_numerical_rank") & frame["strength"].eq(0.01) & frame["layer"].eq(1)
    frame.loc[one & frame["seed"].eq(1), "value"] = 4
    assert theory_range(frame, K).rank_from == 0.1


@pytest.mark.parametrize("state", ["running", "failed", "diverged", "cancelled"])
def test_only_finished_runs_count(state: str) -> None:
    frame = measured(COSINES | {0.1: 0.5}, RANKS)
    for seed in (0, 1):
        frame = with_state(frame, state, 0.1, seed)
    assert theory_range(frame, K).decays == (0.001, 0.01)
    assert theory_range(frame, K).applies == (0.01,)
    assert list(theory_sentences(frame.assign(state=state), K)) == []


@pytest.mark.parametrize(
    ("cosines", "words"),
    [
        (COSINES, "The stationary theory applies from λ = 0.01 on, where every layer has"),
        (COSINES | {0.1: 0.5}, "The stationary theory applies at λ = 0.01, where"),
        (COSINES | {0.001: 0.995, 0.01: 0.2}, "The stationary theory applies at λ = 0.001, 0.1, where"),
        (dict.fromkeys(DECAYS, 0.2), "The stationary theory applies at no λ here, as not every layer has"),
    ],
)
def test_where_it_applies_is_said_without_gaps_being_passed_over(cosines: dict[float, float], words: str) -> None:
    (sentence,) = theory_sentences(measured(cosines, RANKS), K)
    assert sentence.startswith(words)


def test_a_rank_outside_the_theory_is_doubted() -> None:
    (sound,) = theory_sentences(measured(COSINES, RANKS), K)
    assert sound.endswith("A layer first has rank K = 3 at λ = 0.01 (layer 1).")
    (doubtful,) = theory_sentences(measured(COSINES | {0.01: 0.5}, RANKS), K)
    assert doubtful.endswith("at λ = 0.01 (layer 1): how far decay has come there, not yet the theory.")
    (none,) = theory_sentences(measured(COSINES, dict.fromkeys(DECAYS, (8.0, 3.0))), K)
    assert none.endswith("No layer falls to rank K = 3.")


def test_second_values_of_which_the_same_is_true_are_told_together() -> None:
    same = [measured(COSINES, RANKS, second) for second in (1.0, 2.0)]
    other = measured(dict.fromkeys(DECAYS, 0.2), RANKS, 3.0)
    together, alone = theory_sentences(pd.concat([*same, other], ignore_index=True), K, "Depth")
    assert together.startswith("Depth 1, 2: the stationary theory applies from")
    assert alone.startswith("Depth 3: the stationary theory applies at no λ")
    words = pd.concat([*same, other], ignore_index=True)
    words["second_value"] = words["second_value"].map({1.0: "relu", 2.0: "tanh", 3.0: "gelu"})
    assert [sentence.split(":")[0] for sentence in theory_sentences(words, K, "Activation")] == [
        "Activation GELU",
        "Activation ReLU, tanh",
    ]


def test_nothing_is_said_of_nothing() -> None:
    empty = measured(COSINES, RANKS).iloc[:0]
    assert theory_range(empty, K).decays == ()
    assert list(theory_sentences(empty, K)) == []
    assert np.isnan(measured(COSINES, RANKS)["second_value"]).all()
