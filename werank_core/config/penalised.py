"""What every self-supervised experiment shares: a spectral penalty, and how its strength is spread over the layers."""

from typing import Literal, Self

from pydantic import model_validator

from werank_core.config.formulas import GRAM_PENALTIES, PENALTIES, Formula, Gram, Penalty, penalty_formula
from werank_core.config.problems import Misfit
from werank_core.config.schema import ExperimentConfig, setting
from werank_core.vocabulary.spelling import spelled

Schedule = Literal["uniform", "last", "first", "linear", "explicit"]


_FORMULAS = ", ".join(f"{spelled(name)} {penalty_formula(name).text}" for name in PENALTIES)
GRAM_HELP = "Gram matrix G: output is W Wᵀ, input WᵀW (W as outputs × inputs), smaller the smaller of the two."


class PenalisedConfig(ExperimentConfig):
    """Base of the configs whose strength multiplies Σ w_l · penalty(W_l) over the encoder's layers."""

    depth: int = setting(4, "Number of weight layers.", group="encoder", unit="layers", ge=1, le=32)
    penalty: Penalty = setting(
        "werank", f"Penalty of a layer, which the strength multiplies: {_FORMULAS}.", group="penalty"
    )
    gram: Gram = setting("smaller", GRAM_HELP, group="penalty", title="Gram matrix", when={"penalty": GRAM_PENALTIES})
    alpha_schedule: Schedule = setting(
        "uniform",
        "How the strength is spread over the layers: the same on all, on the last or first alone, growing linearly "
        "with the layer's number up to the full strength, or explicit, with a weight for each.",
        group="penalty",
        title="Layer schedule",
    )
    alpha_weights: tuple[float, ...] = setting(
        (), "One weight a layer.", group="penalty", title="Layer weights", when={"alpha_schedule": ("explicit",)}
    )
    penalize_head: bool = setting(
        False, "Penalise predictor and projector too.", group="penalty", title="Penalise head"
    )

    @property
    def schedule(self) -> str | tuple[float, ...]:
        """The layer schedule by name, or the explicit weights."""
        return self.alpha_weights if self.alpha_schedule == "explicit" else self.alpha_schedule

    @property
    def penalty_formula(self) -> Formula:
        """What α wₗ multiplies for layer l."""
        return penalty_formula(self.penalty, self.gram)

    @property
    def penalty_sentence(self) -> str:
        """The penalty of this run in words."""
        layers = "encoder, and of projector and predictor" if self.penalize_head else "encoder"
        weights = "" if self.alpha_schedule == "uniform" else f", layer weights {self.alpha_schedule}"
        return (
            f"The strength multiplies {self.penalty_formula.sentence}; summed over the layers of the {layers}{weights}."
        )

    @model_validator(mode="after")
    def _weights_fit_the_depth(self) -> Self:
        if self.alpha_schedule == "explicit" and len(self.alpha_weights) != self.depth:
            given, needed = len(self.alpha_weights), self.depth
            raise Misfit(f"{{alpha_weights}} has {given} values; {{depth=}} needs {needed}.", self)
        if any(weight < 0 for weight in self.alpha_weights):
            raise Misfit("{alpha_weights=} must not be negative.", self)
        return self
