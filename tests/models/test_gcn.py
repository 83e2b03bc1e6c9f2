"""Encoder and predictor against PyTorch Geometric's and PyTorch's own layers, in value and gradient."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch_geometric.nn import GCNConv

from werank_core.models.gcn import GCNEncoder, GraphConvolution, Norm, Predictor, PReLU, reset_parameters
from werank_core.models.graph_view import AugmentableGraph, GraphView
from werank_core.models.precision import fast_float32, medium_is_float32, product
from werank_core.models.propagate import propagation


def random_graph(n: int, d: int, seed: int, hidden: int) -> tuple[AugmentableGraph, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(n, n, generator=generator) < 0.2).fill_diagonal_(False).nonzero().T
    return AugmentableGraph(propagation(edges, n), torch.randn(n, d, generator=generator), hidden), edges


def view_of(graph: AugmentableGraph, seed: int = 0) -> GraphView:
    generator = torch.Generator().manual_seed(seed)
    draws = (
        torch.rand(graph.propagation.num_entries, generator=generator),
        torch.rand(graph.features.shape[1], generator=generator),
    )
    return graph.augmented(draws, 0.2, 0.2)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_layer_is_geometrics_gcnconv(seed: int, bias: bool) -> None:
    n, d, h = 17, 6, 5
    graph, edges = random_graph(n, d, seed, hidden=h)
    ours, theirs = GraphConvolution(d, h, bias=bias), GCNConv(d, h, bias=bias)
    with torch.no_grad():
        theirs.lin.weight.copy_(ours.weight)
        if bias:
            assert ours.bias is not None
            ours.bias.normal_()
            theirs.bias.copy_(ours.bias)
    expected = theirs(graph.features, edges)
    for out in (ours(None, graph.view()), ours(graph.features, graph.view())):
        assert torch.allclose(out, expected, atol=1e-5)
        gradient, reference = (
            torch.autograd.grad(o.square().sum(), w, retain_graph=True)[0]
            for o, w in ((out, ours.weight), (expected, theirs.lin.weight))
        )
        assert torch.allclose(gradient, reference, atol=1e-3, rtol=1e-4)


def test_initial_weights_have_glorots_spread() -> None:
    weight = GraphConvolution(300, 200, bias=False).weight
    assert weight.abs().max() <= (6 / 500) ** 0.5
    assert weight.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.02)


def test_prelu_is_pytorchs() -> None:
    x = torch.randn(9, 4, dtype=torch.float64)
    ours, theirs = PReLU().double(), nn.PReLU().double()
    assert ours.slope.item() == 0.25
    for slope in (0.25, 0.0, -0.5, 1.0):
        nn.init.constant_(ours.slope, slope)
        nn.init.constant_(theirs.weight, slope)
        results = []
        for module in (ours, theirs):
            leaf = x.clone().requires_grad_()
            out = module(leaf)
            results.append([out, *torch.autograd.grad(out.square().sum(), [leaf, *module.parameters()])])
        assert all(torch.allclose(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_encoder_is_conv_norm_prelu_once_for_every_width(norm: Norm) -> None:
    torch.manual_seed(0)
    graph, edges = random_graph(20, 6, 0, hidden=8)
    encoder = GCNEncoder(6, [8, 5, 3], norm)
    x = graph.features
    assert isinstance(x, Tensor)
    for convolution, width in zip(encoder.convolutions, [8, 5, 3], strict=True):
        assert isinstance(convolution, GraphConvolution)
        layer = GCNConv(convolution.weight.shape[1], width, bias=False)
        layer.lin.weight.data.copy_(convolution.weight)
        x = layer(x, edges)
        x = nn.BatchNorm1d(width)(x) if norm == "batch" else nn.LayerNorm(width)(x) if norm == "layer" else x
        x = nn.functional.prelu(x, torch.tensor([0.25]))
    assert torch.allclose(encoder(graph.view()), x, atol=1e-5)
    assert [tuple(w.shape) for w in encoder.weights()] == [(8, 6), (5, 8), (3, 5)]


def test_running_statistics_are_nearly_the_last_batch() -> None:
    graph, _ = random_graph(20, 6, 1, hidden=8)
    encoder = GCNEncoder(6, [8])
    before = encoder.convolutions[0](None, graph.view())
    encoder(graph.view())
    norm = encoder.norms[0]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, 0.99 * before.mean(0), atol=1e-5)


def test_predictor_is_two_linear_layers() -> None:
    predictor = Predictor(6, 9, 4)
    x = torch.randn(7, 6)
    first, second = predictor.first, predictor.second
    expected = second(nn.functional.prelu(first(x), torch.tensor([0.25])))
    assert torch.allclose(predictor(x), expected, atol=1e-6)
    assert [tuple(w.shape) for w in predictor.weights()] == [(9, 6), (4, 9)]


def test_reset_draws_everything_anew_from_the_seed() -> None:
    torch.manual_seed(3)
    built = GCNEncoder(6, [8, 4])
    before = [p.clone() for p in built.parameters()]
    torch.manual_seed(4)
    reset_parameters(built)
    assert not torch.equal(before[0], built.weights()[0])
    torch.manual_seed(3)
    reset_parameters(built)
    assert all(torch.equal(a, b) for a, b in zip(before, built.parameters(), strict=True))


def first_slope(encoder: GCNEncoder) -> nn.Parameter:
    activation = encoder.activations[0]
    assert isinstance(activation, PReLU)
    return activation.slope


def test_stacked_encoders_are_the_solo_ones() -> None:
    graph, _ = random_graph(20, 6, 2, hidden=8)
    view = view_of(graph)
    encoders = [GCNEncoder(6, [8, 5]) for _ in range(3)]
    for r, encoder in enumerate(encoders):
        nn.init.constant_(first_slope(encoder), 0.1 * r)
    parameters, buffers = stack_module_state(encoders)
    together = torch.vmap(lambda p, b: functional_call(encoders[0], (p, b), (view,)))(parameters, buffers)
    alone = [encoder(view) for encoder in encoders]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)
    together.square().sum().backward()
    solo = torch.autograd.grad(alone[1].square().sum(), first_slope(encoders[1]))[0]
    assert torch.allclose(parameters["activations.0.slope"].grad[1], solo, rtol=1e-3)


def test_bfloat16_operands_keep_float32_sums_and_gradients() -> None:
    torch.manual_seed(0)
    x, w = torch.randn(50, 30, requires_grad=True), torch.randn(20, 30, requires_grad=True)
    exact, rounded = product(x, w), product(x, w, bfloat16=True)
    assert rounded.dtype == torch.float32
    assert (exact - rounded).norm() / exact.norm() < 0.01
    assert not torch.equal(exact, rounded)
    for leaf in (x, w):
        a, b = (torch.autograd.grad(o.square().sum(), leaf, retain_graph=True)[0] for o in (exact, rounded))
        assert a.dtype == b.dtype == torch.float32
        assert (a - b).norm() / a.norm() < 0.01


def test_fast_products_are_true_float32_and_the_switch_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.manual_seed(0)
    x, w = torch.randn(300, 257), torch.randn(129, 257)
    with fast_float32():
        fast = product(x, w)
        assert torch.get_float32_matmul_precision() == ("medium" if medium_is_float32() else before)
    exact = x.double() @ w.double().T
    assert (fast - exact).abs().max() / exact.abs().max() < 2e-6
    assert torch.get_float32_matmul_precision() == before


def test_amx_keeps_the_fast_switch_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    medium_is_float32.cache_clear()
    assert not medium_is_float32()
    medium_is_float32.cache_clear()
