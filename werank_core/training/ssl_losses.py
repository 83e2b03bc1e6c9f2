"""What every self-supervised experiment trains on: an objective of the embeddings of two views, and a penalty.

For one run or with a run axis in front.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from werank_core.config.objectives import OBJECTIVES
from werank_core.objectives import LOSSES, Views, settings_read
from werank_core.regularizers import layer_weights, total_penalty
from werank_core.training.engine import Schedule


def penalty_of(config: Any, encoder: Sequence[Tensor], head: Sequence[Tensor]) -> Tensor:
    """Σ w_l penalty(W_l) over the encoder's weights, and Σ penalty(W) over those of the head where the config says so.

    Args: weights `(..., d_out, d_in)`, in layer order; config, a `PenalisedConfig`.
    """
    weights = layer_weights(config.schedule, config.depth)
    total = total_penalty(encoder, config.penalty, weights, config.gram)
    if not (config.penalize_head and head):
        return total
    return total + total_penalty(head, config.penalty, (1.0,) * len(head), config.gram)


def objective_of(config: Any) -> Callable[[Views], Tensor]:
    """The objective of a config with its settings: views -> `(...)`."""
    loss = LOSSES[config.objective]
    settings = {n: value for n, value in config.settings_of("objective").items() if n in settings_read(loss)}
    return partial(loss, **settings)


def target_decay(config: Any) -> Schedule:
    """Decay of the target network at a step: constant, or from `ema_decay` to 1 for a target drawn anew."""
    if OBJECTIVES[config.objective].target == "drawn":
        return partial(rising_decay, total=config.num_steps, first=config.ema_decay)
    return lambda step: float(config.ema_decay)


def rising_decay(step: int, total: int, first: float) -> float:
    """From `first` at step 0 to 1 at the end: 1 − (1 − first)(cos(π t/T) + 1)/2.

    Source: Grill et al. 2020; Thakoor et al. 2022.
    """
    return 1 - (1 - first) * (math.cos(math.pi * step / total) + 1) / 2
