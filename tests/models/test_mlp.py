"""Networks for one run: shapes, the function they compute, and their starting points."""

import numpy as np
import pytest
import torch
from torch import nn

from werank_core.models.mlp import MLP, Init, initialize


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linears(model: MLP) -> list[nn.Linear]:
    return [layer for layer in model.layers if isinstance(layer, nn.Linear)]


def test_a_linear_network_is_the_product_of_its_weights() -> None:
    model = MLP([5, 7, 3, 4], "linear", bias=False)
    x = torch.randn(2, 6, 5)
    first, second, third = linears(model)
    product = third.weight @ second.weight @ first.weight
    torch.testing.assert_close(model(x), x @ product.T)


def test_the_last_layer_has_no_activation() -> None:
    model = MLP([5, 7, 3], "relu")
    first, last = linears(model)
    torch.testing.assert_close(model(torch.ones(1, 5)), last(torch.relu(first(torch.ones(1, 5)))))


def test_one_size_is_the_identity() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(MLP([4])(x), x)


@pytest.mark.parametrize("init", ["decaying", "aligned"])
@pytest.mark.parametrize("shape", [(8, 8), (4, 9), (9, 4)])
def test_decaying_starts_have_the_singular_values_they_say(shape: tuple[int, int], init: Init) -> None:
    model = MLP([shape[1], shape[0]], bias=False)
    initialize(model, generator(), init)
    expected = torch.exp(-0.35 * torch.arange(min(shape)))
    torch.testing.assert_close(torch.linalg.svdvals(linears(model)[0].weight), expected, atol=1e-5, rtol=1e-4)


def source_of_the_toy_case(draw: np.ndarray) -> np.ndarray:
    """The initialisation of Jing et al. 2022's over-parametrised case: the spectrum of a uniform matrix replaced."""
    u, _, vh = np.linalg.svd(draw)
    matrix: np.ndarray = u @ np.diag(np.exp(-0.35 * np.arange(len(draw)))) @ vh
    return matrix


def test_aligned_start_is_that_of_its_source() -> None:
    model = MLP([16, 16, 16], bias=False)
    initialize(model, generator(), "aligned")
    drawn = generator()
    for layer in linears(model):
        uniform = torch.rand(16, 16, generator=drawn).double().numpy()
        np.testing.assert_allclose(layer.weight.detach().numpy(), source_of_the_toy_case(uniform), atol=1e-5)


@pytest.mark.parametrize(("init", "low", "high"), [("aligned", 0.9, 1.0), ("decaying", 0.0, 0.7)])
def test_top_singular_vectors_are_aligned_between_layers_or_not(init: Init, low: float, high: float) -> None:
    """|v₁(W₂)ᵀ u₁(W₁)|; two random directions of 16 dimensions have a cosine of 0.2."""
    cosines = []
    for seed in range(5):
        model = MLP([16, 16, 16], bias=False)
        initialize(model, generator(seed), init)
        first, second = (layer.weight.detach() for layer in linears(model))
        cosines.append(float((torch.linalg.svd(second)[2][0] @ torch.linalg.svd(first)[0][:, 0]).abs()))
    assert low <= min(cosines)
    assert max(cosines) <= high


def test_orthogonal_start_is_orthogonal_and_default_is_pytorchs_range() -> None:
    model = MLP([6, 6, 6])
    first, second = linears(model)
    initialize(model, generator(), "orthogonal")
    torch.testing.assert_close(second.weight @ second.weight.T, torch.eye(6), atol=1e-5, rtol=0)
    initialize(model, generator(), "default")
    assert first.weight.abs().max() <= 6**-0.5


def test_the_generator_alone_decides() -> None:
    first, second = MLP([4, 5, 3]), MLP([4, 5, 3])
    initialize(first, generator(1))
    torch.manual_seed(99)
    initialize(second, generator(1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
