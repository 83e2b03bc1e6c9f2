"""The rank certificate and its parts against autograd, numpy, scikit-learn and trained networks."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch.nn import functional

from werank_core.metrics.collapse import class_moments, relative_tcv, total_cluster_variation
from werank_core.metrics.gradients import batch_gradient, gradient_alignment, gradient_rank
from werank_core.metrics.rank import distance_to_rank
from werank_core.metrics.row_sums import joined_row_sums, row_sums
from werank_core.metrics.stationarity import (
    LAYER_NUMBERS,
    LayerBalance,
    eigenvalue_cosine,
    eigenvalue_ratio,
    layer_balance,
    residual_norm,
)
from werank_core.metrics.tables import numbers

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": functional.gelu, "linear": lambda x: x}
DECAYS = torch.tensor([1e-5, 1e-3, 1e-2, 1e-1])
NOISES = torch.tensor([0.0, 0.3, 2.0])
CLASSES, SAMPLES, WIDTH = 3, 36, 8
LABELS = torch.arange(SAMPLES) % CLASSES


def balance_of(weight, gradient, decay=0.1) -> LayerBalance:
    """Any matrix is a gradient: that of d_in samples, each an axis."""
    d_in = gradient.shape[-1]
    rows = row_sums(torch.eye(d_in), d_in * gradient.mT, torch.zeros(d_in, dtype=torch.long), 1)
    return layer_balance(weight, rows, decay)


def certificate_of(weight, inputs, deltas, labels, num_classes, weight_decay, *, num_samples=None, spectrum=None):
    """What is recorded of a layer, with the distance to rank K."""
    layer = layer_balance(weight, row_sums(inputs, deltas, labels, num_classes, num_samples), weight_decay, spectrum)
    return numbers(LAYER_NUMBERS, layer) | {"distance": distance_to_rank(layer.spectrum, num_classes)}


def assert_certified(certificate, weight):
    """distance ≤ first bound ≤ TCV bound, up to the round-off of the largest number involved."""
    slack = 1e-9 * (1 + torch.linalg.matrix_norm(weight.double()))
    for name, value in certificate.items():
        # 0/0 where nothing varies
        assert value.isfinite().all() or name in ("layer_tcv", "certificate_tightness"), name
    first_bound = certificate["certificate_bound"]
    assert (certificate["distance"] <= first_bound * (1 + 1e-9) + slack).all()
    assert (first_bound <= certificate["tcv_bound"] * (1 + 1e-9) + slack).all()


def random_layer(seed, *, runs=(), samples=7, d_out=5, d_in=6, classes=2):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(*runs, d_out, d_in, generator=generator, dtype=torch.float64)
    inputs = torch.randn(*runs, samples, d_in, generator=generator, dtype=torch.float64)
    deltas = torch.randn(*runs, samples, d_out, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (samples,), generator=generator)
    return weight, inputs, deltas, labels


def sample_losses(outputs, loss):
    """(R, N, K) -> (R, N)."""
    targets = functional.one_hot(LABELS, CLASSES).to(outputs.dtype)
    if loss == "squared":
        return 0.5 * ((outputs - targets) ** 2).sum(-1)
    return -(outputs.log_softmax(-1) * targets).sum(-1)


def forward(weights, inputs, activation):
    """Outputs, the input of each layer and its pre-activation, with a leading axis for runs."""
    hidden, layer_inputs, preactivations = inputs, [], []
    for index, weight in enumerate(weights):
        layer_inputs.append(hidden)
        preactivations.append(hidden @ weight.mT)
        hidden = activation(preactivations[-1]) if index < len(weights) - 1 else preactivations[-1]
    return hidden, layer_inputs, preactivations


def train(weights, inputs, activation, loss, decay, steps, record_every):
    """Coupled-L2 SGD on stacked runs; yields each layer's certificate with its weight while it trains."""
    optimizer = torch.optim.SGD(weights, lr=0.05, momentum=0.9)
    for step in range(steps + 1):
        outputs, layer_inputs, preactivations = forward(weights, inputs, activation)
        data_loss = sample_losses(outputs, loss).mean(-1)
        if step % record_every == 0:
            deltas = torch.autograd.grad(data_loss.sum() * SAMPLES, preactivations, retain_graph=True)
            for weight, layer_input, delta in zip(weights, layer_inputs, deltas, strict=True):
                values = (weight.detach(), layer_input.detach(), delta)
                yield certificate_of(*values, LABELS, CLASSES, decay), values[0]
        penalty = sum(0.5 * decay * (weight**2).sum((-2, -1)) for weight in weights)
        optimizer.zero_grad()
        (data_loss + penalty).sum().backward()
        optimizer.step()


