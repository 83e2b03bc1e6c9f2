"""Small image networks: shapes, weight layers, BatchNorm's two modes, and the same numbers stacked."""

from typing import Literal

import pytest
import torch
from torch import nn

from werank_core.models.cnn import CNN, ResidualBlock, ResNet, make_image_network
from werank_core.models.mlp import initialize
from werank_core.training.stacked import StackedModel, map_runs

Kind = Literal["cnn", "resnet"]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "depth"), [("cnn", 2), ("cnn", 4), ("resnet", 4), ("resnet", 8)])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_rows_become_class_scores_through_as_many_layers_as_asked(
    shape: tuple[int, int, int], kind: Kind, depth: int, batch_norm: bool
) -> None:
    network = make_image_network(kind, shape, 10, depth=depth, width=6, batch_norm=batch_norm)
    rows = torch.randn(5, shape[0] * shape[1] * shape[2])
    assert network(rows).shape == (5, 10)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth
    assert isinstance(layers[-1], nn.Linear)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == (0 if not batch_norm else depth - 1)


def test_a_convolution_sees_its_image_and_not_its_neighbour_rows() -> None:
    network = CNN((1, 8, 8), 3, depth=3, width=4)
    rows = torch.randn(4, 64)
    changed = rows.clone()
    changed[2] += 1
    same = (network(rows) == network(changed)).all(1)
    assert same.tolist() == [True, True, False, True]


def test_positions_do_not_matter_to_the_mean_but_layout_does() -> None:
    """Pixels go in channel by channel, row by row: a transposed image meets transposed kernels."""
    network = CNN((2, 8, 8), 3, depth=2, width=4)
    convolution = network.convolutions[0]
    assert isinstance(convolution, nn.Conv2d)
    image = torch.randn(1, 2, 8, 8)
    scores = network(image.flatten(1))
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight.mT.clone())
    torch.testing.assert_close(network(image.mT.flatten(1)), scores)


def test_a_residual_block_without_weights_is_the_identity() -> None:
    network = ResNet((1, 8, 8), 3, depth=4, width=4, activation="linear", bias=False)
    rows = torch.randn(2, 64)
    block = network.blocks[0]
    assert isinstance(block, ResidualBlock)
    with torch.no_grad():
        block.second.weight.zero_()
    hidden = network.stem(rows.reshape(-1, 1, 8, 8))
    torch.testing.assert_close(block(hidden), hidden)
    torch.testing.assert_close(network(rows), hidden.mean((-2, -1)) @ network.classifier.weight.T)


def test_batch_norm_uses_the_batch_in_training_and_running_statistics_in_eval_mode() -> None:
    network = CNN((1, 8, 8), 3, depth=3, width=4, batch_norm=True)
    rows = torch.randn(16, 64)
    for _ in range(60):
        network(rows)
    trained = network(rows)
    network.eval()
    # running variance is the unbiased one: nearly equal at 16 · 16 positions, not exactly
    torch.testing.assert_close(network(rows), trained, rtol=0.05, atol=0.05)
    torch.testing.assert_close(network(rows)[:1], network(rows[:1]))


@pytest.mark.parametrize("kind", ["cnn", "resnet"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_stacked_networks_are_the_single_ones(kind: Kind, batch_norm: bool) -> None:
    networks = [
        make_image_network(kind, (1, 8, 8), 3, depth=4, width=4, batch_norm=batch_norm).double() for _ in range(3)
    ]
    for seed, network in enumerate(networks):
        initialize(network, torch.Generator().manual_seed(seed), "he")
    model = StackedModel(networks)
    rows = torch.randn(3, 7, 64, dtype=torch.float64)
    buffers = {name: b.clone() for name, b in model.buffers.items()}
    stacked = map_runs(model.call, model.parameters | buffers, rows)
    for run, network in enumerate(networks):
        torch.testing.assert_close(stacked[run], network(rows[run]))
        for name, value in network.named_buffers():
            torch.testing.assert_close(buffers[name][run], value, msg=name)


def test_he_initialisation_has_its_variance_in_convolutions_too() -> None:
    network = CNN((1, 8, 8), 3, depth=4, width=64)
    initialize(network, torch.Generator().manual_seed(0), "he")
    convolution = network.convolutions[1]
    assert isinstance(convolution, nn.Conv2d)
    kernel = convolution.weight
    assert kernel.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)
    assert convolution.bias is not None
    assert convolution.bias.abs().max() == 0
    first = kernel.clone()
    initialize(network, torch.Generator().manual_seed(0), "he")
    assert torch.equal(first, convolution.weight)
