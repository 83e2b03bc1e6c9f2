"""What the time of a training step grows with, for pricing a shape that was never trained from one that was."""

import math
from collections.abc import Mapping
from typing import Any

from werank_core.config import ExperimentConfig, GraphConfig, RankCollapseConfig, ToySSLConfig
from werank_core.datasets.graph_catalogue import CATALOGUE

# Slopes of log time over log size, measured on two cores over everything that is practical there.
_EXPONENTS: Mapping[type[ExperimentConfig], Mapping[str, float]] = {
    ToySSLConfig: {"width": 0.89, "depth": 0.34, "rows": 0.89},
    GraphConfig: {"nodes": 0.88, "degree": 0.18, "features": 0.25, "width": 1.16, "depth": 1.0},
    RankCollapseConfig: {"width": 1.37, "depth": 1.0, "rows": 0.97, "classes": 0.25},
}
_CHOICE_DISTANCE = 1.0
"""Another objective or optimizer is as far away as a step that takes e times as long."""


def step_growth(known: ExperimentConfig, wanted: ExperimentConfig) -> float | None:
    """How many times as long a step of `wanted` takes as one of `known`: Π (size ratio)^exponent.

    None where the size of the data is not known beforehand, which is so for data of one's own.
    """
    if _own_data(known) != _own_data(wanted):
        return None
    return math.exp(sum(_log_growth(known, wanted)))


def distance(known: ExperimentConfig, wanted: ExperimentConfig) -> float:
    """How unlike two configs are in what costs: logarithms of what each size contributes, and the choices."""
    theirs = _choices(known)
    others: int = sum(theirs.get(name) != value for name, value in _choices(wanted).items())
    return _CHOICE_DISTANCE * others + sum(abs(part) for part in _log_growth(known, wanted))


def _log_growth(known: ExperimentConfig, wanted: ExperimentConfig) -> list[float]:
    """exponent · log(size ratio) of every size that both have."""
    before, after, exponents = sizes(known), sizes(wanted), _EXPONENTS.get(type(wanted), {})
    return [e * math.log(after[n] / before[n]) for n, e in exponents.items() if n in before and n in after]


def sizes(config: ExperimentConfig) -> dict[str, float]:
    """What costs, in numbers above 0."""
    if isinstance(config, ToySSLConfig):
        return {"width": config.width, "depth": config.depth, "rows": config.batch_size}
    if isinstance(config, GraphConfig):
        return {"width": config.hidden_width, "depth": config.depth} | _graph_sizes(config)
    if isinstance(config, RankCollapseConfig):
        rows = config.num_samples if config.dataset == "mixture" else config.image_samples
        batch = min(config.batch_size or rows, rows)
        return {"width": config.width, "depth": config.depth, "rows": batch, "classes": max(1, config.classes)}
    return {}


def _graph_sizes(config: GraphConfig) -> dict[str, float]:
    if config.dataset == "block_model":
        return {"nodes": config.num_nodes, "degree": config.average_degree, "features": config.feature_dimension}
    found = CATALOGUE.get(config.dataset)
    if found is None:
        return {}
    return {"nodes": found.num_nodes, "degree": found.num_edges / found.num_nodes, "features": found.num_features}


def _own_data(config: ExperimentConfig) -> str:
    """Name and content of data of one's own."""
    fields = ("own_graph", "own_images", "data_digest") if getattr(config, "dataset", "").startswith("own") else ()
    return " ".join(str(getattr(config, name, "")) for name in fields)


def _choices(config: ExperimentConfig) -> dict[str, Any]:
    skipped = config.identity_fields()
    return {n: v for n, v in config.effective().items() if isinstance(v, (str, bool)) and n not in skipped}
