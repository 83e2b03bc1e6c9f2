"""Collapse metrics against loops in NumPy, scikit-learn, a simplex in closed form, and invariances by hypothesis."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from werank_core import vocabulary
from werank_core.metrics import collapse

Metric = Callable[[Tensor, Tensor, int], Tensor]
METRICS: dict[str, Metric] = {
    **{
        name: lambda z, y, k, number=number: number(collapse.class_moments(z, y, k))
        for name, number in {**collapse.CLUSTER_NUMBERS, **collapse.CLASS_NUMBERS}.items()
    },
    "nc3_self_duality": lambda z, y, k: nc3(z, y, k, classifier(k, z.shape[-1])),
    "nc4_agreement": lambda z, y, k: nc4(z, y, k, y),
}


def nc3(z: Tensor, y: Tensor, k: int, weight: Tensor) -> Tensor:
    return collapse.nc3_self_duality(collapse.class_moments(z, y, k), weight)


def nc4(z: Tensor, y: Tensor, k: int, predictions: Tensor) -> Tensor:
    return collapse.nc4_agreement(collapse.class_moments(z, y, k), predictions)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classifier(num_classes: int, features: int) -> Tensor:
    return random_tensor(num_classes, features, seed=99)


def labelled_sample(samples: int, features: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Every class at least twice, unbalanced, shifted class means."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(num_classes, (samples,), generator=generator)
    labels[: 2 * num_classes] = torch.arange(2 * num_classes) % num_classes
    means = 2 * random_tensor(num_classes, features, seed=seed + 1)
    return means[labels] + random_tensor(samples, features, seed=seed + 2), labels


def simplex(num_classes: int, features: int, scale: float = 1.0) -> Tensor:
    centred = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    rotation = torch.linalg.qr(random_tensor(features, num_classes)).Q
    return scale * centred @ rotation.mT


def numpy_metrics(z: np.ndarray, y: np.ndarray, k: int, weight: np.ndarray) -> dict[str, float]:
    """TCV by samples; the rest with every class the same, around the mean of the class means."""
    classes = [c for c in range(k) if (y == c).any()]
    k, features = len(classes), z.shape[1]
    means = np.stack([z[y == c].mean(0) for c in classes])
    mean = means.mean(0)
    s_w, s_b = np.zeros((features, features)), np.zeros((features, features))
    variance, variation = [], 0.0
    for m, c in zip(means, classes, strict=True):
        rows = z[y == c]
        s_w += np.mean([np.outer(row - m, row - m) for row in rows], axis=0) / k
        s_b += np.outer(m - mean, m - mean) / k
        variance.append(np.mean([np.sum((row - m) ** 2) for row in rows]))
        variation += np.sum((rows - m) ** 2) / len(z)
    norms = np.linalg.norm(means - mean, axis=1)
    pairs = [(a, b) for a in range(k) for b in range(k) if a != b]
    cosines = [(means[a] - mean) @ (means[b] - mean) / (norms[a] * norms[b]) for a, b in pairs]
    centred, rows = means - mean, weight[classes]
    predicted = NearestCentroid().fit(z, y).predict(z)
    return {
        "total_cluster_variation": variation,
        "relative_tcv": variation / np.trace(np.cov(z.T, bias=True).reshape(features, features)),
        "nc1": np.trace(s_w @ np.linalg.pinv(s_b, rcond=1e-10)) / k,
        "nc1_quotient": np.trace(s_w) / np.trace(s_b),
        "cdnv": np.mean([(variance[a] + variance[b]) / (2 * np.sum((means[a] - means[b]) ** 2)) for a, b in pairs]),
        "nc2_equinorm": norms.std() / norms.mean(),
        "nc2_equiangular": np.mean([abs(c + 1 / (k - 1)) for c in cosines]),
        "nc3_self_duality": np.linalg.norm(rows / np.linalg.norm(rows) - centred / np.linalg.norm(centred)),
        "nc4_agreement": np.mean(predicted == y),
    }


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=15, deadline=None)
@given(samples=st.integers(10, 40), features=st.integers(1, 8), k=st.integers(2, 5), seed=st.integers(0, 10**6))
def test_value_is_that_of_the_numpy_loop(name: str, samples: int, features: int, k: int, seed: int) -> None:
    z, y = labelled_sample(samples, features, k, seed)
    expected = numpy_metrics(z.numpy(), y.numpy(), k, classifier(k, features).numpy())[name]
    assert METRICS[name](z, y, k).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_an_empty_class_is_ignored(name: str) -> None:
    z, y = labelled_sample(30, 4, 3)
    y = torch.tensor([0, 2, 4])[y]
    expected = numpy_metrics(z.numpy(), y.numpy(), 5, classifier(5, 4).numpy())[name]
    assert METRICS[name](z, y, 5).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_more_classes_than_samples_are_most_of_them_empty(name: str) -> None:
    """As when k-means clusters are measured on a few rows of data with many classes."""
    z, y = labelled_sample(8, 4, 3)
    expected = numpy_metrics(z.numpy(), y.numpy(), 20, classifier(20, 4).numpy())[name]
    assert METRICS[name](z, y, 20).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_a_class_with_one_sample_counts(name: str) -> None:
    z, y = labelled_sample(20, 4, 3)
    y[y == 2] = 1
    y[0] = 2
    expected = numpy_metrics(z.numpy(), y.numpy(), 3, classifier(3, 4).numpy())[name]
    assert METRICS[name](z, y, 3).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("sizes", [(4, 4), (9, 1), (4, 4, 4, 4, 4), (50, 20, 9, 3, 1), (1, 1, 1)])
def test_a_collapsed_simplex_is_neural_collapse(sizes: tuple[int, ...]) -> None:
    """Whatever the class sizes: means weighted by them gave an equiangular error of 0.37 and NC3 of 0.49 for 50 : 1."""
    num_classes = len(sizes)
    means = simplex(num_classes, 8, scale=3.0)
    y = torch.repeat_interleave(torch.arange(num_classes), torch.tensor(sizes))
    z = means[y] + 7
    for name in ("total_cluster_variation", "relative_tcv", "nc1", "nc1_quotient", "cdnv", "nc2_equinorm"):
        assert METRICS[name](z, y, num_classes).item() == pytest.approx(0, abs=1e-10), name
    assert METRICS["nc2_equiangular"](z, y, num_classes).item() == pytest.approx(0, abs=1e-10)
    assert nc3(z, y, num_classes, 0.2 * means).item() == pytest.approx(0, abs=1e-10)
    assert nc3(z, y, num_classes, -means).item() == pytest.approx(2)
    assert nc4(z, y, num_classes, y).item() == 1
    assert nc4(z, y, num_classes, (y + 1) % num_classes).item() == 0


def test_known_variation_by_hand() -> None:
    z = torch.tensor([[1.0], [3.0], [11.0], [13.0]])
    y = torch.tensor([0, 0, 1, 1])
    assert collapse.class_means(collapse.class_moments(z, y, 2)).tolist() == [[2.0], [12.0]]
    assert METRICS["total_cluster_variation"](z, y, 2).item() == 1
    assert METRICS["relative_tcv"](z, y, 2).item() == pytest.approx(1 / 26)
    assert METRICS["nc1_quotient"](z, y, 2).item() == pytest.approx(1 / 25)
    assert METRICS["nc1"](z, y, 2).item() == pytest.approx(1 / 50)
    assert METRICS["cdnv"](z, y, 2).item() == pytest.approx(1 / 100)


def test_classes_without_structure_have_relative_tcv_one() -> None:
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(2, 1)
    y = torch.tensor([0, 0, 1, 1])
    assert METRICS["relative_tcv"](z, y, 2).item() == 1
    assert METRICS["nc1_quotient"](z, y, 2).item() == float("inf")
    assert METRICS["cdnv"](z, y, 2).item() == float("inf")
    assert METRICS["nc1"](z, y, 2).item() == 0
    assert METRICS["nc2_equinorm"](z, y, 2).isnan()


def test_equal_samples_have_no_relative_variation() -> None:
    z, y = torch.ones(6, 3), torch.arange(6) % 2
    assert METRICS["total_cluster_variation"](z, y, 2).item() == 0
    assert METRICS["relative_tcv"](z, y, 2).isnan()
    assert METRICS["cdnv"](z, y, 2).isnan()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 5))
def test_relative_tcv_is_a_share_and_on_balanced_classes_the_quotient_its_odds(seed: int, k: int) -> None:
    z, y = labelled_sample(25, 3, k, seed)
    assert 0 <= METRICS["relative_tcv"](z, y, k).item() <= 1
    z, y = z[: 4 * k], torch.arange(4 * k) % k
    share = METRICS["relative_tcv"](z, y, k).item()
    assert METRICS["nc1_quotient"](z, y, k).item() == pytest.approx(share / (1 - share))


@pytest.mark.parametrize("k", [2, 3, 7])
def test_on_balanced_classes_weights_by_sample_are_the_same(k: int) -> None:
    """NC1 and NC2 with n_k/N and the mean over samples, as they were before: to 1e-12."""
    z, y = random_tensor(5 * k, 9, seed=k).numpy() + 0.5, np.arange(5 * k) % k
    means = np.stack([z[y == c].mean(0) for c in range(k)])
    centred, within = means - z.mean(0), z - means[y]
    norms = np.linalg.norm(centred, axis=1)
    cosines = (centred @ centred.T / np.outer(norms, norms))[~np.eye(k, dtype=bool)]
    between = centred.T @ centred / k
    expected = {
        "nc1": np.trace(within.T @ within @ np.linalg.pinv(between, rcond=1e-10)) / len(z) / k,
        "nc1_quotient": (within**2).sum() / len(z) / np.trace(between),
        "nc2_equinorm": norms.std() / norms.mean(),
        "nc2_equiangular": np.abs(cosines + 1 / (k - 1)).mean(),
    }
    for name, value in expected.items():
        found = METRICS[name](torch.from_numpy(z), torch.from_numpy(y), k).item()
        assert found == pytest.approx(value, rel=1e-12, abs=1e-12), name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(2, 5), copies=st.integers(2, 9))
def test_more_copies_of_a_class_change_what_weights_samples_and_nothing_else(seed: int, k: int, copies: int) -> None:
    z, y = random_tensor(4 * k, 6, seed=seed), torch.arange(4 * k) % k
    more = torch.cat([z, *[z[y == 0]] * (copies - 1)]), torch.cat([y, *[y[y == 0]] * (copies - 1)])
    for name, metric in METRICS.items():
        change = (metric(*more, k) - metric(z, y, k)).abs().item()
        if "every sample weighing the same" in vocabulary.metric(name).tooltip:
            assert change > 1e-9 or name == "nc4_agreement", name  # a share may stay as it is
        else:
            assert change <= 1e-9 * (1 + metric(z, y, k).item()), name


@pytest.mark.parametrize("name", sorted(set(METRICS) - {"nc3_self_duality"}))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_shift_rotation_scale_order_and_class_names_do_not_matter(name: str, seed: int, scale: float) -> None:
    z, y = labelled_sample(25, 4, 3, seed)
    rotation = torch.linalg.qr(random_tensor(4, 4, seed=seed)).Q
    order = torch.randperm(25, generator=torch.Generator().manual_seed(seed))
    moved = scale * z @ rotation + random_tensor(4, seed=seed + 1)
    renamed = torch.tensor([2, 0, 1])[y]
    expected = METRICS[name](z, y, 3) * (scale**2 if name == "total_cluster_variation" else 1)
    torch.testing.assert_close(METRICS[name](moved[order], renamed[order], 3), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("power", [-1040, -565, 531, 1020])
def test_the_whole_range_of_float64_is_right(name: str, power: int) -> None:
    """2^531 = 7e159: squares overflow; 2^-565 = 1e-170: they vanish; 2^-1040 is denormal."""
    z, y = labelled_sample(30, 4, 3)
    z /= z.abs().amax()
    z = (z * 2**20).round() / 2**20  # what denormals can hold, too
    value, expected = METRICS[name](z * 2.0**power, y, 3), METRICS[name](z, y, 3)
    if name == "total_cluster_variation":
        assert value.isnan() if power > 0 else value.item() == expected.item() * 2.0**power * 2.0**power
    else:
        assert value.item() == expected.item()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shape", [(5, 1, 3), (4, 9, 2), (3, 2, 3), (7, 2, 6)], ids=lambda shape: str(shape))
@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, -1e200])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning:sklearn")
def test_degenerate_samples_are_nan_or_right_and_never_an_error(
    name: str, shape: tuple[int, int, int], constant: float
) -> None:
    """Width 1, N < D, K > D, a sample a class; equal samples, also of a number that sums do not hold exactly."""
    samples, features, k = shape
    z, y = random_tensor(samples, features), torch.arange(samples) % k
    expected = numpy_metrics(z.numpy(), y.numpy(), k, classifier(k, features).numpy())[name]
    assert METRICS[name](z, y, k).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    value = METRICS[name](torch.full_like(z, constant), y, k)
    defined = {"total_cluster_variation": 0.0, "nc1": 0.0, "nc4_agreement": (y == 0).double().mean().item()}
    assert value.item() == defined[name] if name in defined else value.isnan()


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("own_labels", [False, True])
def test_batch_is_a_stack_of_solos(name: str, own_labels: bool) -> None:
    samples = [labelled_sample(24, 4, 3, seed) for seed in range(6)]
    z = torch.stack([sample for sample, _ in samples]).reshape(2, 3, 24, 4)
    y = torch.stack([labels for _, labels in samples]).reshape(2, 3, 24) if own_labels else samples[0][1]
    values = METRICS[name](z, y, 3)
    assert values.shape == (2, 3)
    for run in np.ndindex(2, 3):
        torch.testing.assert_close(values[run], METRICS[name](z[run], y[run] if own_labels else y, 3))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_run_is_nan_and_its_neighbours_are_bit_identical(name: str, bad: float) -> None:
    z = torch.stack([labelled_sample(24, 4, 3, seed)[0] for seed in range(3)])
    y = labelled_sample(24, 4, 3)[1]
    expected = METRICS[name](z, y, 3)
    broken = z.clone()
    broken[1, 5, 2] = bad
    values = METRICS[name](broken, y, 3)
    assert values[1].isnan()
    assert torch.equal(values[[0, 2]], expected[[0, 2]])


def test_class_means_of_empty_classes_and_broken_runs_are_nan() -> None:
    z = random_tensor(2, 5, 3)
    z[1, 0, 0] = torch.nan
    means = collapse.class_means(collapse.class_moments(z, torch.tensor([0, 0, 2, 2, 2]), 3))
    assert means[0, 1].isnan().all()
    torch.testing.assert_close(means[0, 2], z[0, 2:].mean(0))
    assert means[1].isnan().all()


def test_float64_rows_are_left_as_they_are() -> None:
    z, y = labelled_sample(24, 4, 3)
    before = z.clone()
    collapse.class_moments(z, y, 3)
    assert torch.equal(z, before)


@pytest.mark.parametrize("name", METRICS)
def test_errors_name_what_is_wrong(name: str) -> None:
    z = random_tensor(4, 3)
    with pytest.raises(ValueError, match=r"labels reach from 0 to 2; they must lie in 0\.\.1"):
        METRICS[name](z, torch.tensor([0, 1, 2, 0]), 2)
    with pytest.raises(ValueError, match="labels has 3 entries for 4 samples"):
        METRICS[name](z, torch.tensor([0, 1, 0]), 2)


def test_classifier_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 4\); classes and features ask for \(2, 3\)"):
        nc3(random_tensor(4, 3), torch.tensor([0, 1, 0, 1]), 2, torch.zeros(2, 4))


def test_clusters_are_found_and_seeded() -> None:
    y = torch.arange(60) % 3
    z = torch.stack([10 * simplex(3, 4)[y] + 0.1 * random_tensor(60, 4, seed=seed) for seed in (1, 2)])
    labels = collapse.cluster_labels(z, 3, seed=0)
    assert labels.shape == (2, 60)
    assert all(adjusted_rand_score(y, run) == 1 for run in labels)
    assert torch.equal(labels, collapse.cluster_labels(z, 3, seed=0))
    assert METRICS["relative_tcv"](z, labels, 3).max() < 0.01


def test_clusters_of_a_broken_run_are_zero() -> None:
    z = random_tensor(2, 12, 3)
    expected = collapse.cluster_labels(z[0], 3, seed=0)
    z[1, 0, 0] = torch.nan
    labels = collapse.cluster_labels(z, 3, seed=0)
    assert torch.equal(labels[0], expected)
    assert not labels[1].any()


@pytest.mark.parametrize("clusters", [0, 5])
def test_impossible_number_of_clusters_is_named(clusters: int) -> None:
    with pytest.raises(ValueError, match=rf"num_clusters is {clusters}; 4 samples allow 1\.\.4"):
        collapse.cluster_labels(random_tensor(4, 2), clusters, seed=0)
