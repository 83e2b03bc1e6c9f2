"""The registry of experiments: adding one here, with a config class, a trainer and a page, adds it everywhere."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from werank_core import __version__
from werank_core.config import (
    GRAPH_PRESETS,
    RANK_COLLAPSE_PRESETS,
    TOY_PRESETS,
    ExperimentConfig,
    GraphConfig,
    RankCollapseConfig,
    ToySSLConfig,
)
from werank_core.vocabulary import KMEANS, MetricKey


@dataclass(frozen=True)
class Preset:
    """A named starting point of an experiment's form; what it leaves empty is the experiment's default."""

    title: str
    config: ExperimentConfig
    strengths: tuple[float, ...] = ()
    second_axis: str | None = None
    second_values: tuple[float, ...] = ()
    seeds: int = 0


@dataclass(frozen=True)
class MetricSet:
    """Metrics that a person looks at together, by key, and one line that says what for."""

    help: str
    metrics: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """What the rest of the house needs to know about one experiment.

    `trainer` is "module:function", resolved by the worker alone. Runs of one batch may differ in `batch_varies`
    (besides strength and seeds) and must agree in everything else; at most `max_batch` of them train as one model.
    `focus` is the strength that a page compares with the baseline until another is picked. `headline` and
    `metric_sets`, the groups a person can switch the picture to, hold metric keys ("split/metric"): which rows a number
    is of is part of its name.
    """

    name: str
    title: str
    question: str
    config_class: type[ExperimentConfig]
    trainer: str
    strength_label: str
    headline: tuple[str, ...]
    metric_sets: Mapping[str, MetricSet]
    batch_varies: frozenset[str]
    max_batch: int
    default_strengths: tuple[float, ...]
    default_seeds: int
    focus: float
    presets: Mapping[str, Preset]

    @property
    def all_metric_sets(self) -> dict[str, MetricSet]:
        """Every group a person can switch the picture to, the headline first."""
        told = "What the question is about: rank, variation within classes, and accuracy."
        return {"headline": MetricSet(told, self.headline), **self.metric_sets}

    def headline_key(self, name: str) -> str:
        """The key under which the headline has that metric: on which rows this experiment records it."""
        return next(key for key in self.headline if MetricKey.parse(key).metric == name)

    def sweep_fields(self, preset: Preset) -> dict[str, Any]:
        """Strengths, second axis and seeds of a preset's sweep."""
        return {
            "strengths": preset.strengths or self.default_strengths,
            "second_axis": preset.second_axis,
            "second_values": preset.second_values,
            "seeds": preset.seeds or self.default_seeds,
        }

    @property
    def stackable(self) -> frozenset[str]:
        """Every field in which runs of one batch may differ."""
        return self.batch_varies | {"strength", "model_seed", "data_seed"}


_COLLAPSE = ("relative_tcv", "nc1_quotient", "cdnv", "nc2_equiangular")

_RANKS = "How many directions the representations use, by several definitions."
_CLUSTERS = "How far the representations collapse onto their classes: variation within against between them."
_WEIGHTS = "The spectra of the layers' weights, and how far neighbouring layers line up."


def _of_rows(split: str, *names: str) -> tuple[str, ...]:
    """Keys of metrics on the same rows."""
    return tuple(str(MetricKey(name, split)) for name in names)


_THEORY_DECAYS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3)


