"""Sparse propagation against dense linear algebra, PyG's normalisation, finite differences and probabilities."""

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from tests.simulated_cuda import simulated
from werank_core.models.graph_view import AugmentableGraph
from werank_core.models.propagate import (
    Propagation,
    SparsePattern,
    propagation,
    sparse_features,
    sparse_pattern,
    sparse_product,
)


def random_edges(n: int, seed: int, probability: float = 0.25) -> Tensor:
    """Distinct directed edges without self-loops."""
    dense = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < probability
    return (dense & ~torch.eye(n, dtype=torch.bool)).nonzero().T


def random_matrix(m: int, k: int, seed: int) -> tuple[SparsePattern, Tensor, Tensor]:
    """A pattern, its values, and the same matrix dense."""
    dense = torch.from_numpy(sparse.random_array((m, k), density=0.3, rng=np.random.default_rng(seed)).toarray())
    rows, columns = dense.nonzero().T
    shuffle = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    pattern, order = sparse_pattern(rows[shuffle], columns[shuffle], (m, k))
    return pattern, dense[rows[shuffle], columns[shuffle]][order], dense


def dense_of(pattern: SparsePattern, values: Tensor) -> Tensor:
    matrix = torch.zeros(pattern.shape, dtype=values.dtype)
    matrix[pattern.rows, pattern.indices] = values
    return matrix


