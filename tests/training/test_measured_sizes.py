"""Every experiment records how many rows of how many dimensions its ranks are of: what bounds them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from werank_core.config import ExperimentConfig, GraphConfig, RankCollapseConfig, ToySSLConfig
from werank_core.sweeps import SweepSpec, batches
from werank_core.training import graph, rank_collapse, toy_ssl
from werank_core.training.recorder import MemorySink, Recorder, Workplace


@pytest.mark.parametrize(
    ("train", "config", "sizes"),
    [
        (
            graph.train,
            GraphConfig(dataset="karate_club", epochs=1, warmup_epochs=0, records=1, num_splits=1, output_width=64),
            {"measured_rows": 34, "representation_width": 64, "embedding_width": 64},
        ),
        (
            toy_ssl.train,
            ToySSLConfig(steps=1, records=1, width=12, depth=2, evaluation_rows=50),
            {"measured_rows": 50, "representation_width": 12},
        ),
        (
            rank_collapse.train,
            RankCollapseConfig(steps=1, records=1, width=12, depth=3, num_samples=10, num_classes=2),
            {"measured_rows": 10, "representation_width": 12},
        ),
    ],
    ids=["graph", "toy_ssl", "rank_collapse"],
)
def test_the_sizes_are_those_of_what_was_measured(
    tmp_path: Path, train: Callable[..., bool], config: ExperimentConfig, sizes: dict[str, int]
) -> None:
    """Not of what was asked for: the 34 nodes of the karate club are never 4,096 rows."""
    name = train.__module__.rpartition(".")[2]
    (batch,) = batches(SweepSpec(experiment=name, config=config, strengths=(0.1,), seeds=1).runs(), 9)
    sink = MemorySink()
    assert train(batch, Recorder(sink), Workplace(data_folder=tmp_path))
    rows = {"graph": "all", "toy_ssl": "test", "rank_collapse": "train"}[name]
    for size, expected in sizes.items():
        assert (sink.last(f"{rows}/{size}") == expected).all(), size
    assert (
        sink.last(f"{rows}/effective_rank") <= min(sizes["measured_rows"], sizes["representation_width"]) + 1e-6
    ).all()
