"""Every trainer on a simulated CUDA device: devices never mix, runs resume, and a step waits rarely for the device."""

from pathlib import Path
from typing import Any

import pytest
import torch

import werank_core.regularizers
from tests.simulated_cuda import CudaError, simulated
from werank_core.config import ExperimentConfig, RankCollapseConfig, ToySSLConfig
from werank_core.config.graph import GraphConfig
from werank_core.jobs.worker import trainer
from werank_core.sweeps import Run, RunBatch
from werank_core.training.graph import GraphSSL
from werank_core.training.rank_collapse import RankCollapse
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.training.toy_ssl import ToySSL

TOY = ToySSLConfig(
    dataset="mixture", num_samples=120, dimension=8, signal_dimension=4, num_classes=3, depth=2, width=8,
    batch_size=16, steps=2, records=1,
)  # fmt: skip
GRAPH = GraphConfig(
    num_nodes=60, num_classes=3, feature_dimension=12, hidden_width=10, output_width=6, head_width=8, epochs=2,
    warmup_epochs=0, records=1, num_splits=1,
)  # fmt: skip
CLASSIFIER = RankCollapseConfig(num_samples=30, dimension=8, num_classes=3, depth=3, width=8, steps=2, records=1)
IMAGES = CLASSIFIER.replaced(
    dataset="digits", image_samples=100, model="resnet", depth=4, width=4, batch_norm=True, batch_size=32
)
CASES: list[tuple[str, ExperimentConfig]] = [
    *(("toy_ssl", TOY.replaced(objective=name)) for name in ("infonce", "byol", "vicreg", "barlow_twins")),
    ("toy_ssl", TOY.replaced(penalty="srip")),
    ("toy_ssl", TOY.replaced(dataset="gaussian")),
    *(("graph", GRAPH.replaced(objective=name)) for name in ("bgrl", "grace", "vicreg", "barlow_twins")),
    ("graph", GRAPH.replaced(bfloat16=True)),
    ("rank_collapse", CLASSIFIER),
    ("rank_collapse", CLASSIFIER.replaced(centroid_loss=True, optimizer="adamw", werank_strength=0.1)),
    ("rank_collapse", CLASSIFIER.replaced(clusters="kmeans", num_clusters=2, stop_cosine=0.9)),
    ("rank_collapse", IMAGES),
    ("rank_collapse", IMAGES.replaced(model="cnn")),
]


def batch_of(name: str, config: ExperimentConfig) -> RunBatch:
    return RunBatch(name, tuple(Run(name, config.replaced(strength=strength)) for strength in (0.001, 0.1)))


