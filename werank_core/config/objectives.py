"""The self-supervised objectives as choices: what each needs beside two views, and its settings.

The losses stand in `werank_core/objectives`, under the same names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from werank_core.config.choices import Catalogue, Entry, Settings
from werank_core.config.schema import setting

Target = Literal["none", "copied", "drawn", "stopped"]
RowNumbers = Callable[[Mapping[str, Any], int], int]
"""(settings, rows) -> numbers that the loss holds for a row of both views, besides its embeddings."""


@dataclass(frozen=True)
class Objective(Entry):
    """A loss of the embeddings of two views.

    Attributes:
        target: what embeddings are regressed onto: those of a network that follows this one, starting as its copy and
            with constant decay ("copied"), or drawn anew and with a decay that rises to 1 by a cosine ("drawn"); or
            this network's own, not differentiated ("stopped").
        predictor: embeddings go through a predictor first.
        prototypes: trained vectors that embeddings are compared with.
        directions: random directions, new ones in every step.
        shift_invariant: the loss does not change when the same vector is added to every embedding of both views. That
            may be all a bias does: in the last layer, and in any other for a unit whose activation is on one side for
            all rows. Its gradient is 0 then, and Adam makes full steps of the rounding of it. Networks of these
            objectives have no biases.
        row_numbers: memory that the loss takes while it is differentiated.
    """

    target: Target = "none"
    predictor: bool = False
    prototypes: bool = False
    directions: bool = False
    shift_invariant: bool = False
    row_numbers: RowNumbers = lambda settings, rows: 0

    @property
    def has_target_network(self) -> bool:
        """Whether a second network follows this one."""
        return self.target in ("copied", "drawn")


class InfoNCESettings(Settings):
    """Of `infonce`."""

    temperature: float = setting(0.2, "Softmax temperature.", group="objective", gt=0, le=100, log=True)
    normalize: bool = setting(True, "Put embeddings on the unit sphere first.", group="objective", title="Normalise")
    symmetric: bool = setting(True, "Average both directions, view 1 to 2 and 2 to 1.", group="objective")


class GRACESettings(Settings):
    """Of `grace`."""

    temperature: float = setting(0.2, "Softmax temperature.", group="objective", gt=0, le=100, log=True)


class BGRLSettings(Settings):
    """Of `bgrl`."""

    ema_decay: float = setting(
        0.99, "Decay of the target encoder, an exponential moving average (EMA): constant with BYOL; with BGRL the "
        "first one, rising to 1 by a cosine.", group="objective", title="EMA decay", ge=0, le=1,
    )  # fmt: skip


class BYOLSettings(BGRLSettings):
    """Of `byol`."""

    symmetric: bool = setting(True, "Average both directions, view 1 to 2 and 2 to 1.", group="objective")


class SwAVSettings(Settings):
    """Of `swav`."""

    num_prototypes: int = setting(
        32, "Trained unit vectors that rows are assigned to, in nearly equal shares.", group="objective",
        title="Prototypes", ge=2, le=4096, log=True,
    )  # fmt: skip
    prototype_temperature: float = setting(
        0.1, "Temperature of the softmax over prototypes.", group="objective", gt=0, le=100, log=True
    )


class VICRegSettings(Settings):
    """Of `vicreg`."""

    invariance_weight: float = setting(25.0, "Weight of the invariance term.", group="objective", ge=0, le=1e4)
    variance_weight: float = setting(25.0, "Weight of the variance term.", group="objective", ge=0, le=1e4)
    covariance_weight: float = setting(1.0, "Weight of the covariance term.", group="objective", ge=0, le=1e4)


class BarlowTwinsSettings(Settings):
    """Of `barlow_twins`."""

    redundancy_weight: float = setting(0.0051, "Weight of the off-diagonal terms.", group="objective", ge=0, le=1e4)


class WeakSIGRegSettings(Settings):
    """Of `weak_sigreg`."""

    isotropy_weight: float = setting(
        0.05, "Weight λ of the distance to N(0, I); invariance has 1 − λ.", group="objective", ge=0, le=1
    )


class SIGRegSettings(WeakSIGRegSettings):
    """Of `sigreg`."""

    num_directions: int = setting(
        64, "Random directions along which embeddings are compared with N(0, 1), new ones in every step.",
        group="objective", title="Directions", ge=1, le=4096, log=True,
    )  # fmt: skip


OBJECTIVES = Catalogue(
    "objective",
    # products with all rows, and their softmax in both directions
    Objective("infonce", "InfoNCE", InfoNCESettings, row_numbers=lambda settings, rows: 3 * rows),
    # a block of 1,024 similarities to the rows of both views, forward and backward
    Objective("grace", "GRACE", GRACESettings, row_numbers=lambda settings, rows: 4 * 1024),
    Objective("byol", "BYOL", BYOLSettings, target="copied", predictor=True),
    Objective("bgrl", "BGRL", BGRLSettings, target="drawn", predictor=True),
    Objective("simsiam", "SimSiam", target="stopped", predictor=True),
    Objective("swav", "SwAV", SwAVSettings, prototypes=True),
    Objective("vicreg", "VICReg", VICRegSettings, shift_invariant=True),
    Objective("barlow_twins", "Barlow Twins", BarlowTwinsSettings, shift_invariant=True),
    Objective("weak_sigreg", "Weak-SIGReg", WeakSIGRegSettings, shift_invariant=True),
    # in both views, at 17 frequencies, the angle along every direction for cosine and sine each
    Objective(
        "sigreg",
        "SIGReg",
        SIGRegSettings,
        directions=True,
        row_numbers=lambda settings, rows: 2 * 17 * 2 * settings["num_directions"],
    ),
)