def random_weights(runs, sizes):
    return [(torch.randn(runs, o, i) / i**0.5).requires_grad_() for i, o in itertools.pairwise(sizes)]


@pytest.mark.parametrize(
    ("depth", "activation", "loss"),
    [
        *itertools.product([1, 3], ["relu", "tanh", "gelu"], ["squared", "cross_entropy"]),
        (6, "relu", "squared"),
    ],
)
def test_certificate_holds_at_every_recorded_step_of_training(depth, activation, loss):
    torch.manual_seed(depth)
    decay, noise = (grid.flatten() for grid in torch.meshgrid(DECAYS, NOISES, indexing="ij"))
    inputs = torch.randn(CLASSES, WIDTH)[LABELS] + noise[:, None, None] * torch.randn(SAMPLES, WIDTH)
    weights = random_weights(len(decay), [WIDTH] * depth + [CLASSES])
    for certificate, weight in train(weights, inputs, ACTIVATIONS[activation], loss, decay, 200, 40):
        assert_certified(certificate, weight)


def test_a_trained_network_satisfies_the_eigenvalue_equation_and_the_bound_is_near():
    torch.manual_seed(0)
    decay = torch.tensor([0.02, 0.03])
    inputs = 1.5 * torch.randn(CLASSES, WIDTH)[LABELS] + 0.2 * torch.randn(SAMPLES, WIDTH)
    weights = random_weights(len(decay), [WIDTH, 16, CLASSES])
    records = list(train(weights, inputs, torch.relu, "squared", decay, 1500, 1500))
    certificate, weight = records[2]  # the hidden layer after the last step
    assert (certificate["eigenvalue_cosine"] > 0.99).all()
    assert certificate["eigenvalue_ratio"].tolist() == pytest.approx(decay.tolist(), rel=0.02)
    assert (records[0][0]["eigenvalue_cosine"] < 0.9).all()
    # the distance is at most ‖W‖_F anyway: a useful bound lies well below
    assert (certificate["certificate_bound"] < 0.6 * torch.linalg.matrix_norm(weight.double())).all()
    assert_certified(certificate, weight)


@given(
    seed=st.integers(0, 10**6),
    samples=st.integers(1, 12),
    d_out=st.integers(1, 7),
    d_in=st.integers(1, 7),
    classes=st.integers(1, 4),
    exponent=st.floats(-5, 1),
)
@settings(max_examples=150, deadline=None)
def test_certificate_holds_for_any_matrices(seed, samples, d_out, d_in, classes, exponent):
    weight, inputs, deltas, labels = random_layer(
        seed, runs=(2,), samples=samples, d_out=d_out, d_in=d_in, classes=classes
    )
    assert_certified(certificate_of(weight, inputs, deltas, labels, classes, 10**exponent), weight)


def test_first_bound_is_reached_where_the_weight_is_all_within_gradient():
    """One class with mean 0: no outer product is left, so λW = −G and the only slack is rank K = 1 itself."""
    inputs = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    deltas = torch.tensor([[-0.02, 0], [0.02, 0], [0, -0.4], [0, 0.4]], dtype=torch.float64)
    weight = torch.diag(torch.tensor([0.1, 2.0], dtype=torch.float64))
    certificate = certificate_of(weight, inputs, deltas, torch.zeros(4, dtype=torch.long), 1, 0.1)
    assert certificate["residual_norm"].item() == pytest.approx(0, abs=1e-15)
    assert certificate["distance"].item() == pytest.approx(0.1)
    assert certificate["certificate_bound"].item() == pytest.approx((0.1**2 + 2**2) ** 0.5)
    assert certificate["tcv_bound"].item() == pytest.approx(((2 * 0.02**2 + 2 * 0.4**2) / 4) ** 0.5 / 0.1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_from_deltas_and_inputs_is_what_autograd_gives(activation):
    torch.manual_seed(0)
    weights = [torch.randn(1, o, i, dtype=torch.float64, requires_grad=True) for o, i in ((6, 4), (5, 6), (3, 5))]
    inputs = torch.randn(1, SAMPLES, 4, dtype=torch.float64)
    outputs, layer_inputs, preactivations = forward(weights, inputs, ACTIVATIONS[activation])
    losses = sample_losses(outputs, "cross_entropy")[0]
    expected = torch.autograd.grad(losses.mean(), weights, retain_graph=True)
    for layer, weight in enumerate(weights):
        # one backward pass for each sample: the definition of d_i, with no 1/N to get wrong
        rows = [
            torch.autograd.grad(one, preactivations[layer], retain_graph=True)[0][0, i] for i, one in enumerate(losses)
        ]
        deltas, z = torch.stack(rows), layer_inputs[layer][0].detach()
        assert torch.allclose(batch_gradient(deltas, z), expected[layer][0], atol=1e-12)
        certificate = certificate_of(weight[0].detach(), z, deltas, LABELS, CLASSES, 0.01)
        assert certificate["residual_norm"].item() == pytest.approx(
            torch.linalg.matrix_norm(0.01 * weight + expected[layer]).item()
        )


def ridge_solution(decay, noise=0.4):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(CLASSES, WIDTH))[LABELS] + noise * rng.normal(size=(SAMPLES, WIDTH))
    targets = np.eye(CLASSES)[LABELS]
    weight = Ridge(alpha=decay * SAMPLES, fit_intercept=False).fit(inputs, targets).coef_
    deltas = inputs @ weight.T - targets
    return [torch.from_numpy(array) for array in (weight, inputs, deltas)]


