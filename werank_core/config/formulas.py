"""The formula of a penalty as pages and the command line show it: the one that is used, for the settings chosen.

W is one layer's weight as PyTorch stores it, (d_out, d_in); a convolution counts as (c_out, c_in · k · k).
"""

from dataclasses import dataclass
from typing import Literal, get_args

Penalty = Literal[
    "werank",
    "soft_orthogonality",
    "double_soft_orthogonality",
    "mutual_coherence",
    "srip",
    "spectral_norm",
    "nuclear_norm",
    "weight_decay",
]
Gram = Literal["smaller", "output", "input"]

PENALTIES: tuple[Penalty, ...] = get_args(Penalty)
# Those made of G − I, for which it matters which Gram matrix G is.
GRAM_PENALTIES: tuple[Penalty, ...] = ("werank", "soft_orthogonality", "mutual_coherence", "srip")


@dataclass(frozen=True)
class Formula:
    """A penalty of one weight matrix W, as text and as LaTeX without dollars; `note` says what they leave open."""

    text: str
    latex: str
    note: str = ""

    @property
    def sentence(self) -> str:
        """Text and note in one."""
        return f"{self.text}, {self.note}" if self.note else self.text


_SMALLER = "G the smaller of W Wᵀ and WᵀW: W Wᵀ for a layer with no more outputs than inputs, else WᵀW"
_GRAM = {"smaller": ("G", "G"), "output": ("W Wᵀ", r"W W^\top"), "input": ("WᵀW", r"W^\top W")}
_OF_GRAM: dict[str, tuple[str, str, str]] = {
    "werank": ("‖{} − I‖_F", r"\lVert {} - I\rVert_F", ""),
    "soft_orthogonality": ("‖{} − I‖_F²", r"\lVert {} - I\rVert_F^2", ""),
    "mutual_coherence": ("maxᵢⱼ |{} − I|ᵢⱼ", r"\max_{{ij}}\,\lvert {} - I\rvert_{{ij}}", ""),
    "srip": ("‖{} − I‖₂", r"\lVert {} - I\rVert_2", "not squared, while its source squares it"),
}
_FIXED = {
    "double_soft_orthogonality": Formula(
        "‖WᵀW − I‖_F² + ‖W Wᵀ − I‖_F²", r"\lVert W^\top W - I\rVert_F^2 + \lVert W W^\top - I\rVert_F^2"
    ),
    "spectral_norm": Formula("σ₁(W)²/2", r"\sigma_1(W)^2/2"),
    "nuclear_norm": Formula("Σᵢ σᵢ(W)", r"\sum_i \sigma_i(W)"),
    "weight_decay": Formula("‖W‖_F²/2", r"\lVert W\rVert_F^2/2"),
}


def penalty_formula(penalty: Penalty, gram: Gram = "smaller") -> Formula:
    """What a strength multiplies for one layer.

    Args: gram, of effect for `GRAM_PENALTIES` alone.
    """
    if penalty in _FIXED:
        return _FIXED[penalty]
    text, latex, note = _OF_GRAM[penalty]
    notes = [_SMALLER] * (gram == "smaller") + [note] * bool(note)
    return Formula(text.format(_GRAM[gram][0]), latex.format(_GRAM[gram][1]), "; ".join(notes))
