"""Stacked classifiers with weight decay: the certificate, the closed form, the published numbers, exact batching."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from werank_core.config import RANK_COLLAPSE_PRESETS, RankCollapseConfig
from werank_core.datasets.errors import DataError
from werank_core.datasets.identity import identified
from werank_core.datasets.image_files import LabelledImages
from werank_core.datasets.own_data import keep_own_images
from werank_core.metrics.rank import distance_to_rank
from werank_core.metrics.row_sums import RowSums
from werank_core.metrics.stationarity import certificate_bound, layer_balance
from werank_core.models.cnn import make_classifier
from werank_core.sweeps import RunBatch, SweepSpec, batches
from werank_core.training import collapse_measures, collapse_trace, loop
from werank_core.training.draws import BatchOrder
from werank_core.training.rank_collapse import RankCollapse, train
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.training.stacked import evaluating, weights_of

SMALL = RankCollapseConfig(
    num_classes=3, dimension=6, num_samples=30, width=8, depth=3, steps=12, records=3, cluster_noise=0.5
)
DIGITS = SMALL.replaced(dataset="digits", image_samples=200, batch_size=50, learning_rate=0.01)


def make_batch(
    config: RankCollapseConfig = SMALL, strengths: tuple[float, ...] = (1e-3, 1e-1), seeds: int = 2, **more: Any
) -> RunBatch:
    spec = SweepSpec(experiment="rank_collapse", config=config, strengths=strengths, seeds=seeds, **more)
    (batch,) = batches(spec.runs(), spec.num_runs)
    return batch


def trained(
    batch: RunBatch,
    place: Workplace | None = None,
    stop_at: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> MemorySink:
    sink, place = MemorySink(stop_at=stop_at), place or Workplace()
    task = RankCollapse(batch, dtype=dtype, folder=place.data_folder)
    assert loop.train(task, batch, Recorder(sink), place) == (stop_at is None)
    return sink


def steps(task: RankCollapse, count: int) -> RankCollapse:
    for step in range(count):
        task.advance(step)
    return task


# -- the certificate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_the_recorded_bounds_are_in_order(depth: int) -> None:
    """λ 1e-5..1e-1, noise 0..2, three activations, two losses, at every recorded step.

    It is algebra that they are; what it can catch is another λ, another K, or layers that are mixed up.
    """
    checked = 0
    for activation in ("relu", "tanh", "gelu") if depth > 1 else ("relu",):
        for loss in ("cross_entropy", "squared"):
            config = SMALL.replaced(depth=depth, activation=activation, loss=loss, steps=60, records=4)
            noises = {"second_axis": "cluster_noise", "second_values": (0.0, 0.3, 2.0)}
            batch = make_batch(config, (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), seeds=1, **noises)
            decayed = np.array(batch.column("strength")) > 0
            for record in trained(batch).values:
                distance, first, second = (
                    record[name][decayed] for name in ("distance_to_rank", "train/certificate_bound", "train/tcv_bound")
                )
                assert np.isfinite([distance, first, second]).all()
                assert (distance <= first * (1 + 1e-6) + 1e-6).all()
                assert (first <= second * (1 + 1e-6) + 1e-6).all()
                assert np.isnan(record["train/certificate_bound"][~decayed]).all(), "undefined at λ = 0, not infinite"
                checked += distance.size
    assert checked >= 2 * 15 * 5 * depth


def test_no_cluster_noise_leaves_rank_k_in_the_first_layer() -> None:
    config = SMALL.replaced(cluster_noise=0, steps=600, learning_rate=0.2, dimension=12, width=12, schedule="constant")
    sink = trained(make_batch(config, (0.05,), seeds=1))
    assert sink.last("train/eigenvalue_cosine")[1].min() > 0.999
    assert sink.last("train/layer_absolute_tcv")[1, 0] < 1e-10
    assert sink.values[0]["distance_to_rank"][1, 0] > 1
    assert sink.last("distance_to_rank")[1, 0] < 1e-3


def test_a_layer_no_wider_than_k_has_distance_0_and_a_certificate_that_says_nothing() -> None:
    record = trained(make_batch(SMALL.replaced(width=3))).values[-1]
    assert (record["distance_to_rank"] == 0).all()
    assert np.isnan(record["train/certificate_tightness"]).all()


def test_the_certificate_is_recorded_for_adamw_too_but_its_residual_stays() -> None:
    """It is algebra, whatever λ does; λW + ∇L₀ is 0 at the fixed points of coupled decay alone."""
    residuals = {}
    for optimizer in ("adam", "adamw"):
        config = SMALL.replaced(optimizer=optimizer, steps=1000, learning_rate=0.03)
        record = trained(make_batch(config, (0.05,), seeds=2)).values[-1]
        decayed = [1, 3]
        assert np.isfinite(record["train/certificate_bound"][decayed]).all()
        assert np.isfinite(record["train/eigenvalue_cosine"]).all()
        assert (record["train/certificate_tightness"][decayed, :2] <= 1).all()
        residuals[optimizer] = (record["train/residual_norm"] / (0.05 * record["weight_norm"]))[decayed]
    assert residuals["adam"].max() < 0.05
    assert residuals["adamw"].min() > 0.9


def test_tightness_is_distance_over_certificate_and_the_norm_is_that_of_the_spectrum() -> None:
    sink = trained(make_batch(SMALL.replaced(steps=60)))
    record = sink.values[-1]
    expected = record["distance_to_rank"] / record["train/certificate_bound"]
    expected[:, -1] = np.nan  # 3 classes: the last layer cannot have a higher rank
    np.testing.assert_allclose(record["train/certificate_tightness"], expected, rtol=1e-6)
    for layer in (1, 2, 3):
        spectrum = sink.arrays[60]["weight_spectrum", layer]
        np.testing.assert_allclose(record["weight_norm"][:, layer - 1], np.linalg.norm(spectrum, axis=1), rtol=1e-5)


def test_kmeans_clusters_with_a_given_k_carry_the_certificate_too() -> None:
    config = SMALL.replaced(clusters="kmeans", num_clusters=2, steps=60)
    record = trained(make_batch(config)).values[-1]
    assert (record["distance_to_rank"] <= record["train/certificate_bound"] * (1 + 1e-6))[[1, 2]].all()
    weight = trained(make_batch(config)).arrays[60]["weight_spectrum", 1]
    np.testing.assert_allclose(record["distance_to_rank"][:, 0], np.sqrt((weight[:, 2:] ** 2).sum(1)), rtol=1e-5)


NETWORKS: list[dict[str, Any]] = [
    {"activation": "tanh"},
    {"loss": "squared", "depth": 5},
    {"batch_norm": True},
    {"model": "cnn", "dataset": "digits"},
    {"model": "cnn", "dataset": "digits", "batch_norm": True, "loss": "squared"},
    {"model": "resnet", "dataset": "digits", "depth": 4},
    {"model": "resnet", "dataset": "digits", "depth": 6, "batch_norm": True},
    {"optimizer": "adamw", "werank_strength": 0.1, "batch_size": 7},
]


def network_at_work(changes: dict[str, Any]) -> RankCollapse:
    """A few steps into training, in float32 as in a job."""
    config = SMALL.replaced(width=6, image_samples=100, learning_rate=0.01, **changes)
    return steps(RankCollapse(make_batch(config, (0.01,), seeds=1)), 5)


def autograd_gradients(task: RankCollapse, run: int) -> tuple[Tensor, list[Tensor]]:
    """Mean data loss of one run in float64, by a plain backward pass through its module, and all weights' gradients."""
    network = make_classifier(task.config, task.data.shape).double().train()
    state = task.model.parameters | task.model.buffers
    network.load_state_dict({name: tensor[run].detach().double() for name, tensor in state.items()}, strict=False)
    rows, labels = task.data.train[0].double(), task.data.train_labels[0]
    outputs = network(rows)
    if task.config.loss == "squared":
        loss = (outputs - functional.one_hot(labels, outputs.shape[1])).square().sum(1).mean() / 2
    else:
        loss = functional.cross_entropy(outputs, labels)
    loss.backward()
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]
    gradients = [layer.weight.grad for layer in layers if layer.weight.grad is not None]
    return loss.detach(), [gradient.flatten(1) for gradient in gradients]


