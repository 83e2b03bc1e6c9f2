"""What every experiment records: a name is one quantity on one kind of rows, as the vocabulary says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from werank_core.experiments import EXPERIMENTS, experiment
from werank_core.jobs.worker import trainer
from werank_core.metrics import rank
from werank_core.sweeps import RunBatch, SweepSpec, batches
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.vocabulary import METRICS, ROWS, Metric, MetricKey

TOY = {"width": 8, "depth": 2, "steps": 4, "records": 2, "batch_size": 32}
GRAPH = {
    "num_nodes": 80, "num_classes": 3, "feature_dimension": 10, "hidden_width": 8, "output_width": 6, "head_width": 8,
    "epochs": 4, "warmup_epochs": 1, "records": 2, "num_splits": 2,
}  # fmt: skip
CLASSIFIER = {"num_samples": 30, "num_classes": 3, "dimension": 6, "width": 6, "depth": 3, "steps": 4, "records": 2}
THEORY = {
    "whitened": True, "activation": "linear", "bias": False, "loss": "squared", "num_samples": 40, "num_classes": 3,
    "dimension": 6, "width": 6, "depth": 2, "steps": 4, "records": 2, "cluster_noise": 1.0,
}  # fmt: skip
IMAGES = {"dataset": "digits", "image_samples": 100, "width": 4, "depth": 4, "steps": 2, "records": 1, "batch_size": 50}

CONFIGS = {
    **{f"toy {name}": ("toy_ssl", TOY | {"objective": name}) for name in ("infonce", "byol", "vicreg", "barlow_twins")},
    "toy gaussian": ("toy_ssl", TOY | {"dataset": "gaussian", "num_samples": 120}),
    **{f"graph {name}": ("graph", GRAPH | {"objective": name}) for name in ("bgrl", "grace", "barlow_twins", "vicreg")},
    "classifier": ("rank_collapse", CLASSIFIER | {"centroid_loss": True, "stop_cosine": 0.99}),
    "classifier k-means": ("rank_collapse", CLASSIFIER | {"clusters": "kmeans", "num_clusters": 2}),
    "classifier theory": ("rank_collapse", THEORY),
    "classifier cnn": ("rank_collapse", IMAGES | {"model": "cnn", "batch_norm": True}),
    "classifier resnet": ("rank_collapse", IMAGES | {"model": "resnet"}),
}


def recorded(name: str, settings: dict[str, Any], folder: Path) -> MemorySink:
    config = experiment(name).config_class(**settings)
    spec = SweepSpec(experiment=name, config=config, strengths=(0.01,), seeds=1)
    (batch,) = batches(spec.runs(), spec.num_runs)
    assert isinstance(batch, RunBatch)
    sink = MemorySink()
    assert trainer(name)(batch, Recorder(sink), Workplace(data_folder=folder))
    return sink


@pytest.mark.parametrize(("name", "settings"), CONFIGS.values(), ids=CONFIGS)
def test_every_record_keeps_to_the_vocabulary(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    config = experiment(name).config_class(**settings)
    for record in recorded(name, settings, tmp_path).values:
        for text, values in record.items():
            key = MetricKey.parse(text)
            assert key.metric in METRICS, f"{text} has no definition"
            assert config.records_metric(key.metric), f"{text} is recorded though the config says that it is not"
            assert (key.split in ROWS) == key.known.of_rows, f"{text}: does it have rows or not?"
            assert (values.ndim == 2) == key.known.per_layer, text
            low, high = key.known.span
            finite = values[np.isfinite(values)]
            assert low is None or (finite >= low - 1e-9).all(), (text, finite.min())
            assert high is None or (finite <= high + 1e-9).all(), (text, finite.max())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_an_experiment_draws_it_records(name: str, tmp_path: Path) -> None:
    """Headline and metric sets, over the configs above: a renamed metric would leave an empty row for ever."""
    own = [settings for of, settings in CONFIGS.values() if of == name]
    keys = {key for settings in own for record in recorded(name, settings, tmp_path).values for key in record}
    item = EXPERIMENTS[name]
    assert {key for drawn in item.all_metric_sets.values() for key in drawn.metrics} <= keys


@pytest.mark.parametrize("name", ["toy infonce", "graph bgrl", "classifier"])
def test_a_function_and_its_entry_are_all_that_a_metric_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more number of a spectrum: every experiment records it on its own rows, and in its ranges."""
    monkeypatch.setitem(rank.REPRESENTATION_NUMBERS, "nuclear_ratio", lambda s: s.sum(-1) / s.amax(-1))
    monkeypatch.setitem(METRICS, "nuclear_ratio", Metric("nuclear_ratio", "nuclear ratio", "Σs/s₁", "", span=(1, None)))
    test_every_record_keeps_to_the_vocabulary(*CONFIGS[name], tmp_path)
    keys = {MetricKey.parse(key) for key in recorded(*CONFIGS[name], tmp_path).values[-1]}
    assert "nuclear_ratio" in {key.metric for key in keys}
