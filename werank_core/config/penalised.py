"""What every self-supervised experiment shares: a spectral penalty, and how its strength is spread over the layers."""

from typing import Literal, Self

from pydantic import model_validator

from werank_core.config.schema import ExperimentConfig, setting

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
Schedule = Literal["uniform", "last", "first", "linear", "explicit"]


class PenalisedConfig(ExperimentConfig):
    """Base of the configs whose strength multiplies Σ w_l · penalty(W_l) over the encoder's layers."""

    depth: int = setting(4, "Number of weight layers.", group="encoder", unit="layers", ge=1, le=32)
    penalty: Penalty = setting("werank", "Regularizer that the strength multiplies.", group="penalty")
    alpha_schedule: Schedule = setting(
        "uniform", "How the strength is spread over the layers.", group="penalty", title="Layer schedule"
    )
    alpha_weights: tuple[float, ...] = setting(
        (), "One weight a layer.", group="penalty", title="Layer weights", when={"alpha_schedule": ("explicit",)}
    )
    penalize_head: bool = setting(False, "Penalise predictor and projector too.", group="penalty")

    @property
    def schedule(self) -> str | tuple[float, ...]:
        """The layer schedule by name, or the explicit weights."""
        return self.alpha_weights if self.alpha_schedule == "explicit" else self.alpha_schedule

    @model_validator(mode="after")
    def _weights_fit_the_depth(self) -> Self:
        if self.alpha_schedule == "explicit" and len(self.alpha_weights) != self.depth:
            raise ValueError(
                f"alpha_weights has {len(self.alpha_weights)} values; depth = {self.depth} needs {self.depth}."
            )
        if any(weight < 0 for weight in self.alpha_weights):
            raise ValueError(f"alpha_weights = {list(self.alpha_weights)} must not be negative.")
        return self