def gradient_error(task: RankCollapse, layers: Sequence[RowSums]) -> float:
    """Worst ‖∇ − ∇*‖/‖∇*‖ over the layers of run 1: what a certificate was made of, against float64 autograd."""
    _, expected = autograd_gradients(task, 1)
    found = [sums.gradient[1] for sums in layers]
    assert len(found) == len(expected) == task.config.depth
    return max(((f - e).norm() / e.norm()).item() for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("changes", NETWORKS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_the_gradient_in_the_record_is_that_of_autograd(changes: dict[str, Any]) -> None:
    """This is what there is to be right or wrong about in the certificate: to 1e-4, in float32 as it is recorded."""
    task = network_at_work(changes)
    summed = task.passes.summary(torch.arange(2))
    assert gradient_error(task, summed.layers) < 1e-4
    values, _ = task.measure(5)
    loss, gradients = autograd_gradients(task, 1)
    weights = [weight[1].detach().flatten(1).double() for weight in weights_of(task.model.parameters).values()]
    residual = [(0.01 * w + g).norm().item() for w, g in zip(weights, gradients, strict=True)]
    assert values["train/residual_norm"][1].tolist() == pytest.approx(residual, rel=1e-3)
    assert values["train/objective"][1].item() == pytest.approx(loss.item(), rel=1e-5)


WRONG: dict[str, Callable[[RowSums], RowSums]] = {
    "a sum in place of a mean": lambda s: s._replace(products=30 * s.products, class_deltas=30 * s.class_deltas),
    "the class part forgotten": lambda s: s._replace(class_deltas=0 * s.class_deltas),
    "the within part forgotten": lambda s: s._replace(products=0 * s.products),
    "inputs in another order": lambda s: s._replace(products=s.products.flip(-1)),
    "one class for another": lambda s: s._replace(class_deltas=s.class_deltas.roll(1, -2)),
    "0.1 percent off": lambda s: s._replace(products=1.001 * s.products),
    "random numbers": lambda s: s._replace(products=torch.randn_like(s.products)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_gradient_violates_no_certificate_but_is_caught_by_autograd(wrong: str) -> None:
    """So that no certificate is ever violated is no evidence, and the test above is."""
    task = network_at_work({"cluster_noise": 1.0})
    layers = [WRONG[wrong](sums) for sums in task.passes.summary(torch.arange(2)).layers]
    assert gradient_error(task, layers) > 1e-4
    for weight, sums in zip(weights_of(task.model.parameters).values(), layers, strict=True):
        layer = layer_balance(weight.detach(), sums, 0.01)
        assert (distance_to_rank(layer.spectrum, layer.num_clusters) <= certificate_bound(layer)).all()


def test_a_batch_norm_taken_for_a_constant_is_caught() -> None:
    task = network_at_work({"batch_norm": True})
    with evaluating(task.model.skeleton):
        layers = task.passes.summary(torch.arange(2)).layers
    assert gradient_error(task, layers) > 1e-4


# -- closed form and published numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_deep_linear_networks_reach_the_closed_form(depth: int) -> None:
    """Within 1e-3 for 6 values of λ; of several random starts the one with the lowest loss counts."""
    decays = (1e-3, 3e-3, 1e-2, 3e-2, 0.06, 0.1)
    config = RANK_COLLAPSE_PRESETS["theory"][1].replaced(
        depth=depth, num_samples=60, dimension=8, width=8, records=1, steps=1500
    )
    seeds = 1 if depth < 3 else 2
    batch = make_batch(config, decays, seeds=seeds, vary_data=False)
    sink = trained(batch, dtype=torch.float64)
    best = sink.last("train/loss").reshape(seeds, -1).argmin(0)
    errors = sink.last("closed_form_error").reshape(seeds, -1)[best, np.arange(len(decays) + 1)]
    assert (errors[1:] < 1e-3).all(), errors
    spectra = sink.arrays[1500]["product_spectrum", 0]
    if depth == 2:
        target = sink.arrays[1500]["target_spectrum", 0]
        soft = np.maximum(target - np.array(batch.column("strength"))[:, None], 0)
        np.testing.assert_allclose(spectra, soft, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("depth", "width"), [(2, 2), (3, 3)])
def test_a_layer_narrower_than_the_target_ends_at_the_optimum_of_that_rank(depth: int, width: int) -> None:
    config = RANK_COLLAPSE_PRESETS["theory"][1].replaced(
        depth=depth, num_samples=60, dimension=8, width=width, records=1, steps=3000
    )
    sink = trained(make_batch(config, (1e-3, 1e-2), seeds=1), dtype=torch.float64)
    assert (sink.last("closed_form_error") < 1e-3).all()
    spectrum = sink.arrays[3000]["product_spectrum", 0]
    assert (spectrum[1:, width:] < 1e-9).all()
    assert (sink.arrays[3000]["target_spectrum", 0][:, width] > 0.05).all(), "values that were worth keeping"


def test_rank_falls_with_weight_decay_as_published() -> None:
    """Effective rank of layer 2, distance to rank K and accuracy against λ; means ~ N(0, I), He initialisation."""
    config = RankCollapseConfig(num_samples=50, records=1)
    batch = make_batch(config, (1e-5, 1e-3, 3e-3, 1e-2), seeds=1)
    sink = trained(batch)
    rank, distance = sink.last("weight_effective_rank")[1:], sink.last("distance_to_rank")[1:]
    np.testing.assert_allclose(rank[:, 1], [50.7, 48.8, 22.5, 5.0], rtol=0.15)
    np.testing.assert_allclose(distance[:3, 1], [9.8, 3.8, 0.50], rtol=0.15)
    assert distance[3, 1] < 0.01
    assert (np.diff(rank[1:, 1:3], axis=0) < 0).all(), "hidden layers, λ 1e-3 to 1e-2"
    assert (sink.last("test/accuracy") == 1).all()


def test_expected_cluster_variation_is_what_is_measured() -> None:
    config = SMALL.replaced(activation="linear", num_samples=2000, imbalance=0.5, records=1)
    record = trained(make_batch(config, (0.01,))).values[-1]
    np.testing.assert_allclose(record["train/expected_layer_tcv"], record["train/layer_absolute_tcv"], rtol=0.1)
    relu = trained(make_batch(SMALL)).values[-1]["train/expected_layer_tcv"]
    assert np.isfinite(relu[:, 0]).all()
    assert np.isnan(relu[:, 1:]).all(), "no closed form behind a ReLU"


# -- batching -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        SMALL.replaced(werank_strength=0.01, centroid_loss=True),
        SMALL.replaced(batch_norm=True, bias=False, optimizer="adamw", batch_size=7),
        DIGITS.replaced(model="cnn", batch_norm=True),
        DIGITS.replaced(model="resnet", depth=4, optimizer="adam"),
    ],
    ids=["werank", "adamw", "cnn", "resnet"],
)
def test_a_slice_of_a_batch_equals_the_solo_run(config: RankCollapseConfig) -> None:
    batch = make_batch(config, (1e-2,))
    together = steps(RankCollapse(batch, dtype=torch.float64), 5)
    measured, spectra = together.measure(12)
    for index, run in enumerate(batch.runs):
        alone = steps(RankCollapse(RunBatch(batch.experiment, (run,)), dtype=torch.float64), 5)
        for name, stacked in together.model.parameters.items():
            torch.testing.assert_close(stacked[index], alone.model.parameters[name][0], rtol=1e-8, atol=1e-9)
        values, arrays = alone.measure(12)
        assert values.keys() == measured.keys()
        for name in ("train/loss", "train/tcv_bound", "train/nc1", "train/effective_rank", "test/truncated_accuracy"):
            if name in values:
                torch.testing.assert_close(measured[name][index], values[name][0], rtol=1e-6, atol=1e-8, equal_nan=True)
        for key, array in arrays.items():
            torch.testing.assert_close(spectra[key][index], array[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "config",
    [
        SMALL.replaced(clusters="kmeans", num_clusters=2),
        DIGITS.replaced(model="cnn"),
        DIGITS.replaced(model="resnet", depth=4, batch_norm=True),
    ],
)
def test_a_record_in_small_pieces_is_that_of_all_at_once(
    config: RankCollapseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run at a time; few samples of a convolution's rows, few test rows."""
    task = steps(RankCollapse(make_batch(config), dtype=torch.float64), 3)
    together = task.measure(12)
    pieces = {"MEASURE_NUMBERS": 1, "TEST_NUMBERS": 1000, "PATCH_NUMBERS": 10_000}
    for module, sizes in ((collapse_trace, pieces), (collapse_measures, {"MATRIX_NUMBERS": 1})):
        for name, size in sizes.items():
            monkeypatch.setattr(module, name, size)
            for found, expected in zip(task.measure(12), together, strict=True):
                assert found.keys() == expected.keys()
                for key, value in expected.items():
                    torch.testing.assert_close(found[key], value, rtol=1e-7, atol=1e-9, equal_nan=True)


def test_fewer_rows_than_classes_can_be_evaluated_against_k_means() -> None:
    config = SMALL.replaced(num_classes=9, clusters="kmeans", num_clusters=2, evaluation_rows=5)
    values, _ = steps(RankCollapse(make_batch(config)), 2).measure(2)
    assert values["train/nc1"].isfinite().all()
    assert values["train/kmeans_relative_tcv"].isfinite().all()


def test_a_diverged_run_has_no_truncation_and_its_neighbours_keep_theirs() -> None:
    task = steps(RankCollapse(make_batch(SMALL)), 3)
    before, _ = collapse_measures.truncations(task.passes)
    with torch.no_grad():
        next(iter(weights_of(task.model.parameters).values()))[1, 0, 0] = torch.nan
    after, arrays = collapse_measures.truncations(task.passes)
    others = torch.arange(len(task.data.of_run)) != 1
    for name, value in after.items():
        assert value.isnan().equal(~others), name
        assert value[others].equal(before[name][others]), name
    assert arrays["truncation_curve", 0][1, :, 1:].isnan().all()


def test_runs_of_different_noise_share_a_batch_their_means_and_their_order() -> None:
    batch = make_batch(SMALL, (0.01,), seeds=1, second_axis="cluster_noise", second_values=(0.0, 1.0))
    task = RankCollapse(batch)
    quiet, noisy = (task.data.train[task.data.of_run[run]] for run in (0, 2))
    assert torch.equal(task.data.train_labels[0], task.data.train_labels[1])
    assert (noisy - quiet).std().item() == pytest.approx(1, abs=0.15)
    assert len({tuple(row.tolist()) for row in quiet}) == 3


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_stacked_training_is_what_plain_pytorch_does(optimizer: str) -> None:
    config = SMALL.replaced(optimizer=optimizer, batch_size=10, schedule="constant", learning_rate=0.01)
    task = RankCollapse(make_batch(config, (0.05,), seeds=1), dtype=torch.float64)
    rows, labels = task.data.train[0], task.data.train_labels[0]
    model = task.model.skeleton
    for name, parameter in model.named_parameters():
        parameter.data = task.model.parameters[name][1].detach().clone()
    weights = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": 0.05}, {"params": others}]
    plain = torch.optim.SGD(groups, 0.01, momentum=0.9) if optimizer == "sgd" else torch.optim.Adam(groups, 0.01)
    order = BatchOrder(0, len(rows), 10)
    for step in range(7):
        chosen = order.rows(step)
        loss = functional.cross_entropy(model(rows[chosen]), labels[chosen])
        plain.zero_grad()
        loss.backward()
        plain.step()
    steps(task, 7)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(task.model.parameters[name][1], parameter.data, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "config", [SMALL.replaced(batch_size=7, batch_norm=True, centroid_loss=True), SMALL.replaced(optimizer="adam")]
)
def test_a_resumed_job_gives_the_numbers_of_an_uninterrupted_one(tmp_path: Path, config: RankCollapseConfig) -> None:
    batch = make_batch(config)
    whole, place = trained(batch), Workplace(checkpoint=tmp_path / "job.safetensors")
    first, second = trained(batch, place, stop_at=7), trained(batch, place)
    assert first.steps + second.steps == whole.steps
    for one, other in zip(first.values + second.values, whole.values, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_diverged_run_leaves_its_neighbours_bit_identical() -> None:
    batch = make_batch(SMALL.replaced(stop_cosine=0.999))
    clean, broken = RankCollapse(batch), RankCollapse(batch)
    with torch.no_grad():
        for parameter in broken.model.parameters.values():
            parameter[1] = torch.nan
    others = [0, 2, 3, 4, 5]
    results = []
    for task in (clean, broken):
        task.measure(0)
        results.append(steps(task, 5).measure(12)[0])
    assert results[1]["train/loss"].isnan().tolist() == [False, True, False, False, False, False]
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name][others], value[others], rtol=1e-5, atol=1e-6, equal_nan=True)


# -- stopping, twins, compression -----------------------------------------------------------------------------------


def test_training_until_stationary_stops_run_by_run_and_says_when_it_never_did() -> None:
    config = SMALL.replaced(steps=3000, records=30, stop_cosine=0.99, schedule="constant", learning_rate=0.1)
    batch = make_batch(config, (0.05,), seeds=1)
    sink = trained(RunBatch(batch.experiment, batch.runs[1:]))
    (reached,) = sink.last("stationary_at")
    assert 0 < reached == sink.steps[-1] < 3000
    assert (sink.last("train/eigenvalue_cosine") > 0.99).all()
    both = trained(batch)
    assert both.steps[-1] == 3000, "λ = 0 is never stationary in this sense"
    assert np.isnan(both.last("stationary_at")[0])
    assert both.last("stationary_at")[1] == reached
    np.testing.assert_allclose(both.last("train/loss")[1], sink.last("train/loss")[0], rtol=1e-4)


def test_the_centroid_twin_is_the_run_itself_without_noise_and_drifts_with_it() -> None:
    config = SMALL.replaced(centroid_loss=True, imbalance=0.4, steps=100)
    batch = make_batch(config, (0.01,), seeds=1, second_axis="cluster_noise", second_values=(0.0, 0.3, 2.0))
    distance = trained(batch).last("centroid_distance").reshape(3, 2)
    assert (distance[0] < 1e-4).all()
    assert (np.diff(distance, axis=0) > 1e-3).all()


def test_truncation_keeps_everything_at_full_rank_and_less_accuracy_at_less() -> None:
    sink = trained(make_batch(DIGITS.replaced(steps=300, width=16, learning_rate=0.05), (3e-2,), seeds=1))
    curve = sink.arrays[300]["truncation_curve", 0]
    assert (np.diff(curve[:, :, 1], axis=1) <= 0).all(), "a larger tolerance never keeps more"
    np.testing.assert_allclose(curve[:, 0, 2], sink.last("test/accuracy"), atol=0.01)
    assert curve[1, -1, 1] < 0.9
    assert sink.last("kept_parameters").tolist() == pytest.approx(curve[:, 3, 1].tolist())
    assert "test/truncated_accuracy" not in sink.values[0]


def test_werank_holds_rank_up_against_weight_decay() -> None:
    config = SMALL.replaced(steps=300, width=16, werank_strength=0.05)
    record = trained(make_batch(config, (0.02,), seeds=1)).last("weight_effective_rank")
    plain = trained(make_batch(config.replaced(werank_strength=0), (0.02,), seeds=1)).last("weight_effective_rank")
    assert record[1, 1] > 1.4 * plain[1, 1]


@pytest.mark.parametrize("gram", ["smaller", "output", "input"])
def test_werank_is_on_the_gram_matrix_that_the_config_names(gram: str) -> None:
    task = RankCollapse(make_batch(SMALL.replaced(width=11, werank_strength=0.05, werank_gram=gram), (0.0,), seeds=1))
    hidden = [weight[0] for weight in weights_of(task.model.parameters).values()][:-1]
    assert hidden[0].shape[0] != hidden[0].shape[1]
    expected = 0.0
    for w in hidden:
        of_output = w.shape[0] <= w.shape[1] if gram == "smaller" else gram == "output"
        g = w @ w.mT if of_output else w.mT @ w
        expected += float(torch.linalg.matrix_norm(g - torch.eye(len(g))))
    assert task.measure(0)[0]["penalty"].item() == pytest.approx(expected, rel=1e-5)


def test_a_class_with_one_sample_and_a_class_nobody_tests() -> None:
    config = SMALL.replaced(num_samples=4, num_classes=3, imbalance=0.01)
    record = trained(make_batch(config)).values[-1]
    assert np.isfinite(record["train/loss"]).all()
    assert np.isfinite(record["train/tcv_bound"][1:3]).all()


def test_the_trainer_of_the_registry_runs() -> None:
    sink = MemorySink()
    assert train(make_batch(), Recorder(sink), Workplace())
    assert sink.steps == [0, 4, 8, 12]


class TestOwnImages:
    def kept(self, root: Path, shape: tuple[int, int, int], seed: int = 0) -> None:
        rng, labels = np.random.default_rng(seed), np.arange(200) % 4
        means = rng.integers(0, 200, (4, math.prod(shape)))
        pixels = (means[labels] + rng.integers(0, 55, (200, math.prod(shape)))).astype(np.uint8)
        keep_own_images("mine", LabelledImages(pixels, labels, shape), root)

    @pytest.mark.parametrize(
        ("shape", "model"), [((3, 5, 6), "cnn"), ((1, 9, 9), "resnet"), ((3, 5, 6), "mlp"), ((1, 1, 7), "mlp")]
    )
    def test_images_of_any_size_are_trained_on(self, tmp_path: Path, shape: tuple[int, int, int], model: str) -> None:
        self.kept(tmp_path, shape)
        config = SMALL.replaced(dataset="own_images", own_images="mine", model=model, depth=4, width=6, batch_size=20)
        batch = make_batch(identified(config, tmp_path), (0.0,), seeds=2)
        task = RankCollapse(batch, folder=tmp_path)
        assert (task.data.shape, task.data.num_classes, task.data.num_rows) == (shape, 4, 160)
        assert task.data.test.shape[1] == 40
        sink = MemorySink()
        loop.train(task, batch, Recorder(sink), Workplace(data_folder=tmp_path))
        assert np.isfinite(sink.last("test/accuracy")).all()
        assert sink.last("weight_effective_rank").shape == (2, 4)

    def test_replaced_images_are_not_trained_on(self, tmp_path: Path) -> None:
        self.kept(tmp_path, (1, 4, 4))
        config = identified(SMALL.replaced(dataset="own_images", own_images="mine"), tmp_path)
        self.kept(tmp_path, (1, 4, 4), seed=1)
        with pytest.raises(DataError, match="your images 'mine' was replaced after this run was submitted"):
            RankCollapse(make_batch(config, (0.0,), seeds=1), folder=tmp_path)