@pytest.mark.parametrize(("name", "config"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_a_run_trains_and_resumes_on_the_device_with_the_numbers_of_the_cpu(
    name: str, config: ExperimentConfig, tmp_path: Path
) -> None:
    batch, there, here = batch_of(name, config), MemorySink(), MemorySink()
    place = Workplace("cuda:0", tmp_path, tmp_path / "checkpoint.safetensors", 0.0)
    with simulated():
        assert not trainer(name)(batch, Recorder(MemorySink(stop_at=1)), place)
        assert trainer(name)(batch, Recorder(there), place)
    assert trainer(name)(batch, Recorder(here), Workplace("cpu", tmp_path))
    clock = {"step_seconds", "penalty_cost"}
    for key in set(here.values[-1]) - clock:
        assert there.values[-1][key] == pytest.approx(here.values[-1][key], rel=1e-3, abs=1e-5, nan_ok=True), key


def new_task(name: str, config: ExperimentConfig) -> Any:
    batch = batch_of(name, config)
    if name == "graph":
        return GraphSSL(batch, Path(), "cuda:0")
    return {"toy_ssl": ToySSL, "rank_collapse": RankCollapse}[name](batch, "cuda:0")


TASKS: dict[str, Any] = {
    "toy_ssl": lambda: new_task("toy_ssl", TOY),
    "graph": lambda: new_task("graph", GRAPH),
    "rank_collapse": lambda: new_task("rank_collapse", CLASSIFIER),
}


@pytest.mark.parametrize(("name", "kernels"), [("toy_ssl", 114), ("graph", 320), ("rank_collapse", 38)])
def test_a_step_never_waits_and_launches_few_kernels(name: str, kernels: int) -> None:
    """Two runs; layer weights, draws, blocks and schedules are known to the host before."""
    with simulated() as log:
        task = TASKS[name]()
        task.advance(0)
        log.clear()
        task.advance(1)
    assert not log.num_waits, log.waits
    assert log.num_kernels <= kernels, log.kernels.most_common(20)


@pytest.mark.parametrize(("name", "config"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])
def test_no_setting_makes_a_step_wait(name: str, config: ExperimentConfig) -> None:
    """But penalties by eigenvalues: whether they were found is known on the device first."""
    with simulated() as log:
        task = new_task(name, config.replaced(**({"alpha_schedule": "linear"} if name != "rank_collapse" else {})))
        task.advance(0)
        log.clear()
        task.advance(1)
    assert {why for why, _ in log.waits} <= ({"_linalg_eigh"} if "srip" in str(config) else set())


@pytest.mark.parametrize("free", [2**20, 8 * 2**30])
@pytest.mark.parametrize("name", ["toy_ssl", "rank_collapse"])
def test_blocks_are_as_large_as_the_memory_of_the_device(name: str, free: int) -> None:
    """Not as its caches: forty runs of a size that is cut in three on a CPU are one block."""
    classifier = RankCollapseConfig(num_samples=300, dimension=16, width=64, depth=3)
    config = TOY.replaced(width=64, batch_size=64) if name == "toy_ssl" else classifier
    batch = RunBatch(name, tuple(Run(name, config.replaced(strength=0.001 * run)) for run in range(40)))
    with simulated(free=free):
        task = {"toy_ssl": ToySSL, "rank_collapse": RankCollapse}[name](batch, "cuda:0")
        assert (len(task.engine.blocks) == 1) == (free > 2**30)


def test_kernels_of_a_graph_step_do_not_grow_with_the_runs_of_a_seed() -> None:
    counts = []
    for num_runs in (2, 5):
        batch = RunBatch("graph", tuple(Run("graph", GRAPH.replaced(strength=0.001 * r)) for r in range(num_runs)))
        with simulated() as log:
            task = GraphSSL(batch, Path(), "cuda:0")
            task.advance(0)
            log.clear()
            task.advance(1)
        counts.append(log.num_kernels)
    assert counts[0] == counts[1]


def test_the_similarities_of_many_runs_are_few_kernels() -> None:
    """InfoNCE is cut for a core's cache on a CPU: 64 runs of batch 256 would be 32 pieces."""
    config = TOY.replaced(num_samples=900, batch_size=256, objective="infonce")
    counts = []
    for num_runs in (1, 64):
        batch = RunBatch("toy_ssl", tuple(Run("toy_ssl", config.replaced(strength=0.001 * r)) for r in range(num_runs)))
        with simulated() as log:
            task = ToySSL(batch, "cuda:0")
            task.advance(0)
            log.clear()
            task.advance(1)
        counts.append(log.num_kernels)
    assert counts[1] == counts[0]


def test_the_simulation_catches_a_tensor_on_the_wrong_device(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = lambda weight: weight @ weight.mT - torch.eye(weight.shape[-2])  # noqa: E731
    monkeypatch.setattr(werank_core.regularizers, "gram_residual", wrong)
    with simulated(), pytest.raises(CudaError, match="same device"):
        TASKS["toy_ssl"]().advance(0)


def test_the_simulation_refuses_what_cuda_refuses() -> None:
    with simulated() as log:
        there = torch.ones(3, device="cuda")
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(CudaError, match="generator"):
            torch.rand(3, device="cuda", generator=torch.Generator())
        with pytest.raises(CudaError, match="same device"):
            there + torch.ones(3)
        assert (there + torch.tensor(1.0)).cpu().tolist() == [2.0, 2.0, 2.0]
        assert float(there.sum()) == 3
    assert [why for why, _ in log.waits] == ["copy to the host", "_local_scalar_dense"]