def _presets(configs: Mapping[str, tuple[str, ExperimentConfig]], **sweeps: Mapping[str, Any]) -> dict[str, Preset]:
    """Titles and configs as presets, with a sweep of their own where one is given."""
    return {key: Preset(title, config, **sweeps.get(key, {})) for key, (title, config) in configs.items()}


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="toy_ssl",
            title="Toy SSL",
            question="Does WERank keep the rank of a self-supervised encoder?",
            config_class=ToySSLConfig,
            trainer="werank_core.training.toy_ssl:train",
            strength_label="strength α",
            headline=("test/effective_rank", "test/relative_tcv", "test/kmeans_relative_tcv", "test/accuracy"),
            metric_sets={
                "rank": MetricSet(
                    _RANKS,
                    _of_rows(
                        "test", "effective_rank", "rankme", "covariance_effective_rank", "stable_rank", "alpha_req"
                    ),
                ),
                "collapse": MetricSet(_CLUSTERS, _of_rows("test", *_COLLAPSE, *(KMEANS + name for name in _COLLAPSE))),
                "weights": MetricSet(_WEIGHTS, ("weight_effective_rank", "weight_stable_rank", "layer_alignment")),
                "response": MetricSet(
                    "How strongly the encoder answers to a small change of its input, beside the loss without penalty.",
                    ("product_of_spectral_norms", *_of_rows("test", "response_sensitivity", "objective")),
                ),
            },
            batch_varies=frozenset({"augmentation_strength", "learning_rate", "weight_decay"}),
            max_batch=20,
            default_strengths=(0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            default_seeds=5,
            focus=0.1,
            presets=_presets(TOY_PRESETS),
        ),
        Experiment(
            name="graph",
            title="Graphs",
            question="Does WERank help self-supervised learning on graphs?",
            config_class=GraphConfig,
            trainer="werank_core.training.graph:train",
            strength_label="strength α",
            headline=("all/effective_rank", "all/embedding_effective_rank", "all/relative_tcv", "test/accuracy"),
            metric_sets={
                "rank": MetricSet(
                    _RANKS, _of_rows("all", "effective_rank", "rankme", "embedding_rankme", "stable_rank")
                ),
                "collapse": MetricSet(_CLUSTERS, _of_rows("all", "relative_tcv", "nc1", "nc1_quotient", "cdnv")),
                "weights": MetricSet(_WEIGHTS, ("weight_effective_rank", "weight_stable_rank", "layer_alignment")),
                "response": MetricSet(
                    "How smooth representations are over the graph, and their answer to changed features and edges.",
                    _of_rows("all", "dirichlet_energy", "feature_sensitivity", "edge_sensitivity"),
                ),
                "probe": MetricSet(
                    "What a linear probe makes of the representations, beside those of the untrained encoder.",
                    _of_rows("test", "accuracy", "untrained_accuracy", "macro_f1"),
                ),
                "cost": MetricSet("What the penalty costs in time.", ("step_seconds", "penalty_cost")),
            },
            batch_varies=frozenset(
                {
                    "augmentation_scale",
                    "drop_edge_rate_1",
                    "drop_edge_rate_2",
                    "drop_feature_rate_1",
                    "drop_feature_rate_2",
                }
            ),
            max_batch=8,
            default_strengths=(0.0, 0.01, 0.1, 1.0),
            default_seeds=5,
            focus=0.1,
            presets=_presets(
                GRAPH_PRESETS, block_model={"second_axis": "augmentation_scale", "second_values": (0.25, 1.0)}
            ),
        ),
        Experiment(
            name="rank_collapse",
            title="Rank collapse",
            question="How far do weight decay and cluster variation decide the rank of a classifier?",
            config_class=RankCollapseConfig,
            trainer="werank_core.training.rank_collapse:train",
            strength_label="weight decay λ",
            headline=("train/effective_rank", "train/relative_tcv", "train/kmeans_relative_tcv", "test/accuracy"),
            metric_sets={
                "layers": MetricSet(
                    "Layer by layer: the rank of the weights, beside the variation within classes of what comes in.",
                    (
                        "weight_effective_rank",
                        "weight_numerical_rank",
                        *_of_rows("train", "layer_tcv", "kmeans_layer_tcv"),
                    ),
                ),
                "bounds": MetricSet(
                    "Layer by layer: distance to rank K, the certificate that bounds it, and how stationary it is.",
                    (
                        "distance_to_rank",
                        *_of_rows("train", "certificate_bound", "certificate_tightness", "eigenvalue_cosine"),
                    ),
                ),
                "collapse": MetricSet(
                    _CLUSTERS,
                    _of_rows(
                        "train",
                        "relative_tcv",
                        "kmeans_relative_tcv",
                        "nc1",
                        "nc2_equiangular",
                        "nc3_self_duality",
                        "nc4_agreement",
                    ),
                ),
                "gradients": MetricSet(
                    "Layer by layer: what pulls at the weights, and how far loss and decay are from balance.",
                    _of_rows("train", "gradient_rank", "gradient_alignment", "residual_norm", "eigenvalue_ratio"),
                ),
                "truncation": MetricSet(
                    "What is left of accuracy and size when every layer is cut to its numerical rank.",
                    ("test/truncated_accuracy", "kept_parameters", "train/numerical_rank"),
                ),
            },
            batch_varies=frozenset({"learning_rate", "cluster_noise", "werank_strength"}),
            max_batch=40,
            default_strengths=(0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
            default_seeds=5,
            focus=1e-2,
            presets=_presets(
                RANK_COLLAPSE_PRESETS,
                theory={"strengths": _THEORY_DECAYS, "second_axis": "depth", "second_values": (1, 2, 3, 4), "seeds": 3},
                both_knobs={
                    "strengths": (0, 1e-4, 1e-3, 3e-3, 1e-2),
                    "second_axis": "werank_strength",
                    "second_values": (0, 1e-3, 1e-2, 1e-1),
                    "seeds": 3,
                },
            ),
        ),
    )
}

# The rooms that cannot change a recorded number: they keep, queue, show or start runs. Everything else counts, also
# what is added later. Library versions do not: requirements.txt pins them.
_ROOMS_WITHOUT_NUMBERS = (
    "__main__.py",
    "cli",
    "cli.py",
    "cli_*.py",
    "costs.py",
    "dashboard",
    "figures",
    "jobs",
    "monitor",
    "names.py",
    "report",
    "statistics",
    "store",
)


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        KeyError: with one sentence that lists the known names.
    """
    if name not in EXPERIMENTS:
        raise KeyError(f"unknown experiment {name!r}; known are {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]


@cache
def code_version() -> str:
    """Package version and a hash of the code that may decide numbers: runs of different versions are never merged."""
    return f"{__version__}+{hashed_code(Path(__file__).parent)}"


def hashed_code(package: Path) -> str:
    """8 hex digits over every Python file of a package tree, but for the rooms that cannot change a number."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        if not any(PurePath(path.parts[0]).match(room) for room in _ROOMS_WITHOUT_NUMBERS):
            digest.update(path.as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:8]
