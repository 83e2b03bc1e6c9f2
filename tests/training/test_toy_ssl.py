"""Stacked toy SSL: a slice equals the solo run, a NaN stays in its run, a resumed job gives the same numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from werank_core.config import TOY_PRESETS, ToySSLConfig
from werank_core.regularizers import GRAMS, Gram
from werank_core.sweeps import RunBatch, SweepSpec, batches
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.training.toy_ssl import ToySSL, train

SMALL = ToySSLConfig(
    dataset="mixture", num_samples=300, dimension=6, signal_dimension=3, num_classes=3,
    depth=2, width=5, steps=12, batch_size=32, records=3, learning_rate=0.01,
)  # fmt: skip


def make_batch(
    config: ToySSLConfig = SMALL, strengths: tuple[float, ...] = (0.0, 0.1, 1.0), seeds: int = 2
) -> RunBatch:
    spec = SweepSpec(experiment="toy_ssl", config=config, strengths=strengths, seeds=seeds)
    (batch,) = batches(spec.runs(), spec.num_runs)
    return batch


def trained(batch: RunBatch, place: Workplace | None = None, stop_at: int | None = None) -> MemorySink:
    sink = MemorySink(stop_at=stop_at)
    assert train(batch, Recorder(sink), place or Workplace()) == (stop_at is None)
    return sink


def assert_same_records(first: MemorySink, second: MemorySink) -> None:
    assert first.steps == second.steps
    for one, other in zip(first.values, second.values, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("objective", ["infonce", "byol", "vicreg", "barlow_twins"])
def test_a_slice_of_a_batch_equals_the_solo_run(objective: str) -> None:
    batch = make_batch(
        SMALL.replaced(objective=objective, projector_depth=1, encoder="relu", bias=True, optimizer="sgd")
    )
    together = ToySSL(batch, dtype=torch.float64)
    alone = [ToySSL(RunBatch(batch.experiment, (run,)), dtype=torch.float64) for run in batch.runs]
    for task in (together, *alone):
        for step in range(8):
            task.advance(step)
    for name, stacked in together.model.parameters.items():
        solo = torch.cat([task.model.parameters[name] for task in alone])
        torch.testing.assert_close(stacked, solo, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gram", GRAMS)
def test_the_penalty_is_on_the_gram_matrix_that_the_config_names(gram: Gram) -> None:
    """Input 6 wide, encoder 5 wide: the first layer's Gram matrices differ, the others are square."""
    task = ToySSL(make_batch(SMALL.replaced(gram=gram, projector_depth=1, penalize_head=True)))
    weights = [parameter.detach() for name, parameter in task.model.parameters.items() if name.endswith("weight")]
    products = [w.mT @ w if gram == "input" else w @ w.mT for w in weights]
    expected = sum(torch.linalg.matrix_norm(g - torch.eye(g.shape[-1])) for g in products)
    torch.testing.assert_close(task.measure(0)[0]["penalty"], expected)


def test_runs_may_differ_in_noise_rate_and_decay_inside_a_batch() -> None:
    spec = SweepSpec(
        experiment="toy_ssl", config=SMALL, strengths=(0.1,), seeds=1,
        second_axis="augmentation_strength", second_values=(0.1, 1.0),
    )  # fmt: skip
    (batch,) = batches(spec.runs())
    assert batch.column("augmentation_strength") == [0.1, 0.1, 1.0, 1.0]
    values = trained(batch).values[-1]
    solo = [trained(RunBatch(batch.experiment, (run,))).values[-1] for run in batch.runs]
    np.testing.assert_allclose(values["test/loss"], [record["test/loss"][0] for record in solo], rtol=1e-4)


def test_a_run_that_diverges_leaves_its_neighbours_bit_identical() -> None:
    batch = make_batch()
    clean, broken = ToySSL(batch), ToySSL(batch)
    with torch.no_grad():
        for parameter in broken.model.parameters.values():
            parameter[1] = torch.nan
    for task in (clean, broken):
        for step in range(5):
            task.advance(step)
    others = [0, 2, 3, 4, 5]
    for name, parameter in clean.model.parameters.items():
        assert torch.equal(parameter[others], broken.model.parameters[name][others])
    values, _ = broken.measure(5)
    assert values["test/loss"].isnan().tolist() == [False, True, False, False, False, False]
    expected, _ = clean.measure(5)
    for name, value in values.items():
        assert torch.equal(value[others], expected[name][others]), name


@pytest.mark.parametrize("objective", ["infonce", "byol"])
def test_a_resumed_job_gives_the_numbers_of_an_uninterrupted_one(tmp_path: Path, objective: str) -> None:
    batch = make_batch(SMALL.replaced(objective=objective, batch_size=70))
    whole = trained(batch)
    place = Workplace(checkpoint=tmp_path / "job.safetensors")
    first = trained(batch, place, stop_at=7)
    second = trained(batch, place)
    assert not (tmp_path / "job.safetensors").exists(), "a finished job leaves no checkpoint"
    resumed = MemorySink(first.steps + second.steps, first.values + second.values)
    assert_same_records(resumed, whole)


def test_a_checkpoint_is_written_while_training_and_a_foreign_one_is_ignored(tmp_path: Path) -> None:
    place = Workplace(checkpoint=tmp_path / "job.safetensors", checkpoint_seconds=0)
    trained(make_batch(), place, stop_at=5)
    assert (tmp_path / "job.safetensors").exists()
    other = make_batch(strengths=(0.5,))
    assert_same_records(trained(other, place), trained(other))


def test_gaussian_rows_get_kmeans_clusters_and_no_accuracy() -> None:
    sink = trained(make_batch(SMALL.replaced(dataset="gaussian")))
    assert "test/kmeans_relative_tcv" in sink.values[-1]
    assert "test/accuracy" not in sink.values[-1]


def test_accuracy_is_measured_before_and_after_training() -> None:
    sink = trained(make_batch())
    assert ["test/accuracy" in record for record in sink.values] == [True, False, False, True]
    assert sink.steps == [0, 4, 8, 12]


def test_over_parametrised_case_loses_rank_and_werank_keeps_it() -> None:
    # 4,000 of the preset's 10,000 steps: the gap is 4.9 by then and wider from depth 3 on.
    config = TOY_PRESETS["over_parametrised"][1].replaced(records=1, steps=4_000)
    rank = trained(make_batch(config, (0.0, 0.1), seeds=1)).last("test/covariance_effective_rank")
    assert rank[1] - rank[0] >= 3


def test_strong_augmentation_is_out_of_reach_of_the_penalty() -> None:
    config = TOY_PRESETS["strong_augmentation"][1].replaced(records=1, steps=2_400)
    rank = trained(make_batch(config, (0.0, 0.1), seeds=1)).last("test/covariance_effective_rank")
    assert abs(rank[1] - rank[0]) <= 0.5


def test_the_pages_default_sweep_raises_rank_and_accuracy_on_digits() -> None:
    """Ten paired seeds: with five, the interval of the accuracy includes 0 for some sets of seeds."""
    sink = trained(make_batch(ToySSLConfig(records=1), (0.0, 0.1), seeds=10))
    for metric in ("test/effective_rank", "test/accuracy"):
        plain, regularized = sink.last(metric).reshape(10, 2).T
        assert stats.ttest_rel(regularized, plain).confidence_interval(0.95).low > 0, metric
