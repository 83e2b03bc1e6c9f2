"""Self-supervised learning on a graph: one run of the `graph` experiment (Thakoor et al. 2022; WERank)."""

from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import model_validator

from werank_core.config.objectives import OBJECTIVES
from werank_core.config.penalised import PenalisedConfig
from werank_core.config.problems import Misfit
from werank_core.config.schema import Condition, digest_setting, setting

GraphName = Literal[
    "block_model",
    "karate_club",
    "cora",
    "citeseer",
    "pubmed",
    "wikics",
    "amazon_computers",
    "amazon_photo",
    "coauthor_cs",
    "coauthor_physics",
    "ogbn_arxiv",
    "own",
]

_BLOCKS: Condition = {"dataset": ("block_model",)}

_MADE_HERE = ("block_model", "karate_club")  # from a seed, or by a package
# Your own graph may or may not: that is looked up when the sweep is submitted.
_WITH_SPLITS = ("cora", "citeseer", "pubmed", "wikics", "ogbn_arxiv", "own")
_SMALLEST_CLASS = 3


@OBJECTIVES.choices(temperature=0.4, redundancy_weight=0.004)
class GraphConfig(PenalisedConfig):
    """One run on one graph: data, two augmented views, encoder, objective, penalty, training and probe."""

    retired: ClassVar[frozenset[str]] = frozenset({"download"})

    dataset: GraphName = setting(
        "block_model", "A graph drawn from a seed, a public one, or your own.", group="data", title="Graph"
    )
    own_graph: str = setting(
        "", "Name under which your graph was added.", group="data", title="Your graph", when={"dataset": ("own",)}
    )
    data_digest: str = digest_setting(*(name for name in get_args(GraphName) if name not in _MADE_HERE))
    num_nodes: int = setting(
        600, "Nodes drawn.", group="data", title="Nodes", unit="nodes", ge=20, le=200_000, log=True, when=_BLOCKS
    )
    num_classes: int = setting(
        5, "Classes K, as equal as the nodes allow.", group="data", title="Classes", ge=2, le=100, when=_BLOCKS
    )
    homophily: float = setting(
        0.6,
        "Expected share of edges inside a class; 1/K carries no information.",
        group="data",
        ge=0,
        le=1,
        when=_BLOCKS,
    )
    average_degree: float = setting(
        6.0,
        "Expected neighbours of a node.",
        group="data",
        title="Average degree",
        gt=0,
        le=1_000,
        log=True,
        when=_BLOCKS,
    )
    feature_dimension: int = setting(
        64, "Dimension of the node features.", group="data", title="Features", ge=1, le=10_000, log=True, when=_BLOCKS
    )
    feature_signal: float = setting(
        0.3, "Length of the class means, in units of the noise.", group="data", ge=0, le=100, when=_BLOCKS
    )
    feature_scaling: Literal["none", "row", "standard"] = setting(
        "none",
        "Features as they are, less the smallest entry and divided by row sums, or columns standardised.",
        group="data",
    )

    depth: int = setting(2, "Graph convolutions.", group="encoder", unit="layers", ge=1, le=16)
    hidden_width: int = setting(
        64, "Width of every layer but the last.", group="encoder", unit="units", ge=1, le=4096, log=True
    )
    output_width: int = setting(
        32,
        "Width of the last layer: dimension of the representations.",
        group="encoder",
        unit="units",
        ge=1,
        le=4096,
        log=True,
    )
    norm: Literal["batch", "layer", "none"] = setting(
        "batch", "BatchNorm (BGRL), LayerNorm over each node's units, or none.", group="encoder", title="Normalisation"
    )

    objective: str = setting("bgrl", "Self-supervised loss on the two views.", group="objective")
    head_width: int = setting(
        64,
        "Hidden width of the head: a predictor where the objective has one, else a projector; 0 is no head.",
        group="objective",
        unit="units",
        ge=0,
        le=4096,
    )
    drop_edge_rate_1: float = setting(
        0.3, "Share of edges dropped in view 1, each direction by itself.", group="objective", ge=0, lt=1
    )
    drop_edge_rate_2: float = setting(0.4, "Share of edges dropped in view 2.", group="objective", ge=0, lt=1)
    drop_feature_rate_1: float = setting(
        0.3, "Share of feature columns masked in view 1.", group="objective", ge=0, lt=1
    )
    drop_feature_rate_2: float = setting(
        0.4, "Share of feature columns masked in view 2.", group="objective", ge=0, lt=1
    )
    augmentation_scale: float = setting(
        1.0,
        "Multiplies all four rates: 0 is no augmentation.",
        group="objective",
        title="Augmentation scale",
        ge=0,
        le=1,
    )

    weight_decay: float = setting(1e-5, "Decoupled weight decay of AdamW.", group="penalty", ge=0, le=10, log=True)

    learning_rate: float = setting(1e-3, "Highest learning rate.", group="training", gt=0, le=10, log=True)
    warmup_epochs: int = setting(
        20, "Epochs of linear warm-up; then a cosine to 0.", group="training", unit="epochs", ge=0, le=1_000_000
    )
    epochs: int = setting(200, "Full-graph steps.", group="training", unit="epochs", ge=1, le=1_000_000, log=True)
    bfloat16: bool = setting(
        False, "Round operands of dense products to bfloat16; weights stay float32.", group="training", title="bfloat16"
    )
    memory_share: float = setting(
        0.6, "Share of the free memory that a job may use.", group="training", title="Memory budget", gt=0, le=1
    )

    records: int = setting(10, "Times at which metrics are recorded, spread evenly.", group="evaluation", ge=1, le=1000)
    evaluation_rows: int = setting(
        4096, "Most nodes used for rank metrics.", group="evaluation", unit="nodes", ge=16, le=20_000
    )
    classifier: Literal["multinomial", "one_vs_rest"] = setting(
        "multinomial", "Logistic regression of the probe; one-vs-rest is what published tables use.", group="evaluation"
    )
    probe_protocol: Literal["holdout", "bgrl"] = setting(
        "holdout",
        "How C is chosen. Holdout: fit on 10% of the nodes, choose on 10%. BGRL, as its authors' code does: choose by "
        "five random halvings of 20%, fit again on all 20%. The rest is tested on.",
        group="evaluation",
        title="Probe protocol",
    )
    splits: Literal["random", "own"] = setting(
        "random", "Random splits, or the ones the data set brings along.", group="evaluation"
    )
    num_splits: int = setting(
        20, "Random splits of the probe.", group="evaluation", title="Number of splits", ge=1, le=200,
        when={"splits": ("random",)},
    )  # fmt: skip

    @property
    def steps_field(self) -> str:
        """One epoch is one full-graph step."""
        return "epochs"

    @property
    def widths(self) -> tuple[int, ...]:
        """Output width of every convolution."""
        return (self.hidden_width,) * (self.depth - 1) + (self.output_width,)

    @property
    def drop_rates(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(edges, features) for view 1 and view 2, the scale applied."""
        first = self.drop_edge_rate_1, self.drop_feature_rate_1
        second = self.drop_edge_rate_2, self.drop_feature_rate_2
        scale = self.augmentation_scale
        return (first[0] * scale, first[1] * scale), (second[0] * scale, second[1] * scale)

    def effective(self) -> dict[str, Any]:
        """The fields that decide numbers: not the memory budget."""
        return {name: value for name, value in super().effective().items() if name != "memory_share"}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if OBJECTIVES[self.objective].predictor and self.head_width == 0:
            raise Misfit(
                f"{{head_width=}}: {self.objective} needs a predictor; without one it regresses onto itself.", self
            )
        if self.dataset == "own" and not self.own_graph:
            raise Misfit("{own_graph} is empty: choose one of your graphs.", self)
        if self.dataset == "block_model" and self.num_nodes < _SMALLEST_CLASS * self.num_classes:
            raise Misfit(
                f"{{num_nodes=}} is too few for {{num_classes=}}: a class needs {_SMALLEST_CLASS} nodes, one to train, "
                "one to choose and one to test on.",
                self,
            )
        if self.dataset == "block_model" and self.num_classes > self.evaluation_rows:
            raise Misfit("{evaluation_rows=} is fewer than {num_classes=}.", self)
        if self.warmup_epochs > self.epochs:
            raise Misfit("{warmup_epochs=} must be at most {epochs=}.", self)
        if self.splits == "own" and self.dataset not in _WITH_SPLITS:
            raise Misfit(f"{{splits=}}: {self.dataset} brings none along, only {', '.join(_WITH_SPLITS)} do.", self)
        if self.splits == "own" and self.probe_protocol == "bgrl":
            raise Misfit("{probe_protocol=} draws its own splits: choose holdout, or random as the {splits}.", self)
        return self


_PAPER: dict[str, Any] = {"head_width": 512, "epochs": 10_000, "warmup_epochs": 1_000, "classifier": "one_vs_rest"}


def _published(
    dataset: str,
    widths: tuple[int, int],
    learning_rate: float,
    edges: tuple[float, float],
    features: tuple[float, float],
    **more: Any,
) -> GraphConfig:
    """A row of the table in Thakoor et al. 2022 (appendix): layers, learning rate, drop rates of the two views."""
    rates = dict(zip(("drop_edge_rate_1", "drop_edge_rate_2"), edges, strict=True))
    rates |= dict(zip(("drop_feature_rate_1", "drop_feature_rate_2"), features, strict=True))
    sizes = {"hidden_width": widths[0], "output_width": widths[1], "learning_rate": learning_rate}
    scaling = {"feature_scaling": "row", "probe_protocol": "bgrl"} | more
    return GraphConfig.model_validate({"dataset": dataset, **_PAPER, **sizes, **rates, **scaling})


GRAPH_PRESETS: dict[str, tuple[str, GraphConfig]] = {
    "block_model": ("Block model", GraphConfig()),
    "cora": (
        "Cora",
        GraphConfig(
            dataset="cora",
            hidden_width=512,
            output_width=256,
            head_width=512,
            feature_scaling="row",
            learning_rate=5e-4,
            warmup_epochs=100,
            epochs=1_000,
        ),
    ),
    "wikics": (
        "WikiCS",
        _published(
            "wikics",
            (512, 256),
            5e-4,
            (0.2, 0.3),
            (0.2, 0.1),
            feature_scaling="standard",
            splits="own",
            probe_protocol="holdout",
        ),
    ),
    "amazon_computers": ("Computers", _published("amazon_computers", (256, 128), 5e-4, (0.5, 0.4), (0.2, 0.1))),
    "amazon_photo": ("Photo", _published("amazon_photo", (256, 128), 1e-4, (0.4, 0.1), (0.1, 0.2))),
    "coauthor_cs": ("CS", _published("coauthor_cs", (512, 256), 1e-5, (0.3, 0.2), (0.3, 0.4))),
    "coauthor_physics": ("Physics", _published("coauthor_physics", (256, 128), 1e-5, (0.4, 0.1), (0.1, 0.4))),
}