@pytest.mark.parametrize("decay", [1e-3, 0.1, 5.0])
def test_ridge_solution_is_stationary(decay):
    weight, inputs, deltas = ridge_solution(decay)
    layer = layer_balance(weight, row_sums(inputs, deltas, LABELS, CLASSES), decay)
    assert residual_norm(layer).item() < 1e-12
    assert eigenvalue_cosine(layer).item() == pytest.approx(1, abs=1e-9)
    assert eigenvalue_ratio(layer).item() == pytest.approx(decay, rel=1e-9)


def test_point_clusters_leave_rank_k_at_a_stationary_point():
    weight, inputs, deltas = ridge_solution(0.1, noise=0)
    assert row_sums(inputs, deltas, LABELS, CLASSES).products.abs().max() < 1e-13
    certificate = certificate_of(weight, inputs, deltas, LABELS, CLASSES, 0.1)
    assert certificate["certificate_bound"].item() < 1e-12


def test_within_cluster_gradient_is_the_sum_over_samples():
    _, inputs, deltas, labels = random_layer(3, samples=11, classes=3)
    expected = np.zeros((5, 6))
    for delta, z, label in zip(deltas.numpy(), inputs.numpy(), labels.numpy(), strict=True):
        expected += np.outer(delta, z - inputs.numpy()[labels.numpy() == label].mean(axis=0)) / 11
    within = row_sums(inputs, deltas, labels, 3).products / 11
    np.testing.assert_allclose(within.numpy(), expected, atol=1e-14)
    rest = batch_gradient(deltas, inputs) - within
    assert gradient_rank(rest, 1e-10).item() <= 3


def test_the_fields_are_their_formulas():
    weight, inputs, deltas, labels = random_layer(4, samples=11, classes=2)
    certificate = certificate_of(weight, inputs, deltas, labels, 2, 0.3)
    gradient = batch_gradient(deltas, inputs)
    values = np.linalg.svd(weight.numpy(), compute_uv=False)
    scatter = sum(
        ((part - part.mean(axis=0)) ** 2).sum() for part in (inputs.numpy()[labels.numpy() == k] for k in (0, 1))
    )
    residual = np.linalg.norm((0.3 * weight + gradient).numpy())
    within = np.linalg.norm(row_sums(inputs, deltas, labels, 2).products.numpy()) / 11
    descent, size = -(weight * gradient).sum().item(), np.linalg.norm(weight.numpy())
    rms = np.sqrt((deltas.numpy() ** 2).sum() / 11)
    assert certificate["distance"].item() == pytest.approx(np.sqrt((values[2:] ** 2).sum()))
    assert certificate["residual_norm"].item() == pytest.approx(residual)
    assert certificate["tcv_bound"].item() == pytest.approx((rms * np.sqrt(scatter / 11) + residual) / 0.3)
    assert certificate["certificate_bound"].item() == pytest.approx((within + residual) / 0.3)
    cosine = descent / size / np.linalg.norm(gradient.numpy())
    assert certificate["eigenvalue_cosine"].item() == pytest.approx(cosine)
    assert certificate["eigenvalue_ratio"].item() == pytest.approx(descent / size**2)
    tightness = certificate["distance"] / certificate["certificate_bound"]
    assert certificate["certificate_tightness"].item() == pytest.approx(tightness.item())
    given_values = certificate_of(weight, inputs, deltas, labels, 2, 0.3, spectrum=torch.tensor(values))
    assert given_values["distance"].item() == pytest.approx(certificate["distance"].item())


