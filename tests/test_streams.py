"""Random streams: no purpose and seed shares numbers with another, and a data seed chooses what it promises."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from werank_core.config import GraphConfig, RankCollapseConfig, ToySSLConfig
from werank_core.datasets.images import load_digits
from werank_core.datasets.synthetic import make_gaussian, make_mixture
from werank_core.metrics.rank import effective_rank, evaluation_rows, representation_singular_values
from werank_core.streams import Purpose, seeded_generator, seeded_numpy_generator, stream_seed
from werank_core.sweeps import Run, RunBatch
from werank_core.training.collapse_data import collapse_data
from werank_core.training.draws import BatchOrder
from werank_core.training.graph import GraphSSL
from werank_core.training.graph_measures import outputs_of
from werank_core.training.toy_data import make_split
from werank_core.training.toy_ssl import ToySSL


def test_no_two_streams_of_a_house_start_alike() -> None:
    seeds = [*range(400), 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**32 + 8]
    starts = [stream_seed(purpose, seed) for purpose in Purpose for seed in seeds]
    starts += [stream_seed(Purpose.TRAINING, seed, epoch) for seed in range(20) for epoch in range(1, 20)]
    assert len(set(starts)) == len(starts)


def test_a_stream_is_its_purpose_and_all_of_its_seeds() -> None:
    first = [torch.rand(4, generator=seeded_generator(Purpose.DATA, 5)) for _ in range(2)]
    assert torch.equal(*first)
    others = [seeded_generator(Purpose.DATA, 6), seeded_generator(Purpose.SPLIT, 5)]
    assert not any(torch.equal(first[0], torch.rand(4, generator=other)) for other in others)
    assert seeded_numpy_generator(Purpose.DATA, 5).random() == seeded_numpy_generator(Purpose.DATA, 5).random()
    assert seeded_numpy_generator(Purpose.DATA, 5).random() != seeded_numpy_generator(Purpose.SPLIT, 5).random()


def drawn_seeds(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Every seed that PyTorch's generators get from here on."""
    seeds: set[int] = set()

    class Generator(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            seeds.add(seed % 2**32)
            return super().manual_seed(seed)

    monkeypatch.setattr(torch, "Generator", Generator)
    plain = torch.manual_seed

    def manual_seed(seed: int) -> torch.Generator:
        seeds.add(seed % 2**32)
        return plain(seed)

    monkeypatch.setattr(torch, "manual_seed", manual_seed)
    return seeds


@pytest.mark.parametrize("name", ["toy", "graph", "graph_bgrl", "collapse"])
def test_runs_of_different_seeds_share_no_stream(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Seeds 1 and 8 met in 8 · seed + stream, a data seed and a model seed of one value in the seed itself."""

    def build(model_seed: int, data_seed: int) -> set[int]:
        with monkeypatch.context() as context:
            seeds = drawn_seeds(context)
            values: dict[str, Any] = {"model_seed": model_seed, "data_seed": data_seed}
            if name == "toy":
                toy = ToySSLConfig(dataset="mixture", num_samples=100, dimension=16, depth=1, width=4, **values)
                task = ToySSL(RunBatch("toy_ssl", (Run("toy_ssl", toy),)))
                task.advance(0)
            elif name.startswith("graph"):
                values |= {"probe_protocol": "bgrl"} if name.endswith("bgrl") else {}
                graph = GraphConfig(num_nodes=60, num_splits=1, epochs=2, warmup_epochs=1, **values)
                GraphSSL(RunBatch("graph", (Run("graph", graph),)), tmp_path).advance(0)
            else:
                config = RankCollapseConfig(num_samples=50, depth=2, width=4, batch_size=8, **values)
                collapse_data([config], tmp_path)
                BatchOrder(model_seed, 50, 8).rows(0)
            return seeds

    shared = build(1, 20) & build(8, 20)
    assert shared <= build(3, 20), "what they share is the data seed's"
    assert build(1, 1).isdisjoint(build(8, 8))
    assert len(build(5, 5)) == len(build(5, 6)), "equal seeds of model and data fall into one stream nowhere"


def test_data_are_drawn_from_their_own_stream() -> None:
    plain = torch.randn(8, 3, generator=torch.Generator().manual_seed(4))
    training = torch.randn(8, 3, generator=seeded_generator(Purpose.TRAINING, 4))
    rows = make_gaussian(8, 3, seed=4)
    assert not torch.equal(rows, plain)
    assert not torch.equal(rows, training)
    mixture, _ = make_mixture(8, 3, 2, separation=0.0, noise=1.0, seed=4)
    assert (mixture[:, None] - plain[None]).abs().sum(-1).min() > 1e-3
    assert not torch.equal(load_digits(0).train_rows, load_digits(1).train_rows)


def differing(rows: list[Tensor]) -> bool:
    return all(not torch.equal(a, b) for a, b in pairwise(rows))


def test_the_data_seed_alone_chooses_the_rows_that_are_evaluated(tmp_path: Path) -> None:
    config = RankCollapseConfig(num_samples=60, evaluation_rows=20)
    seeds = [(0, 0), (1, 0), (0, 1), (0, 2)]
    data = collapse_data([config.replaced(model_seed=m, data_seed=d) for m, d in seeds], tmp_path)
    assert data.of_run.tolist() == [0, 0, 1, 2]
    assert differing(list(data.evaluation))
    assert torch.equal(data.evaluation[1], evaluation_rows(data.num_rows, 1, 20))
    assert torch.equal(
        data.clusters, torch.stack([y[e] for y, e in zip(data.train_labels, data.evaluation, strict=True)])
    )


def test_toy_and_graph_evaluate_the_rows_of_their_data_seed(tmp_path: Path) -> None:
    toy = ToySSLConfig(dataset="gaussian", num_samples=300, dimension=16, depth=1, width=4, evaluation_rows=16)
    runs = tuple(Run("toy_ssl", toy.replaced(model_seed=m, data_seed=d)) for m, d in [(0, 3), (1, 3), (0, 4)])
    task = ToySSL(RunBatch("toy_ssl", runs))
    held_out = [make_split(toy, seed).test_rows for seed in (3, 3, 4)]
    for run, seed in enumerate((3, 3, 4)):
        assert torch.equal(task.data.test_rows[run], held_out[run][evaluation_rows(100, seed, 16)])

    graph = GraphConfig(num_nodes=80, evaluation_rows=16, num_splits=1, dataset="karate_club")
    runs = tuple(Run("graph", graph.replaced(data_seed=seed)) for seed in (0, 1))
    shared = GraphSSL(RunBatch("graph", runs), tmp_path)
    values, _ = shared.measure(1)
    before = values["all/effective_rank"]
    assert torch.equal(shared.measure(1)[0]["all/effective_rank"], before), "the same rows at every record"
    representations = outputs_of(shared.model, 0, shared.data[0]).representations
    for run in (0, 1):
        rows = evaluation_rows(34, run, 16)
        expected = effective_rank(representation_singular_values(representations[:, rows]))
        assert before[run] == pytest.approx(expected.item())
    assert before[0] != before[1]
