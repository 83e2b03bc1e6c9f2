"""Weight decay, cluster variation and rank: one run of the `rank_collapse` experiment (Zangrando et al. 2024)."""

from typing import Literal, Self

from pydantic import model_validator

from werank_core.config.formulas import Formula, Gram, penalty_formula
from werank_core.config.penalised import GRAM_HELP
from werank_core.config.problems import Misfit
from werank_core.config.schema import Condition, ExperimentConfig, digest_setting, setting
from werank_core.vocabulary import KMEANS, VARIATION_METRICS

DOWNLOADED = ("mnist", "fashion_mnist", "cifar10")
IMAGES = ("digits", *DOWNLOADED, "own_images")
IMAGE_CLASSES = 10

_MIXTURE: Condition = {"dataset": ("mixture",)}
_IMAGES: Condition = {"dataset": IMAGES}
_OWN: Condition = {"dataset": ("own_images",)}
_MLP: Condition = {"model": ("mlp",)}


class RankCollapseConfig(ExperimentConfig):
    """One supervised run with weight decay: data, classifier, loss, optimizer and what is recorded."""

    dataset: Literal["mixture", "digits", "mnist", "fashion_mnist", "cifar10", "own_images"] = setting(
        "mixture", "K Gaussian clusters, real 8x8 digits, images from OpenML, or your own.", group="data",
        title="Data set",
    )  # fmt: skip
    own_images: str = setting(
        "", "Name under which your images were added.", group="data", title="Your images", when=_OWN
    )
    data_digest: str = digest_setting(*DOWNLOADED, "own_images")
    image_classes: int = setting(
        0, "Classes of your images, filled in when the sweep is submitted.", group="identity", title="Classes",
        ge=0, le=1000, when=_OWN,
    )  # fmt: skip
    num_classes: int = setting(5, "Clusters K.", group="data", title="Clusters", ge=2, le=1000, when=_MIXTURE)
    dimension: int = setting(32, "Dimension of the input.", group="data", ge=2, le=1024, when=_MIXTURE)
    cluster_separation: float = setting(
        1.0, "Standard deviation of the cluster means, per dimension.", group="data", ge=0, le=100, when=_MIXTURE
    )
    cluster_noise: float = setting(
        0.1, "Standard deviation of a sample around its mean.", group="data", ge=0, le=100, when=_MIXTURE
    )
    imbalance: float = setting(
        1.0, "Size of the last class over the first; 1 is balanced.", group="data", gt=0, le=1, when=_MIXTURE
    )
    num_samples: int = setting(
        500,
        "Training rows (the classes' halves may round up); as many again test.",
        group="data",
        title="Samples",
        unit="rows",
        ge=2,
        le=100_000,
        log=True,
        when=_MIXTURE,
    )
    whitened: bool = setting(
        False,
        "Map inputs to second moment I: then deep linear networks have a closed form.",
        group="data",
        title="Whitened inputs",
        when=_MIXTURE,
    )
    image_samples: int = setting(
        1_200,
        "Most training rows, drawn by class (digits have 1,200; of your images at most four fifths train).",
        group="data",
        title="Images",
        unit="rows",
        ge=100,
        le=50_000,
        log=True,
        when=_IMAGES,
    )
    clusters: Literal["labels", "kmeans"] = setting(
        "labels", "Clusters of cluster variation and certificate: the classes, or k-means on the inputs.", group="data"
    )
    num_clusters: int = setting(
        5, "K of k-means, and of distance to rank K.", group="data", title="k-means K", ge=1, le=1000,
        when={"clusters": ("kmeans",)},
    )  # fmt: skip

    model: Literal["mlp", "cnn", "resnet"] = setting(
        "mlp", "Fully connected, convolutional or residual.", group="encoder"
    )
    activation: Literal["linear", "relu", "tanh", "gelu"] = setting(
        "relu", "Non-linearity; linear makes a deep linear network.", group="encoder"
    )
    depth: int = setting(4, "Weight layers, the classifier included.", group="encoder", unit="layers", ge=1, le=32)
    width: int = setting(
        64, "Units (or channels) of a hidden layer.", group="encoder", unit="units", ge=1, le=2048, log=True
    )
    bias: bool = setting(
        True, "Whether layers have a bias (never penalised); none where BatchNorm follows.", group="encoder"
    )
    batch_norm: bool = setting(
        False, "Normalise every hidden layer over the batch.", group="encoder", title="BatchNorm"
    )
    init: Literal["default", "he", "orthogonal"] = setting(
        "he", "PyTorch's uniform default, He normal, or orthogonal.", group="encoder", title="Initialisation"
    )

    loss: Literal["cross_entropy", "squared"] = setting(
        "cross_entropy", "Cross-entropy, or half the squared error to one-hot labels.", group="objective"
    )
    werank_strength: float = setting(
        0.0, "Strength α of WERank on the hidden layers, against the decay.", group="penalty", title="WERank α",
        ge=0, le=1e4, log=True,
    )  # fmt: skip
    werank_gram: Gram = setting("smaller", GRAM_HELP, group="penalty", title="WERank Gram matrix")
    centroid_loss: bool = setting(
        False, "Train a twin on the class means alone and record how far apart the weights end.", group="objective",
        title="Centroid twin",
    )  # fmt: skip

    optimizer: Literal["sgd", "adam", "adamw"] = setting(
        "sgd",
        "λ is part of the loss for SGD and Adam. AdamW decays the weights apart from it: the certificate still holds, "
        "but its residual does not go to 0.",
        group="training",
    )
    learning_rate: float = setting(0.05, "Learning rate.", group="training", gt=0, le=10, log=True)
    momentum: float = setting(0.9, "Momentum of SGD.", group="training", ge=0, lt=1, when={"optimizer": ("sgd",)})
    schedule: Literal["cosine", "constant"] = setting(
        "cosine", "Learning rate falls to 0 by half a cosine, or stays.", group="training", title="Rate schedule"
    )
    batch_size: int = setting(
        0, "Samples in a batch; 0 is the full batch.", group="training", unit="samples", ge=0, le=50_000
    )
    steps: int = setting(
        4_000,
        "Training steps (at most, when stopping early).",
        group="training",
        unit="steps",
        ge=1,
        le=1_000_000,
        log=True,
    )
    stop_cosine: float = setting(
        0.0, "Train until stationary: stop once λW and -∇L agree to this cosine in every layer; 0 is off.",
        group="training", title="Stop at cosine", ge=0, lt=1,
    )  # fmt: skip
    records: int = setting(20, "Times at which metrics are recorded, spread evenly.", group="evaluation", ge=1, le=1000)
    evaluation_rows: int = setting(
        4096,
        "Most training rows that metrics, gradients and the certificate are computed on.",
        group="evaluation",
        unit="rows",
        ge=2,
        le=20_000,
    )

    @property
    def classes(self) -> int:
        """Classes of the labels; 0 for own images that nobody has looked at yet."""
        if self.dataset == "own_images":
            return self.image_classes
        return self.num_classes if self.dataset == "mixture" else IMAGE_CLASSES

    @property
    def target_rank(self) -> int:
        """K of distance to rank K and of cluster variation."""
        return self.num_clusters if self.clusters == "kmeans" else self.classes

    @property
    def werank_formula(self) -> Formula:
        """What the WERank strength multiplies for a hidden layer."""
        return penalty_formula("werank", self.werank_gram)

    @property
    def penalty_sentence(self) -> str:
        """What λ and, where there is one, the WERank strength multiply."""
        decay = penalty_formula("weight_decay").text
        how = "is added to the loss" if self.coupled else "is taken by steps of its own (AdamW)"
        sentence = f"The strength λ multiplies {decay} of every layer, which {how}."
        werank = f" WERank α multiplies {self.werank_formula.sentence}; summed over the hidden layers."
        return sentence + (werank if self.werank_strength else "")

    @property
    def coupled(self) -> bool:
        """Whether λ is part of the loss: only then are the fixed points of training those of λW = −∇L₀."""
        return self.optimizer != "adamw"

    @property
    def narrowest(self) -> int | None:
        """Units of the narrowest hidden layer, through which no higher rank passes; None without one."""
        return self.width if self.depth > 1 else None

    @property
    def closed_form(self) -> bool:
        """Whether the closed form of deep linear networks applies."""
        plain = self.model == "mlp" and self.activation == "linear" and not (self.bias or self.batch_norm)
        exact = self.loss == "squared" and self.coupled and self.werank_strength == 0 and self.batch_size == 0
        return plain and exact and self.whitened and self.dataset == "mixture"

    def records_metric(self, name: str) -> bool:
        """Cluster variation is that of the labels, or of k-means clusters where the config asks for them."""
        if self.clusters == "kmeans":
            return name not in VARIATION_METRICS
        return not name.startswith(KMEANS)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        rows = self.num_samples if self.dataset == "mixture" else min(self.image_samples, 1_200)
        if self.target_rank > rows or self.classes > rows:
            field = "num_classes" if self.classes > rows else "num_clusters"
            count = max(self.classes, self.target_rank)
            raise Misfit(f"{{{field}}} = {count} is more than the {rows} training rows.", self)
        if self.target_rank > self.evaluation_rows:
            what = "{num_clusters=}" if self.clusters == "kmeans" else f"the {self.classes} classes"
            raise Misfit(f"{{evaluation_rows=}} is fewer than {what}.", self)
        if self.model == "mlp" and self.batch_norm and self.batch_size == 1:
            raise Misfit("{batch_size=}: {batch_norm} needs two samples or more in a batch.", self)
        if self.dataset == "own_images" and not self.own_images:
            raise Misfit("{own_images} is empty: choose one of your data sets of images.", self)
        if self.model != "mlp" and self.dataset == "mixture":
            raise Misfit("{model=} needs images: choose mlp, or images as the {dataset}.", self)
        if self.model == "cnn" and self.depth < 2:
            raise Misfit("{depth=} must be at least 2 for a cnn: one convolution and the classifier.", self)
        if self.model == "resnet" and (self.depth < 4 or self.depth % 2):
            raise Misfit("{depth=} must be even and at least 4 for a resnet: stem, blocks of 2, classifier.", self)
        if self.stop_cosine and not self.coupled:
            raise Misfit(
                "{stop_cosine} needs λ in the loss: choose sgd or adam as the {optimizer}, or 0 to train all steps.",
                self,
            )
        return self._whitening_is_possible()

    def _whitening_is_possible(self) -> Self:
        if self.dataset != "mixture" or not self.whitened:
            return self
        if self.num_samples < self.dimension:
            raise Misfit("{num_samples=} must be at least {dimension=} for whitening.", self)
        if self.cluster_noise == 0 and self.num_classes < self.dimension:
            raise Misfit("{whitened} needs {cluster_noise} above 0: without it clusters do not span the input.", self)
        return self


_THEORY = RankCollapseConfig(
    whitened=True, num_classes=5, dimension=16, cluster_separation=3.0, cluster_noise=1.0, imbalance=0.1,
    activation="linear", depth=3, width=16, bias=False, init="orthogonal", loss="squared", learning_rate=0.1,
    schedule="constant", steps=4_000, strength=0.03,
)  # fmt: skip

RANK_COLLAPSE_PRESETS: dict[str, tuple[str, RankCollapseConfig]] = {
    "mixture": ("Mixture", RankCollapseConfig()),
    "digits": (
        "Digits",
        RankCollapseConfig(dataset="digits", batch_size=128, steps=3_000, records=12),
    ),
    "theory": ("Theory", _THEORY),
    "both_knobs": (
        "Both knobs",
        RankCollapseConfig(dataset="digits", batch_size=128, steps=2_000, records=8, werank_strength=0.01),
    ),
}