def test_cluster_variation_is_that_of_the_collapse_metrics():
    weight, inputs, deltas, labels = random_layer(14, samples=20, classes=3)
    certificate = certificate_of(weight, inputs, deltas, labels, 3, 0.1)
    assert certificate["layer_absolute_tcv"].item() == pytest.approx(
        total_cluster_variation(class_moments(inputs, labels, 3)).item()
    )
    assert certificate["layer_tcv"].item() == pytest.approx(relative_tcv(class_moments(inputs, labels, 3)).item())


def test_float32_rows_give_a_certificate_that_still_holds_and_nearly_the_same_numbers():
    weight, inputs, deltas, labels = random_layer(15, samples=200, classes=3)
    exact = certificate_of(weight, inputs, deltas, labels, 3, 1e-3)
    rounded = certificate_of(weight.float(), inputs.float(), deltas.float(), labels, 3, 1e-3)
    assert_certified(rounded, weight.float())
    for name, value in exact.items():
        assert rounded[name].item() == pytest.approx(value.item(), rel=1e-4), name


def test_stacked_runs_equal_single_runs_and_share_inputs():
    weight, inputs, deltas, labels = random_layer(5, runs=(2, 3), samples=9)
    decay = torch.linspace(0.1, 0.6, 6).reshape(2, 3)
    own_labels = torch.stack([labels, 1 - labels])[:, None].expand(2, 3, -1)
    stacked = certificate_of(weight, inputs[0, 0], deltas, own_labels, 2, decay)
    for i, j in itertools.product(range(2), range(3)):
        single = certificate_of(weight[i, j], inputs[0, 0], deltas[i, j], own_labels[i, j], 2, float(decay[i, j]))
        for name, value in single.items():
            found = stacked[name].expand(2, 3)[i, j]  # inputs and labels do not know of the second axis
            assert found.item() == pytest.approx(value.item(), rel=1e-6), name


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_non_finite_run_leaves_its_neighbours_bit_identical(bad, part):
    arrays = list(random_layer(6, runs=(3,), samples=9))
    labels = arrays.pop()
    clean = certificate_of(*arrays, labels, 2, 0.1)
    arrays[part] = arrays[part].clone()
    arrays[part][1, 0, 0] = bad
    broken = certificate_of(*arrays, labels, 2, 0.1)
    for name, before in clean.items():
        assert torch.equal(before[[0, 2]], broken[name][[0, 2]]), name
    assert torch.stack([broken["certificate_bound"], broken["tcv_bound"], broken["residual_norm"]])[:, 1].isnan().all()
    assert broken["distance"][1].isnan().item() == (part == 0)
    ranks = gradient_rank(batch_gradient(arrays[2], arrays[1]))
    assert ranks.isnan().tolist() == [False, part != 0, False]


def test_zero_weight_decay_leaves_the_bounds_undefined():
    weight, inputs, deltas, labels = random_layer(7, runs=(2,))
    certificate = certificate_of(weight, inputs, deltas, labels, 2, torch.tensor([0.0, 0.1]))
    assert certificate["certificate_bound"].isnan().tolist() == [True, False]
    assert certificate["tcv_bound"].isnan().tolist() == [True, False]
    assert certificate["distance"].isfinite().all()


def test_a_layer_no_wider_than_the_classes_has_distance_zero():
    weight, inputs, deltas, labels = random_layer(8, d_out=3, classes=4, samples=20)
    certificate = certificate_of(weight, inputs, deltas, labels, 4, 0.1)
    assert certificate["distance"].item() == 0
    assert certificate["certificate_tightness"].isnan()


def test_more_classes_than_samples_and_single_samples_are_no_error():
    weight, inputs, deltas, _ = random_layer(9, samples=3)
    certificate = certificate_of(weight, inputs, deltas, torch.tensor([0, 1, 9]), 10, 0.1)
    assert certificate["layer_absolute_tcv"].item() == 0
    assert certificate["tcv_bound"].item() == pytest.approx(certificate["residual_norm"].item() / 0.1)


def test_an_empty_layer_has_no_direction():
    _, inputs, deltas, labels = random_layer(10)
    certificate = certificate_of(torch.zeros(5, 6), inputs, deltas, labels, 2, 0.1)
    assert certificate["eigenvalue_cosine"].isnan()
    assert certificate["distance"].item() == 0


