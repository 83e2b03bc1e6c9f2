"""Which data a config means: looked up when it is submitted, kept in the config, and held against what is trained on.

Data that no seed makes enter a run's identity by their content. Data from a seed need nothing; those that come with a
package are checked against a digest in the code. Loads no torch.
"""

from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from werank_core.config import ExperimentConfig, GraphConfig, RankCollapseConfig, explain
from werank_core.datasets import graph_catalogue, openml
from werank_core.datasets.block_model import edge_probabilities
from werank_core.datasets.errors import DataError, GraphError, ImageError
from werank_core.datasets.facts import GraphFacts, ImageFacts, graph_facts, image_facts
from werank_core.datasets.graph_memory import check_budget, free_bytes, needed_bytes
from werank_core.datasets.own_data import own_file
from werank_core.sweeps import SweepSpec

Config = TypeVar("Config", bound=ExperimentConfig)
LEAST_FOR_BGRL = 10
"""Labelled nodes that can be split into a fifth, and this into halves."""

OWN_TRAINING_SHARE = 0.8
"""Of own images, at most; the others test."""


def data_name(config: ExperimentConfig) -> str:
    """What a person calls the data: the title of a public data set, the name of an own one."""
    if isinstance(config, GraphConfig):
        known = graph_catalogue.CATALOGUE.get(config.dataset)
        return f"your graph {config.own_graph!r}" if config.dataset == "own" else known.title if known else ""
    if isinstance(config, RankCollapseConfig):
        images = openml.CATALOGUE.get(config.dataset)
        own = config.dataset == "own_images"
        return f"your images {config.own_images!r}" if own else images.title if images else ""
    return ""


def missing_download(config: ExperimentConfig, root: Path) -> str | None:
    """The public data set that has to be fetched before this config can be trained; None where there is nothing to do.

    A file that an earlier version kept otherwise counts as missing.
    """
    if not config.applies_digest:
        return None
    name = str(getattr(config, "dataset", ""))
    return name if is_fetchable(name) and not is_fetched(name, root) else None


def is_fetchable(name: str) -> bool:
    """Whether `data fetch` knows the name."""
    graph = graph_catalogue.CATALOGUE.get(name)
    return name in openml.CATALOGUE or (graph is not None and not graph.offline)


def is_fetched(name: str, root: Path) -> bool:
    """Whether a public data set lies in the data folder as this version keeps it."""
    if name in openml.CATALOGUE:
        return openml.is_downloaded(name, root)
    if not graph_catalogue.is_downloaded(name, root):
        return False
    try:
        found = graph_facts(graph_catalogue.graph_path(name, root))
    except DataError:
        return False
    return graph_catalogue.CATALOGUE[name].is_kept_as(
        found.num_nodes, found.num_features, found.num_classes, found.num_unlabelled
    )


def data_facts(config: ExperimentConfig, root: Path) -> GraphFacts | ImageFacts | None:
    """Facts of the data that a config trains on; None where a seed or a package makes them.

    Raises: DataError: they are not there, or damaged.
    """
    if not config.applies_digest:
        return None
    if missing := missing_download(config, root):
        raise DataError(
            f"{data_name(config)} is not downloaded yet: fetch it (python -m werank_core data fetch {missing})."
        )
    if isinstance(config, GraphConfig):
        own = config.dataset == "own"
        path = own_file("graph", config.own_graph, root) if own else graph_catalogue.graph_path(config.dataset, root)
        return graph_facts(path)
    if isinstance(config, RankCollapseConfig):
        if config.dataset == "own_images":
            return image_facts(own_file("images", config.own_images, root))
        known = openml.CATALOGUE[config.dataset]
        return image_facts(openml.image_path(known, root), known.shape)
    return None


