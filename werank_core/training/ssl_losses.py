"""What every self-supervised experiment trains on: an objective of the embeddings of two views, and a penalty.

For one run or with a run axis in front.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from werank_core import objectives
from werank_core.regularizers import layer_weights, total_penalty


def penalty_of(config: Any, encoder: Sequence[Tensor], head: Sequence[Tensor]) -> Tensor:
    """Σ w_l penalty(W_l) over the encoder's weights, and Σ penalty(W) over those of the head where the config says so.

    Args: weights `(..., d_out, d_in)`, in layer order; config, a `PenalisedConfig`.
    """
    weights = layer_weights(config.schedule, config.depth)
    total = total_penalty(encoder, config.penalty, weights, config.gram)
    if not (config.penalize_head and head):
        return total
    return total + total_penalty(head, config.penalty, (1.0,) * len(head), config.gram)


def objective_of(config: Any, view_1: Tensor, view_2: Tensor) -> Tensor:
    """The objective of a config on embeddings `(..., B, D)` that needs no target network, `(...)`."""
    match config.objective:
        case "infonce":
            options = {"normalize": config.normalize, "symmetric": config.symmetric}
            return objectives.infonce(view_1, view_2, config.temperature, **options)
        case "grace":
            return objectives.grace(view_1, view_2, config.temperature)
        case "barlow_twins":
            return objectives.barlow_twins(view_1, view_2, redundancy_weight=config.redundancy_weight)
        case "vicreg":
            names = ("invariance_weight", "variance_weight", "covariance_weight")
            return objectives.vicreg(view_1, view_2, **{name: getattr(config, name) for name in names})
    raise ValueError(f"objective {config.objective!r} is unknown or needs a target network.")
