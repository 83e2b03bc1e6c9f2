"""Stacked modules: calls with other tensors, and the MLP without vmap that equals the module itself."""

import pytest
import torch

from werank_core.models.cnn import CNN
from werank_core.models.mlp import MLP
from werank_core.training.stacked import (
    CallableWith,
    StackedModel,
    distinct,
    map_runs,
    plain_mlp,
    stacked_mlp,
    weights_of,
)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(5, 3), (5, 4, 6, 3)])
def test_outputs_and_gradients_are_those_of_the_mapped_module(activation, bias, sizes):
    model = StackedModel([MLP(sizes, activation, bias=bias).double() for _ in range(4)])
    rows = torch.randn(4, 7, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 7, 3, dtype=torch.float64)
    mlp = plain_mlp(model.skeleton)
    assert mlp is not None
    parameters = {name: p.requires_grad_() for name, p in model.parameters.items()}
    found, expected = stacked_mlp(mlp, parameters, rows), map_runs(model.call, parameters, rows)
    torch.testing.assert_close(found, expected)
    inputs = [*parameters.values(), rows]
    ours, theirs = (torch.autograd.grad((weights * out).sum(), inputs) for out in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_other_networks_are_left_to_vmap():
    assert plain_mlp(MLP((4, 3, 2), batch_norm=True)) is None
    assert plain_mlp(CNN((1, 8, 8), 3, depth=2, width=4)) is None


def test_a_module_is_called_with_the_tensors_under_a_prefix_and_keeps_its_own():
    module = CNN((1, 8, 8), 3, depth=3, width=4, batch_norm=True)
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    other = {f"target.{name}": torch.rand_like(t) if t.is_floating_point() else t.clone() for name, t in own.items()}
    rows = torch.randn(5, 64)
    found = CallableWith(module)(other | {"not.its.own": rows}, rows, under="target.")
    expected = torch.func.functional_call(module, {name: other[f"target.{name}"].clone() for name in own}, (rows,))
    torch.testing.assert_close(found, expected)
    assert all(torch.equal(tensor, own[name]) for name, tensor in module.state_dict().items())
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in module.parameters())


def test_weights_are_matrices_in_layer_order_and_nothing_else():
    model = StackedModel([CNN((2, 8, 8), 3, depth=3, width=4, batch_norm=True) for _ in range(2)])
    found = weights_of(model.parameters)
    assert [tuple(weight.shape) for weight in found.values()] == [(2, 4, 18), (2, 4, 36), (2, 3, 4)]
    assert list(weights_of(model.parameters, "classifier")) == ["classifier.weight"]
    next(iter(found.values())).zero_()
    assert not model.parameters["convolutions.0.weight"].any(), "views"


def test_distinct_keys_come_in_order_with_the_place_of_every_run():
    keys, of_run = distinct([(1, 0), (0, 0), (1, 0), (0, 1)])
    assert keys == [(1, 0), (0, 0), (0, 1)]
    assert of_run.tolist() == [0, 1, 0, 2]
