"""The formula that is shown is the one that is computed: read as text, evaluated by NumPy, held against the penalty."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch

from werank_core import regularizers
from werank_core.config import GraphConfig, RankCollapseConfig, ToySSLConfig, penalty_formula
from werank_core.config.formulas import GRAM_PENALTIES, PENALTIES, Gram, Penalty
from werank_core.config.penalised import PenalisedConfig
from werank_core.vocabulary.spelling import spelled

GRAMS = get_args(Gram)
Matrix = np.ndarray


def readings(g: Matrix, w: Matrix, g_text: str) -> dict[str, float]:
    """What every formula with this G in it says of a weight, the letters read as a mathematician would."""
    residual = g - np.eye(len(g))
    both = [np.linalg.norm(m - np.eye(len(m))) ** 2 for m in (w.T @ w, w @ w.T)]
    return {
        f"‖{g_text} − I‖_F": float(np.linalg.norm(residual)),
        f"‖{g_text} − I‖_F²": float(np.linalg.norm(residual) ** 2),
        f"maxᵢⱼ |{g_text} − I|ᵢⱼ": float(np.abs(residual).max()),
        f"‖{g_text} − I‖₂": float(np.linalg.norm(residual, 2)),
        "‖WᵀW − I‖_F² + ‖W Wᵀ − I‖_F²": float(sum(both)),
        "σ₁(W)²/2": float(np.linalg.norm(w, 2) ** 2 / 2),
        "Σᵢ σᵢ(W)": float(np.linalg.norm(w, "nuc")),
        "‖W‖_F²/2": float((w**2).sum() / 2),
    }


GRAM_OF: dict[str, tuple[str, Callable[[Matrix], Matrix]]] = {
    "output": ("W Wᵀ", lambda w: w @ w.T),
    "input": ("WᵀW", lambda w: w.T @ w),
    "smaller": ("G", lambda w: w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w),
}


@pytest.mark.parametrize("gram", GRAMS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4)])
def test_the_text_is_the_number(penalty: Penalty, gram: Gram, shape: tuple[int, int]) -> None:
    weight = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    text, matrix = GRAM_OF[gram]
    expected = readings(matrix(weight.numpy()), weight.numpy(), text)[penalty_formula(penalty, gram).text]
    assert regularizers.total_penalty([weight], penalty, (1.0,), gram).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_latex_says_what_the_text_says(penalty: Penalty) -> None:
    letters = {
        r"\lVert": "‖", r"\rVert": "‖", r"\lvert": "|", r"\rvert": "|", r"W^\top W": "WᵀW", r"W^\top": "Wᵀ", r"\,": " ",
        r"\max_{ij}": "maxᵢⱼ", r"\sigma_1": "σ₁", r"\sigma_i": "σᵢ", r"\sum_i": "Σᵢ", "_{ij}": "ᵢⱼ", "_2": "₂",
        "^2": "²", "-": "−",
    }  # fmt: skip
    for gram in GRAMS:
        formula = penalty_formula(penalty, gram)
        latex = formula.latex
        for code, letter in letters.items():
            latex = latex.replace(code, letter)
        assert latex.replace(" ", "") == formula.text.replace(" ", "")


def test_names_are_those_of_the_code() -> None:
    assert set(PENALTIES) == regularizers.PENALTIES.keys()
    assert set(GRAM_PENALTIES) == regularizers.GRAM_PENALTIES.keys()
    assert regularizers.GRAMS == GRAMS


def test_what_is_left_open_is_said() -> None:
    assert "the smaller of W Wᵀ and WᵀW" in penalty_formula("werank").sentence
    assert penalty_formula("werank", "output").sentence == "‖W Wᵀ − I‖_F"
    assert "its source squares it" in penalty_formula("srip", "input").sentence
    assert "its source squares it" in penalty_formula("srip").sentence


@pytest.mark.parametrize("config_class", [ToySSLConfig, GraphConfig])
def test_the_config_names_its_own_formula(config_class: type[PenalisedConfig]) -> None:
    assert config_class().gram == "smaller"
    wide = config_class(gram="input", penalize_head=True)
    assert "‖WᵀW − I‖_F;" in wide.penalty_sentence
    assert "projector" in wide.penalty_sentence
    assert "‖W‖_F²/2" in config_class(penalty="weight_decay").penalty_sentence
    assert "gram" in wide.effective()
    assert wide.digest() != wide.replaced(gram="output").digest()
    decayed = wide.replaced(penalty="nuclear_norm")
    assert decayed.digest() == decayed.replaced(gram="output").digest(), "no G in it: no effect"
    described = config_class.model_fields["penalty"].description or ""
    assert all(f"{spelled(name)} {penalty_formula(name).text}" in described for name in PENALTIES)


def test_rank_collapse_names_both_of_its_penalties() -> None:
    plain, both = RankCollapseConfig(), RankCollapseConfig(werank_strength=0.1, werank_gram="output")
    assert "‖W‖_F²/2" in plain.penalty_sentence
    assert "WERank" not in plain.penalty_sentence
    assert "WERank α multiplies ‖W Wᵀ − I‖_F;" in both.penalty_sentence
    assert "AdamW" in plain.replaced(optimizer="adamw").penalty_sentence
