"""Self-supervised losses on two views of the same rows, for one run or a batch of runs.

Every function maps `(..., B, D)` embeddings to `(...)` losses; gradients flow to whatever requires them. `LOSSES` has
them by the names that configs use; `werank_core/config/objectives.py` says there what each needs and its settings.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from werank_core.objectives.bootstrap import bgrl, byol, mean_cosine, simsiam
from werank_core.objectives.contrastive import grace, infonce
from werank_core.objectives.decorrelation import barlow_twins, vicreg
from werank_core.objectives.isotropic import sigreg, weak_sigreg
from werank_core.objectives.swav import assignments, swav

__all__ = [
    "LOSSES", "Views", "assignments", "barlow_twins", "bgrl", "byol", "grace", "infonce", "mean_cosine",
    "sigreg", "simsiam", "swav", "vicreg", "weak_sigreg",
]  # fmt: skip

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Views:
    """What an objective may read, view 1 and view 2: `(..., B, D)` each; what it does not need may be missing.

    Attributes:
        embeddings: of the trained network.
        predictions: what its predictor makes of them.
        targets: embeddings that are not differentiated, of a target network or of this one.
        prototypes: `(..., K, D)`. directions: `(..., D, M)`.
    """

    embeddings: Pair
    predictions: Pair | None = None
    targets: Pair | None = None
    prototypes: Tensor | None = None
    directions: Tensor | None = None


Loss = Callable[..., Tensor]
"""(views, settings by keyword) -> `(...)`."""


def of_embeddings(loss: Loss) -> Loss:
    """The loss of two embeddings as one of views."""

    @functools.wraps(loss)
    def of_views(views: Views, **settings: object) -> Tensor:
        return loss(*views.embeddings, **settings)

    return of_views


def of_predictions(loss: Loss) -> Loss:
    """The loss of (predictions, targets), pairs both, as one of views."""

    @functools.wraps(loss)
    def of_views(views: Views, **settings: object) -> Tensor:
        return loss(views.predictions, views.targets, **settings)

    return of_views


def _swav(views: Views, *, prototype_temperature: float) -> Tensor:
    assert views.prototypes is not None
    return swav(*views.embeddings, views.prototypes, temperature=prototype_temperature)


def _sigreg(views: Views, *, isotropy_weight: float) -> Tensor:
    assert views.directions is not None
    return sigreg(*views.embeddings, views.directions, isotropy_weight=isotropy_weight)


LOSSES: dict[str, Loss] = {
    "infonce": of_embeddings(infonce),
    "grace": of_embeddings(grace),
    "byol": of_predictions(byol),
    "bgrl": of_predictions(bgrl),
    "simsiam": of_predictions(simsiam),
    "swav": _swav,
    "vicreg": of_embeddings(vicreg),
    "barlow_twins": of_embeddings(barlow_twins),
    "weak_sigreg": of_embeddings(weak_sigreg),
    "sigreg": _sigreg,
}


def settings_read(loss: Loss) -> frozenset[str]:
    """Names that a loss takes by keyword."""
    return frozenset(inspect.signature(loss).parameters)
