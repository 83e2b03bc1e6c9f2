"""The stacked MLP without vmap: outputs and gradients of the module itself."""

import pytest
import torch

from werank_core.models.cnn import CNN
from werank_core.models.mlp import MLP
from werank_core.training.stacked import StackedModel, map_runs, run_gradients
from werank_core.training.stacked_mlp import plain_mlp, stacked_mlp


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(5, 3), (5, 4, 6, 3)])
def test_outputs_and_gradients_are_those_of_the_mapped_module(activation, bias, sizes):
    model = StackedModel([MLP(sizes, activation, bias=bias).double() for _ in range(4)])
    rows = torch.randn(4, 7, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 7, 3, dtype=torch.float64)
    mlp = plain_mlp(model.skeleton)
    assert mlp is not None
    found, expected = stacked_mlp(mlp, model.parameters, rows), map_runs(model.call, model.parameters, rows)
    torch.testing.assert_close(found, expected)
    inputs = model.parameters | {"rows": rows}
    ours, theirs = (run_gradients((weights * out).sum((1, 2)), inputs) for out in (found, expected))
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, msg=name)


def test_other_networks_are_left_to_vmap():
    assert plain_mlp(MLP((4, 3, 2), batch_norm=True)) is None
    assert plain_mlp(CNN((1, 8, 8), 3, depth=2, width=4)) is None