@pytest.mark.parametrize(("m", "k"), [(7, 7), (5, 9), (9, 4)])
def test_product_and_gradient_are_those_of_the_dense_matrix(m: int, k: int) -> None:
    pattern, values, dense = random_matrix(m, k, seed=m)
    assert torch.equal(dense_of(pattern, values), dense)
    b = torch.randn(k, 3, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(sparse_product(pattern, values, b), dense @ b)
    assert torch.autograd.gradcheck(lambda x: sparse_product(pattern, values, x), (b,))
    assert torch.autograd.gradgradcheck(lambda x: sparse_product(pattern, values, x), (b,))


@pytest.mark.parametrize("in_dims", [(0, 0), (None, 0), (0, None), (None, 1)])
def test_stacked_runs_are_the_solo_runs(in_dims: tuple[int | None, int | None]) -> None:
    pattern, values, _ = random_matrix(6, 8, seed=1)
    many = torch.stack([values, 2 * values, -values])
    stack = torch.randn(3, 8, 4, dtype=torch.float64)
    stack = stack.movedim(0, in_dims[1]) if in_dims[1] else stack
    given = (many if in_dims[0] == 0 else values, stack if in_dims[1] is not None else stack[0])
    together = torch.vmap(lambda v, x: sparse_product(pattern, v, x), in_dims=in_dims)(*given)
    for r in range(3):
        x = given[1] if in_dims[1] is None else stack.select(in_dims[1], r)
        assert torch.equal(together[r], sparse_product(pattern, many[r] if in_dims[0] == 0 else values, x))


@pytest.mark.parametrize(("m", "k"), [(6, 8), (9, 4)])
def test_a_repeated_pattern_is_block_diagonal_and_made_once(m: int, k: int) -> None:
    pattern, values, dense = random_matrix(m, k, seed=1)
    three = pattern.repeated(3)
    many = torch.stack([values, 2 * values, -values])
    blocks = torch.zeros(3, m, 3, k, dtype=dense.dtype)
    for run, scale in enumerate((1, 2, -1)):
        blocks[run, :, run] = scale * dense
    whole = blocks.reshape(3 * m, 3 * k)
    assert torch.equal(dense_of(three, many.flatten()), whole)
    b = torch.randn(3 * k, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sparse_product(three, many.flatten(), b).sum(), b)
    assert torch.allclose(gradient, whole.sum(0)[:, None].expand(-1, 2))
    assert pattern.repeated(3) is three


@pytest.mark.parametrize("in_dims", [(0, 0), (None, 0), (0, None), (None, 1)])
def test_a_gpu_multiplies_all_runs_at_once(in_dims: tuple[int | None, int | None]) -> None:
    pattern, values, _ = random_matrix(6, 8, seed=1)
    given = (torch.stack([values, 2 * values, -values]) if in_dims[0] == 0 else values), torch.randn(3, 8, 4).double()
    given = given[0], given[1][0] if in_dims[1] is None else given[1].movedim(0, in_dims[1])
    product = lambda p, v, x: sparse_product(p, v, x).square().sum()  # noqa: E731

    def gradients(of: SparsePattern, device: str) -> Tensor:
        v, x = (tensor.to(device) for tensor in given)
        gradient = torch.vmap(torch.func.grad(product, argnums=2), in_dims=(None, *in_dims))
        found: Tensor = gradient(of, v, x).cpu()
        return found

    expected = gradients(pattern, "cpu")
    with simulated() as log:
        torch.testing.assert_close(gradients(pattern.to("cuda:0"), "cuda:0"), expected)
    assert sum(n for (name, _), n in log.kernels.items() if "csr_mm" in name) == 2, "one forward, one backward"


def test_gradients_pass_through_vmap() -> None:
    pattern, values, dense = random_matrix(6, 8, seed=2)
    stack = torch.randn(3, 8, 4, dtype=torch.float64, requires_grad=True)
    outer = torch.vmap(lambda x: sparse_product(pattern, values, x).square().sum())(stack).sum()
    (gradient,) = torch.autograd.grad(outer, stack)
    assert torch.allclose(gradient, 2 * dense.T @ (dense @ stack.detach()))
    inner = torch.vmap(torch.func.grad(lambda x: sparse_product(pattern, values, x).square().sum()))(stack.detach())
    assert torch.allclose(inner, gradient)


@pytest.mark.parametrize("seed", range(3))
def test_normalisation_is_that_of_geometric(seed: int) -> None:
    """On directed graphs with some edges dropped and some self-loops given."""
    n, edges = 12, random_edges(12, seed)
    loops = torch.tensor([[0, 3], [0, 3]])
    whole = propagation(torch.cat([edges, loops], dim=1), n)
    kept = torch.rand(whole.num_entries, generator=torch.Generator().manual_seed(seed)) > 0.4
    real = kept & ~whole.is_loop
    remaining = torch.stack([whole.pattern.indices[real], whole.rows[real]])
    index, weight = gcn_norm(remaining, num_nodes=n, add_self_loops=True)
    expected = torch.zeros(n, n)
    expected[index[1], index[0]] = weight
    assert torch.allclose(dense_of(whole.pattern, whole.normalized_values(kept)), expected)


def test_isolated_node_sees_only_itself() -> None:
    whole = propagation(torch.tensor([[0, 1], [1, 0]]), 3)
    assert dense_of(whole.pattern, whole.normalized_values())[2].tolist() == [0, 0, 1]


def drop_everything(whole: Propagation) -> Tensor:
    return whole.normalized_values(torch.zeros(whole.num_entries, dtype=torch.bool))


def test_without_edges_a_view_is_the_identity() -> None:
    whole = propagation(random_edges(9, 0), 9)
    assert torch.equal(dense_of(whole.pattern, drop_everything(whole)), torch.eye(9))


def views(rate_edge: float, rate_feature: float, *, bag: bool, draws: int = 40) -> list[Tensor]:
    """Dense Â and masked features of several views of one random graph."""
    n, d = 30, 20
    graph = make_graph(n, d, bag=bag)
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(draws):
        uniform = torch.rand(graph.propagation.num_entries, generator=generator), torch.rand(d, generator=generator)
        view = graph.augmented(uniform, rate_edge, rate_feature)
        found.append(torch.cat([dense_of(view.pattern, view.values), view.convolve_features(torch.eye(d))], dim=1))
    return found


def make_graph(n: int, d: int, *, bag: bool, hidden: int = 4) -> AugmentableGraph:
    whole = propagation(random_edges(n, 5), n)
    dense = torch.rand(n, d, generator=torch.Generator().manual_seed(1)) * (torch.arange(d) % 3 > 0)
    csr = sparse.csr_array(dense.numpy())
    parts = (torch.from_numpy(csr.indptr).long(), torch.from_numpy(csr.indices).long(), torch.from_numpy(csr.data))
    return AugmentableGraph(whole, sparse_features(*parts, d) if bag else dense, hidden)


@pytest.mark.parametrize("bag", [True, False])
def test_share_of_dropped_edges_and_columns(bag: bool) -> None:
    """Binomial tests over 40 views; both directions of an edge fall independently."""
    stacks = torch.stack(views(0.3, 0.4, bag=bag))
    adjacency, features = stacks[:, :, :30], stacks[:, :, 30:]
    edges = random_edges(30, 5)
    kept = adjacency[:, edges[1], edges[0]] > 0
    assert stats.binomtest(int(kept.sum()), kept.numel(), 0.7).pvalue > 1e-4
    assert (adjacency.diagonal(dim1=1, dim2=2) > 0).all()
    columns = (features[:, :, torch.arange(20) % 3 > 0] != 0).any(dim=1)
    assert stats.binomtest(int(columns.sum()), columns.numel(), 0.6).pvalue > 1e-4
    both = [i for i in range(edges.shape[1]) if (edges[:, i].flip(0) == edges.T).all(1).any()]
    forth, back = kept[:, both], (adjacency[:, edges[0, both], edges[1, both]] > 0)
    assert stats.binomtest(int((forth & back).sum()) // 2, forth.numel() // 2, 0.49).pvalue > 1e-4


def test_smaller_rate_drops_a_subset() -> None:
    graph = make_graph(30, 20, bag=True)
    uniform = torch.rand(graph.propagation.num_entries), torch.rand(20)
    weak, strong = (graph.augmented(uniform, rate, rate).values > 0 for rate in (0.1, 0.5))
    assert (weak | ~strong).all()
    assert weak.sum() > strong.sum()


@pytest.mark.parametrize("hidden", [4, 64])
@pytest.mark.parametrize("bag", [True, False])
def test_every_order_of_the_first_layer_agrees(bag: bool, hidden: int) -> None:
    """Â (X ⊙ m) Wᵀ and its weight gradient, by dense algebra, for sparse and dense features, narrow and wide layers."""
    graph = make_graph(30, 20, bag=bag, hidden=hidden)
    uniform = torch.rand(graph.propagation.num_entries), torch.rand(20)
    view = graph.augmented(uniform, 0.3, 0.4)
    x = make_graph(30, 20, bag=False).features
    assert isinstance(x, Tensor)
    masked = x * (uniform[1] >= 0.4)
    weight = torch.randn(hidden, 20, requires_grad=True)
    expected = dense_of(view.pattern, view.values) @ masked @ weight.T
    found = view.convolve_features(weight)
    assert torch.allclose(found, expected, atol=1e-5)
    target = torch.randn_like(expected)
    gradient, reference = (torch.autograd.grad((out * target).sum(), weight)[0] for out in (found, expected))
    assert torch.allclose(gradient, reference, atol=1e-4)
    assert (view.propagated is not None) == (not bag and hidden >= 20)