def identified(config: Config, root: Path) -> Config:
    """The config with the identity of the data that are in the data folder now, checked to be trainable on them.

    Raises: DataError: the data are missing, do not fit the settings, or are not those the config was made for.
    """
    facts = data_facts(config, root)
    found = facts.digest if facts else ""
    asked = str(getattr(config, "data_digest", ""))
    if asked and asked != found:
        raise DataError(
            f"{data_name(config)} was replaced since this sweep was made: its runs belong to the old data. Start a new "
            "sweep for the new data."
        )
    filled = {"data_digest": found, "image_classes": facts.num_classes if isinstance(facts, ImageFacts) else 0}
    named = [name for name in config.identity_fields() if config.applies(name)]
    if named:
        try:
            config = config.replaced(**{name: filled[name] for name in named})
        except ValidationError as error:  # settings that do not fit the classes found
            raise DataError(f"{data_name(config)}: {' '.join(explain(error))}") from error
    _check_fit(config, facts, root)
    return config


def identified_sweep(spec: SweepSpec, root: Path) -> SweepSpec:
    """The sweep with the identity of its data, every value of its second axis checked to be trainable on them.

    Raises: DataError: as `identified`, for the first value that does not fit.
    """
    spec = spec.model_copy(update={"config": identified(spec.config, root)})
    if spec.second_axis is not None:
        facts = data_facts(spec.config, root)
        for config in {getattr(run.config, spec.second_axis): run.config for run in spec.runs()}.values():
            _check_fit(config, facts, root)
    return spec


def is_replaced(config: ExperimentConfig, root: Path) -> bool:
    """Whether the data now under the config's name are others than those it was submitted with."""
    asked = getattr(config, "data_digest", "")
    if not asked or not config.applies_digest:
        return False
    try:
        facts = data_facts(config, root)
    except DataError:
        return False
    return facts is not None and facts.digest != asked


def check_digest(config: ExperimentConfig, found: str) -> None:
    """Hold the content of what was loaded against what the config was submitted with.

    Raises: DataError: the data were replaced in between.
    """
    asked = getattr(config, "data_digest", "")
    if asked and asked != found:
        raise DataError(
            f"{data_name(config)} was replaced after this run was submitted (content {found}, submitted with {asked}): "
            "submit the sweep again to train on the new data."
        )


def _check_fit(config: ExperimentConfig, facts: GraphFacts | ImageFacts | None, root: Path) -> None:
    if isinstance(config, GraphConfig):
        _check_graph(config, facts if isinstance(facts, GraphFacts) else None, root)
    elif isinstance(config, RankCollapseConfig) and isinstance(facts, ImageFacts):
        _check_images(config, facts)


def _check_graph(config: GraphConfig, facts: GraphFacts | None, root: Path) -> None:
    if config.dataset == "block_model":
        sizes = np.bincount(np.arange(config.num_nodes) % config.num_classes)
        edge_probabilities(sizes, config.homophily, config.average_degree)
    if facts is not None:
        name = data_name(config)
        if config.splits == "own" and not facts.num_splits:
            raise GraphError(f"splits = own: {name} brings none along; choose random.")
        labelled = facts.num_nodes - facts.num_unlabelled
        if config.probe_protocol == "bgrl" and config.splits == "random" and labelled < LEAST_FOR_BGRL:
            raise GraphError(
                f"probe_protocol = bgrl: {name} has {labelled} nodes with a label; {LEAST_FOR_BGRL} are needed, or "
                "choose holdout."
            )
        if facts.num_classes > config.evaluation_rows:
            raise GraphError(
                f"evaluation_rows = {config.evaluation_rows} is fewer than the {facts.num_classes} classes of {name}."
            )
    check_budget(needed_bytes(config, root), free_bytes(), config.memory_share)


def _check_images(config: RankCollapseConfig, facts: ImageFacts) -> None:
    rows = min(config.image_samples, int(OWN_TRAINING_SHARE * facts.num_images))
    needed = max(config.target_rank, facts.num_classes)
    if needed > min(rows, facts.num_images - rows):
        raise ImageError(
            f"{data_name(config)} has {facts.num_images} images: too few for {needed} classes or clusters."
        )
    if config.model != "mlp" and facts.shape[1] < 2:
        raise ImageError(f"model = {config.model}: {data_name(config)} has rows of numbers, no images; choose mlp.")
