"""One pass over the rows gives the numbers that `collapse` and `rank` define, metric by metric."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from werank_core.metrics import collapse, rank
from werank_core.metrics.class_moments import (
    class_moments,
    neural_collapse_of_moments,
    singular_values_of_moments,
    variation_of_moments,
)


def clustered(seed: int, runs: int = 3, rows: int = 40, width: int = 5, classes: int = 4, noise: float = 0.3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (runs, rows), generator=generator)
    means = torch.randn(runs, classes, width, generator=generator)
    rows_of = means.gather(1, labels[..., None].expand(-1, -1, width))
    return rows_of + noise * torch.randn(rows_of.shape, generator=generator), labels, means


def everything(z: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, predictions: torch.Tensor, k: int):
    arguments = (z, labels, k)
    return {
        "total_cluster_variation": collapse.total_cluster_variation(*arguments),
        "relative_tcv": collapse.relative_tcv(*arguments),
        "nc1": collapse.nc1(*arguments),
        "nc2_equinorm": collapse.nc2_equinorm(*arguments),
        "nc2_equiangular": collapse.nc2_equiangular(*arguments),
        "nc3_self_duality": collapse.nc3_self_duality(*arguments, weight),
        "nc4_agreement": collapse.nc4_agreement(*arguments, predictions),
    }


@given(seed=st.integers(0, 10**6), noise=st.sampled_from([1e-6, 0.1, 3.0]), classes=st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_every_metric_is_the_one_defined(seed: int, noise: float, classes: int) -> None:
    z, labels, means = clustered(seed, classes=classes, noise=noise)
    predictions = (z @ means.mT).argmax(-1)
    moments = class_moments(z, labels, classes)
    found = variation_of_moments(moments) | neural_collapse_of_moments(moments, means, predictions)
    expected = everything(z, labels, means, predictions, classes)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-12, equal_nan=True, msg=name)
    spectrum = rank.representation_singular_values(z)
    torch.testing.assert_close(singular_values_of_moments(moments), spectrum, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_they_are_also_where_squares_vanish_or_overflow(scale: float) -> None:
    z, labels, means = clustered(3)
    z, predictions = scale * z.double(), labels.clone()
    moments = class_moments(z, labels, 4)
    found = variation_of_moments(moments) | neural_collapse_of_moments(moments, means, predictions)
    for name, value in everything(z, labels, means, predictions, 4).items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-12, equal_nan=True, msg=name)
        assert found[name].isfinite().all() or name == "total_cluster_variation"
    spectrum = rank.representation_singular_values(z)
    torch.testing.assert_close(singular_values_of_moments(moments) / scale, spectrum / scale, rtol=1e-6, atol=1e-6)


def test_equal_rows_are_nan_where_they_define_nothing() -> None:
    z, labels = torch.full((2, 9, 3), 0.1, dtype=torch.float64), torch.arange(9) % 4
    moments = class_moments(z, labels, 4)
    found = variation_of_moments(moments) | neural_collapse_of_moments(moments, torch.ones(4, 3), labels)
    for name, value in everything(z, labels, torch.ones(4, 3), labels, 4).items():
        torch.testing.assert_close(found[name], value, equal_nan=True, msg=name)
    assert found["nc2_equinorm"].isnan().all()
    assert found["relative_tcv"].isnan().all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_run_is_nan_and_leaves_its_neighbours_as_they_were(bad: float) -> None:
    z, labels, means = clustered(1)
    predictions = labels.clone()
    clean = class_moments(z, labels, 4)
    z = z.clone()
    z[1, 3, 2] = bad
    broken = class_moments(z, labels, 4)
    for function in (variation_of_moments, lambda m: neural_collapse_of_moments(m, means, predictions)):
        before, after = function(clean), function(broken)
        for name in before:
            assert torch.equal(before[name][[0, 2]], after[name][[0, 2]]), name
            assert after[name][1].isnan(), name
    assert singular_values_of_moments(broken)[1].isnan().all()


def test_float64_rows_are_left_as_they_are() -> None:
    z, labels, _ = clustered(2)
    z = z.double()
    before = z.clone()
    class_moments(z, labels, 4)
    assert torch.equal(z, before)