def test_convolution_pairs_of_sample_and_position():
    torch.manual_seed(0)
    images = (torch.randn(CLASSES, 3, 6, 6)[LABELS] + 0.1 * torch.randn(SAMPLES, 3, 6, 6)).double()
    weight = torch.randn(8, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    head = torch.randn(CLASSES, 8 * 16, dtype=torch.float64)
    preactivation = functional.conv2d(images, weight)
    outputs = torch.relu(preactivation).flatten(1) @ head.T
    losses = sample_losses(outputs[None], "cross_entropy")[0]
    expected, deltas = torch.autograd.grad(losses.sum(), [weight, preactivation])
    rows = functional.unfold(images, 3).mT.reshape(-1, 27)
    pairs = deltas.flatten(2).mT.reshape(-1, 8)
    gradient = batch_gradient(pairs, rows, SAMPLES)
    assert torch.allclose(gradient, expected.flatten(1) / SAMPLES, atol=1e-12)
    matrix, labels = weight.detach().flatten(1), LABELS.repeat_interleave(16)
    for decay in (1e-3, 0.1, 10.0):
        certificate = certificate_of(matrix, rows, pairs, labels, CLASSES, decay, num_samples=SAMPLES)
        assert_certified(certificate, matrix)
        residual = torch.linalg.matrix_norm(decay * matrix + gradient)
        assert certificate["residual_norm"].item() == pytest.approx(residual.item())


def test_batch_norm_in_train_mode_keeps_the_gradient_a_sum_over_samples():
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES, WIDTH, dtype=torch.float64)
    weight = torch.randn(6, WIDTH, dtype=torch.float64, requires_grad=True)
    norm, head = torch.nn.BatchNorm1d(6).double().train(), torch.randn(CLASSES, 6, dtype=torch.float64)
    preactivation = inputs @ weight.T
    outputs = torch.relu(norm(preactivation)) @ head.T
    mean_loss = sample_losses(outputs[None], "cross_entropy").mean()
    expected, deltas = torch.autograd.grad(mean_loss, [weight, preactivation])
    assert torch.allclose(batch_gradient(deltas * SAMPLES, inputs), expected, atol=1e-12)
    # the scale of W does not change the function, so the gradient is orthogonal to W
    assert eigenvalue_ratio(balance_of(weight.detach(), expected)).item() == pytest.approx(0, abs=1e-4)
    assert_certified(certificate_of(weight.detach(), inputs, deltas * SAMPLES, LABELS, CLASSES, 0.01), weight.detach())


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e160, 1e300])
def test_the_whole_range_of_float64_is_right(size):
    """Norms whose squares overflow or vanish; what is free of scale keeps its value."""
    first, inputs, deltas, labels = random_layer(17, samples=20, classes=3)
    second, _, _, _ = random_layer(18)
    alignment = gradient_alignment(size * first, second / size).item()
    assert alignment == pytest.approx(gradient_alignment(first, second).item(), rel=1e-12)
    plain, opposite, scaled = (balance_of(a * first, b * second) for a, b in ((1, 1), (size, 1 / size), (size, size)))
    assert eigenvalue_cosine(opposite).item() == pytest.approx(eigenvalue_cosine(plain).item(), rel=1e-12)
    assert eigenvalue_ratio(scaled).item() == pytest.approx(eigenvalue_ratio(plain).item(), rel=1e-12)
    assert gradient_rank(size * first).item() == gradient_rank(first).item() == 5
    expected = certificate_of(first, inputs, deltas, labels, 3, 0.1)
    found = certificate_of(first, size * inputs, deltas / size, labels, 3, 0.1)
    for name in expected.keys() - {"layer_absolute_tcv"}:
        assert found[name].item() == pytest.approx(expected[name].item(), rel=1e-9), name
    parts = [row_sums(size * inputs[cut], deltas[cut], labels[cut], 3) for cut in (slice(0, 8), slice(8, 20))]
    joined = joined_row_sums(parts).scatter_norm.item()
    assert joined == pytest.approx(size * row_sums(inputs, deltas, labels, 3).scatter_norm.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 1, 2, 0, 0, 0, 0])}, "labels must lie"),
        ({"labels": torch.tensor([0, -1, 0, 0, 0, 0, 0])}, "labels must lie"),
        ({"labels": torch.tensor([0, 1])}, "one entry per row"),
        ({"inputs": torch.ones(3, 6)}, "one N"),
        ({"inputs": torch.ones(0, 6), "deltas": torch.ones(0, 5)}, "one N"),
        ({"weight": torch.ones(6, 5)}, "shape"),
        ({"num_samples": 0}, "num_samples"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, message):
    names = ("weight", "inputs", "deltas", "labels")
    arguments = dict(zip(names, random_layer(13), strict=True)) | change
    with pytest.raises(ValueError, match=message):
        certificate_of(**arguments, num_classes=2, weight_decay=0.1)
