"""Sensitivity against NumPy, linear maps in closed form, and layers aligned by construction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from werank_core.metrics.rank import Factors, singular_factors, singular_values
from werank_core.metrics.sensitivity import (
    edge_sensitivity,
    feature_sensitivity,
    layer_alignment,
    layer_alignment_score,
    product_of_spectral_norms,
    response_sensitivity,
)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def orthogonal(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(random_tensor(size, size, seed=seed)).Q


def factors(*weights: Tensor) -> list[Factors]:
    return [singular_factors(weight) for weight in weights]


def test_product_is_numpys() -> None:
    weights = [random_tensor(2, 5, 4), random_tensor(2, 3, 5, seed=1)]
    expected = np.prod([np.linalg.norm(w.numpy(), 2, axis=(-2, -1)) for w in weights], axis=0)
    torch.testing.assert_close(
        product_of_spectral_norms([singular_values(w) for w in weights]), torch.from_numpy(expected)
    )


def test_product_of_a_broken_run_is_nan_and_its_neighbour_bit_identical() -> None:
    weights = [random_tensor(2, 5, 4), random_tensor(2, 3, 5, seed=1)]
    expected = product_of_spectral_norms([singular_values(w) for w in weights])
    weights[1][1, 0, 0] = torch.inf
    product = product_of_spectral_norms([singular_values(w) for w in weights])
    assert torch.equal(product[0], expected[0])
    assert product[1].isnan()


def test_product_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="spectra is empty"):
        product_of_spectral_norms([])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 10))
def test_response_of_a_linear_map_is_that_of_its_matrix(seed: int, scale: float) -> None:
    weight, inputs, noise = random_tensor(3, 4, seed=seed), random_tensor(6, 4, seed=1), scale * random_tensor(6, 4)
    expected = np.mean([np.linalg.norm(weight.numpy() @ e) / np.linalg.norm(e) for e in noise.numpy()])
    value = response_sensitivity(lambda x: x @ weight.mT, inputs, noise).item()
    assert value == pytest.approx(expected, rel=1e-9)
    assert value <= product_of_spectral_norms([singular_values(weight)]).item() + 1e-12


def test_response_of_a_scaled_identity_is_its_scale() -> None:
    inputs, noise = random_tensor(2, 5, 18), random_tensor(2, 5, 18, seed=1)
    assert response_sensitivity(lambda x: 2.5 * x, inputs, noise).tolist() == pytest.approx([2.5, 2.5])
    assert response_sensitivity(torch.zeros_like, inputs, noise).tolist() == [0, 0]


def test_response_of_stacked_runs_is_that_of_each() -> None:
    weights, inputs, noise = random_tensor(4, 3, 6), random_tensor(7, 6), random_tensor(7, 6, seed=1)
    weights[2, 0, 0] = torch.nan
    stacked = response_sensitivity(lambda x: torch.tanh(x @ weights.mT), inputs, noise)
    solo = torch.stack([response_sensitivity(lambda x, w=w: torch.tanh(x @ w.mT), inputs, noise) for w in weights])
    assert stacked[2].isnan()
    torch.testing.assert_close(stacked, solo, equal_nan=True)


def test_samples_without_noise_are_left_out() -> None:
    inputs, noise = random_tensor(3, 4), random_tensor(3, 4, seed=1)
    noise[1] = 0
    assert response_sensitivity(lambda x: 3 * x, inputs, noise).item() == pytest.approx(3)
    assert response_sensitivity(lambda x: 3 * x, inputs, torch.zeros(3, 4)).isnan()
    with pytest.raises(ValueError, match=r"noise has shape \(2, 4\)"):
        response_sensitivity(lambda x: x, inputs, noise[:2])


@pytest.mark.parametrize("shape", [(4, 4, 4), (3, 4, 6), (6, 4, 3)])
def test_alignment_is_numpys(shape: tuple[int, int, int]) -> None:
    first, second = random_tensor(shape[1], shape[0]), random_tensor(shape[2], shape[1], seed=1)
    u = np.linalg.svd(first.numpy(), full_matrices=False)[0]
    vt = np.linalg.svd(second.numpy(), full_matrices=False)[2]
    torch.testing.assert_close(layer_alignment(*factors(first, second)), torch.from_numpy(np.abs(vt @ u)))


def test_layers_aligned_by_construction_score_one() -> None:
    spectrum = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.5], dtype=torch.float64))
    inner = orthogonal(4, seed=2)
    first = inner @ spectrum @ orthogonal(4, seed=1)
    second = orthogonal(4, seed=3) @ spectrum @ inner.mT
    torch.testing.assert_close(layer_alignment(*factors(first, second)), torch.eye(4, dtype=torch.float64))
    assert layer_alignment_score(*factors(first, second)).item() == pytest.approx(1)
    reversed_order = orthogonal(4, seed=3) @ spectrum @ inner.flip(1).mT
    assert layer_alignment_score(*factors(first, reversed_order)).item() == pytest.approx(0, abs=1e-10)


def test_score_can_be_limited_to_the_directions_in_use() -> None:
    first = torch.diag(torch.tensor([3.0, 2.0, 0.0, 0.0], dtype=torch.float64))
    second = torch.zeros(4, 4, dtype=torch.float64)
    second[0, 0], second[1, 1], second[2, 3], second[3, 2] = 3, 2, 1, 0.5
    assert layer_alignment_score(*factors(first, second), top=2).item() == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_alignment_is_a_share_and_free_of_scale(seed: int, scale: float) -> None:
    first, second = random_tensor(5, 4, seed=seed), random_tensor(3, 5, seed=seed + 1)
    alignment = layer_alignment(*factors(first, second))
    assert (alignment >= 0).all()
    assert (alignment <= 1).all()
    torch.testing.assert_close(
        layer_alignment(*factors(scale * first, second / scale)), alignment, rtol=1e-6, atol=1e-8
    )


def test_alignment_of_a_broken_run_is_nan_and_its_neighbours_bit_identical() -> None:
    first, second = random_tensor(3, 5, 4), random_tensor(3, 3, 5, seed=1)
    expected = layer_alignment_score(*factors(first, second))
    first[1, 0, 0] = torch.nan
    score = layer_alignment_score(*factors(first, second))
    assert score[1].isnan()
    assert torch.equal(score[[0, 2]], expected[[0, 2]])


def test_layers_that_do_not_meet_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer l has 5 outputs but layer l\+1 has 4 inputs"):
        layer_alignment(*factors(random_tensor(5, 4), random_tensor(3, 4)))


def test_sensitivities_of_a_graph_are_numpys() -> None:
    z, fewer, noisy = (random_tensor(2, 7, 3, seed=seed) for seed in range(3))
    sizes = [np.linalg.norm(part.numpy(), axis=-1) for part in (fewer - z, z)]
    np.testing.assert_allclose(edge_sensitivity(z, fewer).numpy(), (sizes[0] / sizes[1]).mean(-1))
    expected = np.linalg.norm((noisy - z).numpy(), axis=(-2, -1)) / 0.7
    np.testing.assert_allclose(feature_sensitivity(z, noisy, 0.7).numpy(), expected)
