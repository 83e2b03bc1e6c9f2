"""Networks for one run: shapes, the function they compute, and their starting points."""

import pytest
import torch

from werank_core.models.mlp import MLP, initialize


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_linear_network_is_the_product_of_its_weights() -> None:
    model = MLP([5, 7, 3, 4], "linear", bias=False)
    x = torch.randn(2, 6, 5)
    product = model.layers[2].weight @ model.layers[1].weight @ model.layers[0].weight
    torch.testing.assert_close(model(x), x @ product.T)


def test_the_last_layer_has_no_activation() -> None:
    model = MLP([5, 7, 3], "relu")
    hidden = torch.relu(model.layers[0](torch.ones(1, 5)))
    torch.testing.assert_close(model(torch.ones(1, 5)), model.layers[1](hidden))


def test_one_size_is_the_identity() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(MLP([4])(x), x)


@pytest.mark.parametrize("shape", [(8, 8), (4, 9), (9, 4)])
def test_decaying_start_has_the_singular_values_it_says(shape: tuple[int, int]) -> None:
    model = MLP([shape[1], shape[0]], bias=False)
    initialize(model, generator(), "decaying")
    expected = torch.exp(-0.35 * torch.arange(min(shape)))
    torch.testing.assert_close(torch.linalg.svdvals(model.layers[0].weight), expected, atol=1e-5, rtol=1e-4)


def test_orthogonal_start_is_orthogonal_and_default_is_pytorchs_range() -> None:
    model = MLP([6, 6, 6])
    initialize(model, generator(), "orthogonal")
    torch.testing.assert_close(model.layers[1].weight @ model.layers[1].weight.T, torch.eye(6), atol=1e-5, rtol=0)
    initialize(model, generator(), "default")
    assert model.layers[0].weight.abs().max() <= 6**-0.5


def test_the_generator_alone_decides() -> None:
    first, second = MLP([4, 5, 3]), MLP([4, 5, 3])
    initialize(first, generator(1))
    torch.manual_seed(99)
    initialize(second, generator(1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
