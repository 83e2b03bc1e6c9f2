"""The rank certificate and its parts against autograd, numpy, scikit-learn and trained networks."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch.nn import functional

from werank_core.metrics.collapse import relative_tcv, total_cluster_variation
from werank_core.metrics.row_sums import joined_row_sums, row_sums
from werank_core.metrics.stationarity import (
    batch_gradient,
    eigenvalue_cosine,
    eigenvalue_ratio,
    gradient_alignment,
    gradient_rank,
    gradient_rank_bound,
    rank_certificate,
    residual_norm,
    stationarity_residual,
    within_cluster_gradient,
)

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "gelu": functional.gelu, "linear": lambda x: x}
DECAYS = torch.tensor([1e-5, 1e-3, 1e-2, 1e-1])
NOISES = torch.tensor([0.0, 0.3, 2.0])
CLASSES, SAMPLES, WIDTH = 3, 36, 8
LABELS = torch.arange(SAMPLES) % CLASSES


def assert_certified(certificate, weight):
    """distance ≤ first bound ≤ TCV bound, up to the round-off of the largest number involved."""
    slack = 1e-9 * (1 + torch.linalg.matrix_norm(weight.double()))
    assert torch.isfinite(
        torch.stack(certificate[:-2])
    ).all()  # relative TCV and tightness are 0/0 where nothing varies
    assert (certificate.distance <= certificate.first_bound * (1 + 1e-9) + slack).all()
    assert (certificate.first_bound <= certificate.tcv_bound * (1 + 1e-9) + slack).all()


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
                yield rank_certificate(*values, LABELS, CLASSES, decay), values[0]
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
    assert (certificate.eigenvalue_cosine > 0.99).all()
    assert certificate.eigenvalue_ratio.tolist() == pytest.approx(decay.tolist(), rel=0.02)
    assert (records[0][0].eigenvalue_cosine < 0.9).all()
    # the distance is at most ‖W‖_F anyway: a useful bound lies well below
    assert (certificate.first_bound < 0.6 * torch.linalg.matrix_norm(weight.double())).all()
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
    assert_certified(rank_certificate(weight, inputs, deltas, labels, classes, 10**exponent), weight)


def test_first_bound_is_reached_where_the_weight_is_all_within_gradient():
    """One class with mean 0: no outer product is left, so λW = −G and the only slack is rank K = 1 itself."""
    inputs = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    deltas = torch.tensor([[-0.02, 0], [0.02, 0], [0, -0.4], [0, 0.4]], dtype=torch.float64)
    weight = torch.diag(torch.tensor([0.1, 2.0], dtype=torch.float64))
    certificate = rank_certificate(weight, inputs, deltas, torch.zeros(4, dtype=torch.long), 1, 0.1)
    assert certificate.residual_norm.item() == pytest.approx(0, abs=1e-15)
    assert certificate.distance.item() == pytest.approx(0.1)
    assert certificate.first_bound.item() == pytest.approx((0.1**2 + 2**2) ** 0.5)
    assert certificate.tcv_bound.item() == pytest.approx(((2 * 0.02**2 + 2 * 0.4**2) / 4) ** 0.5 / 0.1)


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
        certificate = rank_certificate(weight[0].detach(), z, deltas, LABELS, CLASSES, 0.01)
        assert certificate.residual_norm.item() == pytest.approx(
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
    gradient = batch_gradient(deltas, inputs)
    assert residual_norm(weight, gradient, decay).item() < 1e-12
    assert eigenvalue_cosine(weight, gradient).item() == pytest.approx(1, abs=1e-9)
    assert eigenvalue_ratio(weight, gradient).item() == pytest.approx(decay, rel=1e-9)


def test_point_clusters_leave_rank_k_at_a_stationary_point():
    weight, inputs, deltas = ridge_solution(0.1, noise=0)
    assert within_cluster_gradient(deltas, inputs, LABELS, CLASSES).abs().max() < 1e-15
    certificate = rank_certificate(weight, inputs, deltas, LABELS, CLASSES, 0.1)
    assert certificate.first_bound.item() < 1e-12


def test_within_cluster_gradient_is_the_sum_over_samples():
    _, inputs, deltas, labels = random_layer(3, samples=11, classes=3)
    expected = np.zeros((5, 6))
    for delta, z, label in zip(deltas.numpy(), inputs.numpy(), labels.numpy(), strict=True):
        expected += np.outer(delta, z - inputs.numpy()[labels.numpy() == label].mean(axis=0)) / 11
    within = within_cluster_gradient(deltas, inputs, labels, 3)
    np.testing.assert_allclose(within.numpy(), expected, atol=1e-14)
    rest = batch_gradient(deltas, inputs) - within
    assert gradient_rank(rest, 1e-10).item() <= 3


def test_the_fields_are_their_formulas():
    weight, inputs, deltas, labels = random_layer(4, samples=11, classes=2)
    certificate = rank_certificate(weight, inputs, deltas, labels, 2, 0.3)
    gradient = batch_gradient(deltas, inputs)
    values = np.linalg.svd(weight.numpy(), compute_uv=False)
    scatter = sum(
        ((part - part.mean(axis=0)) ** 2).sum() for part in (inputs.numpy()[labels.numpy() == k] for k in (0, 1))
    )
    residual = np.linalg.norm(stationarity_residual(weight, gradient, 0.3).numpy())
    rms = np.sqrt((deltas.numpy() ** 2).sum() / 11)
    assert certificate.distance.item() == pytest.approx(np.sqrt((values[2:] ** 2).sum()))
    assert certificate.residual_norm.item() == pytest.approx(residual)
    assert certificate.tcv_bound.item() == pytest.approx((rms * np.sqrt(scatter / 11) + residual) / 0.3)
    assert certificate.first_bound.item() == pytest.approx((certificate.within_gradient_norm.item() + residual) / 0.3)
    assert certificate.eigenvalue_cosine.item() == pytest.approx(eigenvalue_cosine(weight, gradient).item())
    assert certificate.eigenvalue_ratio.item() == pytest.approx(eigenvalue_ratio(weight, gradient).item())
    given_values = rank_certificate(weight, inputs, deltas, labels, 2, 0.3, singular_values=torch.tensor(values))
    assert given_values.distance.item() == pytest.approx(certificate.distance.item())


def test_cluster_variation_is_that_of_the_collapse_metrics():
    weight, inputs, deltas, labels = random_layer(14, samples=20, classes=3)
    certificate = rank_certificate(weight, inputs, deltas, labels, 3, 0.1)
    assert certificate.total_cluster_variation.item() == pytest.approx(
        total_cluster_variation(inputs, labels, 3).item()
    )
    assert certificate.relative_tcv.item() == pytest.approx(relative_tcv(inputs, labels, 3).item())


def test_float32_rows_give_a_certificate_that_still_holds_and_nearly_the_same_numbers():
    weight, inputs, deltas, labels = random_layer(15, samples=200, classes=3)
    exact = rank_certificate(weight, inputs, deltas, labels, 3, 1e-3)
    rounded = rank_certificate(weight.float(), inputs.float(), deltas.float(), labels, 3, 1e-3)
    assert_certified(rounded, weight.float())
    assert torch.stack(rounded).tolist() == pytest.approx(torch.stack(exact).tolist(), rel=1e-4)


def test_row_sums_of_parts_join_to_those_of_all_rows():
    """Also where a part lacks a class; a broken run stays alone with it."""
    _, inputs, deltas, labels = random_layer(16, runs=(2,), samples=30, classes=3)
    labels[:5] = 2
    whole = row_sums(inputs, deltas, labels, 4)
    cuts = [slice(0, 5), slice(5, 17), slice(17, 30)]
    joined = joined_row_sums([row_sums(inputs[:, cut], deltas[:, cut], labels[cut], 4) for cut in cuts])
    for found, expected in zip(joined, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    inputs[1, 20, 0] = torch.nan
    broken = joined_row_sums([row_sums(inputs[:, cut], deltas[:, cut], labels[cut], 4) for cut in cuts])
    assert torch.equal(broken.products[0], joined.products[0])
    assert broken.scatter_norm.isnan().tolist() == [False, True]


def test_stacked_runs_equal_single_runs_and_share_inputs():
    weight, inputs, deltas, labels = random_layer(5, runs=(2, 3), samples=9)
    decay = torch.linspace(0.1, 0.6, 6).reshape(2, 3)
    own_labels = torch.stack([labels, 1 - labels])[:, None].expand(2, 3, -1)
    stacked = rank_certificate(weight, inputs[0, 0], deltas, own_labels, 2, decay)
    for i, j in itertools.product(range(2), range(3)):
        single = rank_certificate(weight[i, j], inputs[0, 0], deltas[i, j], own_labels[i, j], 2, float(decay[i, j]))
        for field, value in zip(stacked, single, strict=True):
            assert field.shape == (2, 3)
            assert field[i, j].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_non_finite_run_leaves_its_neighbours_bit_identical(bad, part):
    arrays = list(random_layer(6, runs=(3,), samples=9))
    labels = arrays.pop()
    clean = rank_certificate(*arrays, labels, 2, 0.1)
    arrays[part] = arrays[part].clone()
    arrays[part][1, 0, 0] = bad
    broken = rank_certificate(*arrays, labels, 2, 0.1)
    for before, after in zip(clean, broken, strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert torch.stack([broken.first_bound, broken.tcv_bound, broken.residual_norm])[:, 1].isnan().all()
    assert broken.distance[1].isnan().item() == (part == 0)
    ranks = gradient_rank(batch_gradient(arrays[2], arrays[1]))
    assert ranks.isnan().tolist() == [False, part != 0, False]


def test_zero_weight_decay_leaves_the_bounds_undefined():
    weight, inputs, deltas, labels = random_layer(7, runs=(2,))
    certificate = rank_certificate(weight, inputs, deltas, labels, 2, torch.tensor([0.0, 0.1]))
    assert certificate.first_bound.isnan().tolist() == [True, False]
    assert certificate.tcv_bound.isnan().tolist() == [True, False]
    assert certificate.distance.isfinite().all()


def test_a_layer_no_wider_than_the_classes_has_distance_zero():
    weight, inputs, deltas, labels = random_layer(8, d_out=3, classes=4, samples=20)
    assert rank_certificate(weight, inputs, deltas, labels, 4, 0.1).distance.item() == 0


def test_more_classes_than_samples_and_single_samples_are_no_error():
    weight, inputs, deltas, _ = random_layer(9, samples=3)
    certificate = rank_certificate(weight, inputs, deltas, torch.tensor([0, 1, 9]), 10, 0.1)
    assert certificate.within_gradient_norm.item() == 0
    assert certificate.tcv_bound.item() == pytest.approx(certificate.residual_norm.item() / 0.1)


def test_an_empty_layer_has_no_direction():
    _, inputs, deltas, labels = random_layer(10)
    certificate = rank_certificate(torch.zeros(5, 6), inputs, deltas, labels, 2, 0.1)
    assert certificate.eigenvalue_cosine.isnan()
    assert certificate.distance.item() == 0


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
        certificate = rank_certificate(matrix, rows, pairs, labels, CLASSES, decay, num_samples=SAMPLES)
        assert_certified(certificate, matrix)
        assert certificate.residual_norm.item() == pytest.approx(residual_norm(matrix, gradient, decay).item())


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
    assert eigenvalue_ratio(weight.detach(), expected).item() == pytest.approx(0, abs=1e-4)
    assert_certified(
        rank_certificate(weight.detach(), inputs, deltas * SAMPLES, LABELS, CLASSES, 0.01), weight.detach()
    )


@pytest.mark.parametrize("samples", [1, 3, 20])
def test_rank_of_a_batch_gradient_is_bounded_by_the_batch(samples):
    _, inputs, deltas, _ = random_layer(11, samples=samples)
    expected = np.linalg.matrix_rank(deltas.numpy().T @ inputs.numpy(), rtol=1e-5)
    assert gradient_rank(batch_gradient(deltas.float(), inputs.float())).item() == expected
    assert expected == gradient_rank_bound(5, 6, samples)


def test_gradient_rank_edge_cases():
    assert gradient_rank(torch.zeros(4, 3)).item() == 0
    assert gradient_rank(torch.diag(torch.tensor([1.0, 1e-3, 1e-7]))).item() == 2
    assert gradient_rank(torch.diag(torch.tensor([1.0, 1e-3, 1e-7])), 1e-2).item() == 1
    wide = torch.diag(torch.tensor([1.0, 2e-5, 5e-6], dtype=torch.float64)) @ torch.eye(3, 5, dtype=torch.float64)
    assert [gradient_rank(1e-200 * g).item() for g in (wide, wide.mT, -wide.mT)] == [2, 2, 2]
    assert gradient_rank(wide, 1e-9).item() == 3
    assert gradient_rank_bound(64, 27, 2, uses_per_sample=5) == 10
    with pytest.raises(ValueError, match="tolerance"):
        gradient_rank(torch.eye(2), -1)


def test_gradient_alignment_is_a_cosine():
    first, _, _, _ = random_layer(12, runs=(4,))
    second = torch.stack([3 * first[0], -first[1], torch.zeros(5, 6), first[0]])
    alignment = gradient_alignment(first, second)
    assert alignment[:2].tolist() == pytest.approx([1, -1])
    assert alignment[2].isnan()
    cosine = functional.cosine_similarity(first[3].flatten(), first[0].flatten(), dim=0)
    assert alignment[3].item() == pytest.approx(cosine.item())
    assert gradient_alignment(1e-200 * first[0], 1e-200 * first[0]).item() == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e160, 1e300])
def test_the_whole_range_of_float64_is_right(size):
    """Norms whose squares overflow or vanish; what is free of scale keeps its value."""
    first, inputs, deltas, labels = random_layer(17, samples=20, classes=3)
    second, _, _, _ = random_layer(18)
    for gauge in (eigenvalue_cosine, gradient_alignment):
        assert gauge(size * first, second / size).item() == pytest.approx(gauge(first, second).item(), rel=1e-12)
    ratio = eigenvalue_ratio(size * first, second * size).item()
    assert ratio == pytest.approx(eigenvalue_ratio(first, second).item(), rel=1e-12)
    assert gradient_rank(size * first).item() == gradient_rank(first).item() == 5
    expected = rank_certificate(first, inputs, deltas, labels, 3, 0.1)
    found = rank_certificate(first, size * inputs, deltas / size, labels, 3, 0.1)
    for name in ("distance", "first_bound", "tcv_bound", "residual_norm", "relative_tcv", "tightness"):
        assert getattr(found, name).item() == pytest.approx(getattr(expected, name).item(), rel=1e-9), name
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
        rank_certificate(**arguments, num_classes=2, weight_decay=0.1)
