"""Self-supervised learning on toy data: one run of the `toy_ssl` experiment (science: Jing et al. 2022; WERank)."""

from typing import Literal, Self

from pydantic import model_validator

from werank_core.config.objectives import OBJECTIVES
from werank_core.config.penalised import PenalisedConfig
from werank_core.config.problems import Misfit
from werank_core.config.schema import Condition, setting
from werank_core.vocabulary import CLUSTER_METRICS, KMEANS, PROBE_METRICS

_DRAWN: Condition = {"dataset": ("gaussian", "mixture")}
_MIXTURE: Condition = {"dataset": ("mixture",)}


@OBJECTIVES.choices()
class ToySSLConfig(PenalisedConfig):
    """One toy SSL run: data, two noisy views, encoder, objective, penalty and training."""

    dataset: Literal["digits", "mixture", "gaussian"] = setting(
        "digits",
        "Real 8x8 digits, K labelled Gaussian clusters, or one unlabelled Gaussian.",
        group="data",
        title="Data set",
    )
    num_samples: int = setting(
        10_000, "Rows drawn.", group="data", title="Samples", unit="rows", ge=64, le=200_000, log=True, when=_DRAWN
    )
    dimension: int = setting(16, "Dimension of the input.", group="data", ge=2, le=1024, when=_DRAWN)
    num_classes: int = setting(
        5,
        "Clusters K; without labels, the K of the k-means clusters that stand in for them.",
        group="data",
        title="Clusters",
        ge=2,
        le=100,
        when=_DRAWN,
    )
    signal_dimension: int = setting(
        8, "The cluster means live in the first so many dimensions.", group="data", ge=1, le=1024, when=_MIXTURE
    )
    cluster_separation: float = setting(
        3.0,
        "Standard deviation of the cluster means in the signal subspace.",
        group="data",
        ge=0,
        le=100,
        when=_MIXTURE,
    )
    cluster_noise: float = setting(
        1.0, "Standard deviation of a sample around its mean.", group="data", ge=0, le=100, when=_MIXTURE
    )
    augmentation_strength: float = setting(
        0.3,
        "Standard deviation of the noise added to each view.",
        group="data",
        title="Augmentation noise",
        ge=0,
        le=100,
    )
    augmented_fraction: float = setting(
        1.0, "Share of the dimensions, counted from the last, that gets the noise.", group="data", ge=0, le=1
    )

    encoder: Literal["linear", "relu"] = setting("linear", "Deep linear network or ReLU MLP.", group="encoder")
    width: int = setting(
        64, "Width of every layer, the output included.", group="encoder", unit="units", ge=1, le=2048, log=True
    )
    bias: bool = setting(
        False, "Whether layers have a bias (never penalised).", group="encoder",
        when={"objective": OBJECTIVES.where(lambda objective: not objective.shift_invariant)},
    )  # fmt: skip
    init: Literal["default", "orthogonal", "aligned", "decaying"] = setting(
        "default",
        "PyTorch's default, orthogonal, or singular values exp(-0.35 i), aligned between layers or not (decaying).",
        group="encoder",
        title="Initialisation",
    )

    objective: str = setting("infonce", "Self-supervised loss on the two views.", group="objective")
    predictor_width: int = setting(
        64, "Hidden width of the predictor.", group="objective", ge=1, le=2048,
        when={"objective": OBJECTIVES.where(lambda objective: objective.predictor)},
    )  # fmt: skip
    projector_depth: int = setting(
        0,
        "Layers of the ReLU projector between representations and embeddings; 0 is none.",
        group="objective",
        ge=0,
        le=8,
    )

    weight_decay: float = setting(
        0.0, "Coupled weight decay, added to the loss as λ/2 ‖W‖².", group="penalty", ge=0, le=10, log=True
    )

    optimizer: Literal["adam", "sgd"] = setting("adam", "Optimizer.", group="training")
    learning_rate: float = setting(1e-3, "Learning rate.", group="training", gt=0, le=10, log=True)
    momentum: float = setting(0.0, "Momentum of SGD.", group="training", ge=0, lt=1, when={"optimizer": ("sgd",)})
    batch_size: int = setting(256, "Samples in a batch.", group="training", unit="samples", ge=2, le=8192, log=True)
    steps: int = setting(600, "Training steps.", group="training", unit="steps", ge=1, le=1_000_000, log=True)
    records: int = setting(20, "Times at which metrics are recorded, spread evenly.", group="evaluation", ge=1, le=1000)
    evaluation_rows: int = setting(
        4096,
        "Most rows used for rank metrics (ranks of different row counts are not comparable).",
        group="evaluation",
        unit="rows",
        ge=16,
        le=20_000,
    )

    def records_metric(self, name: str) -> bool:
        """Without labels, clusters are those of k-means and there is no probe."""
        if self.dataset == "gaussian":
            return name not in (*CLUSTER_METRICS, *PROBE_METRICS)
        return not name.startswith(KMEANS)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dataset == "mixture" and self.signal_dimension > self.dimension:
            raise Misfit("{signal_dimension=} must be at most {dimension=}.", self)
        measured = min(self.num_samples - 2 * self.num_samples // 3, self.evaluation_rows)
        if self.applies("num_classes") and self.num_classes > measured:
            raise Misfit(
                f"{{num_classes=}} is more than the {measured} rows that are measured: a third of {{num_samples=}}, at "
                "most {evaluation_rows=}.",
                self,
            )
        return self


# The two toy cases of Jing et al. 2022 as their code runs them: training on 10,000 rows (two thirds of those drawn).
_CLASSIC = {
    "dataset": "gaussian", "num_samples": 15_000, "encoder": "linear", "width": 16, "optimizer": "sgd",
    "batch_size": 128, "steps": 10_000, "temperature": 0.1, "normalize": False, "symmetric": False,
}  # fmt: skip
_OVER_PARAMETRISED = _CLASSIC | {
    "depth": 2, "bias": False, "init": "aligned", "learning_rate": 1e-2, "augmentation_strength": 0.001,
}  # fmt: skip
_STRONG = _CLASSIC | {
    "depth": 1, "bias": True, "init": "default", "learning_rate": 1e-3, "augmentation_strength": 1.5,
    "augmented_fraction": 0.5,
}  # fmt: skip

TOY_PRESETS: dict[str, tuple[str, ToySSLConfig]] = {
    "digits": ("Digits", ToySSLConfig()),
    "mixture": ("Mixture", ToySSLConfig(dataset="mixture", num_samples=4000, dimension=32, width=32)),
    "over_parametrised": ("Over-parametrised", ToySSLConfig.model_validate(_OVER_PARAMETRISED)),
    "over_parametrised_haar": (
        "Over-parametrised (Haar)",
        ToySSLConfig.model_validate(_OVER_PARAMETRISED | {"init": "decaying"}),
    ),
    "strong_augmentation": ("Strong augmentation", ToySSLConfig.model_validate(_STRONG)),
    "strong_augmentation_no_bias": (
        "Strong augmentation (no bias)",
        ToySSLConfig.model_validate(_STRONG | {"bias": False}),
    ),
}
