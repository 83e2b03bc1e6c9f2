"""No trained parameter has a gradient that is 0 in exact arithmetic: Adam would make full steps of its rounding.

That is why the block size, and who shares a batch, never changes a result.
"""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from werank_core import objectives
from werank_core.config import GraphConfig, RankCollapseConfig, ToySSLConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.models.ssl_network import SSLNetwork
from werank_core.sweeps import Run, RunBatch
from werank_core.training import rank_collapse
from werank_core.training.graph import GraphSSL
from werank_core.training.rank_collapse import RankCollapse
from werank_core.training.run_blocks import block_gradients
from werank_core.training.stacked import State
from werank_core.training.toy_ssl import ToySSL

GRAPH_CASES = [
    (objective, norm, head)
    for objective, norm, head in product(
        ("bgrl", "grace", "barlow_twins", "vicreg"), ("batch", "layer", "none"), (0, 8)
    )
    if head or objective != "bgrl"
]


def toy(**changes: Any) -> ToySSLConfig:
    data = {"dataset": "mixture", "num_samples": 300, "dimension": 6, "signal_dimension": 3, "num_classes": 3}
    sizes = {"depth": 2, "width": 5, "batch_size": 32, "bias": True, "learning_rate": 0.01}
    return ToySSLConfig.model_validate(data | sizes | changes)


def graph(**changes: Any) -> GraphConfig:
    data = {"num_nodes": 90, "num_classes": 3, "feature_dimension": 8, "num_splits": 1}
    sizes = {"hidden_width": 10, "output_width": 6, "epochs": 60, "warmup_epochs": 2, "learning_rate": 0.01}
    return GraphConfig.model_validate(data | sizes | changes)


def collapse(**changes: Any) -> RankCollapseConfig:
    sizes = {"num_samples": 60, "depth": 3, "width": 6, "batch_size": 16, "steps": 60, "learning_rate": 0.01}
    return RankCollapseConfig.model_validate(sizes | {"optimizer": "adam", "schedule": "constant"} | changes)


def batch_of(experiment: str, *configs: Any) -> RunBatch:
    return RunBatch(experiment, tuple(Run(experiment, config) for config in configs))


def assert_none_is_zero(gradients: State) -> None:
    """float64 gradients: what cancels exactly is left at 1e-16 of the rest."""
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    vanishing = {n: float(g.abs().max()) / largest for n, g in gradients.items() if g.abs().max() < 1e-9 * largest}
    assert vanishing == {}


def exact(state: State) -> State:
    return {name: t.detach().double() if t.is_floating_point() else t for name, t in state.items()}


class TestGradients:
    @pytest.mark.parametrize("objective", OBJECTIVES)
    def test_of_toy_networks(self, objective: str) -> None:
        cases = product(("linear", "relu"), (0, 1, 2), (1, 2), (True, False) if objective == "infonce" else (True,))
        for encoder, projector, depth, normalize in cases:
            changes = {"encoder": encoder, "projector_depth": projector, "depth": depth, "normalize": normalize}
            config = toy(objective=objective, **changes)
            task = ToySSL(batch_of("toy_ssl", config), dtype=torch.float64)
            assert_none_is_zero(task.engine.gradients(task.inputs())[1])

    @pytest.mark.parametrize(("objective", "norm", "head"), GRAPH_CASES)
    @pytest.mark.parametrize("depth", [1, 2])
    def test_of_graph_networks(self, objective: str, norm: str, head: int, depth: int, tmp_path: Path) -> None:
        widths = {"depth": depth, "output_width": 9 if depth == 1 else 6}  # not below 8: X is propagated once
        task = GraphSSL(
            batch_of("graph", graph(objective=objective, norm=norm, head_width=head, **widths)), tmp_path, block=1
        )
        (block,) = task.engine.blocks
        inputs = [exact(part) for part in task.inputs()(block)]
        states = exact(task.engine.parameters), exact(task.engine.frozen)
        assert_none_is_zero(block_gradients(block, *states, inputs)[1])

    @pytest.mark.parametrize(
        "changes", [{}, {"dataset": "digits", "model": "cnn"}, {"dataset": "digits", "model": "resnet", "depth": 4}]
    )
    @pytest.mark.parametrize("batch_norm", [True, False])
    def test_of_classifiers(self, changes: dict[str, Any], batch_norm: bool) -> None:
        task = RankCollapse(batch_of("rank_collapse", collapse(batch_norm=batch_norm, **changes)), dtype=torch.float64)
        assert_none_is_zero(task.engine.gradients(task.inputs(0))[1])


def test_shift_invariant_objectives_are_those_named() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, shift = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((12, 4), (12, 4), (4,)))
    losses = {
        "infonce": lambda x, y: objectives.infonce(x, y, 0.5),
        "unnormalised infonce": lambda x, y: objectives.infonce(x, y, 0.5, normalize=False),
        "one direction": lambda x, y: objectives.infonce(x, y, 0.5, normalize=False, symmetric=False),
        "grace": lambda x, y: objectives.grace(x, y, 0.5),
        "byol": lambda x, y: objectives.byol((x, y), (x, y)),
        "bgrl": lambda x, y: objectives.bgrl((x, y), (x, y)),
        "simsiam": lambda x, y: objectives.simsiam((x, y), (x, y)),
        "swav": lambda x, y: objectives.swav(x, y, torch.eye(4, dtype=x.dtype)),
        "vicreg": objectives.vicreg,
        "barlow_twins": objectives.barlow_twins,
        "weak_sigreg": objectives.weak_sigreg,
        "sigreg": lambda x, y: objectives.sigreg(x, y, torch.eye(4, dtype=x.dtype)),
    }
    assert OBJECTIVES.keys() <= losses.keys()

    def unmoved(name: str) -> bool:
        return bool(torch.isclose(losses[name](a + shift, b + shift), losses[name](a, b), rtol=1e-12))

    assert {name for name in losses if unmoved(name)} == set(OBJECTIVES.where(lambda entry: entry.shift_invariant))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_biases_of_a_toy_network_exist_where_they_may(objective: str) -> None:
    with_bias, without = toy(objective=objective, projector_depth=1), toy(objective=objective, bias=False)
    names = [name for name, _ in SSLNetwork(with_bias, 6).named_parameters() if name.endswith("bias")]
    shifted = OBJECTIVES[objective].shift_invariant
    assert bool(names) != shifted
    assert (toy(objective=objective).digest() == without.digest()) == shifted, "what has no effect identifies no run"


def state_of(task: GraphSSL) -> State:
    return task.engine.parameters | task.engine.frozen


def farthest(one: State, other: State) -> float:
    return max(float((one[name] - other[name]).detach().abs().max()) for name in one)


class TestTogetherAndApart:
    """Parameters after several Adam steps in float32, 0.01 long each: equal to 1e-6."""

    @pytest.mark.parametrize(("objective", "norm", "head"), GRAPH_CASES)
    def test_graph_blocks(self, objective: str, norm: str, head: int, tmp_path: Path) -> None:
        configs = [
            graph(objective=objective, norm=norm, head_width=head, model_seed=s, data_seed=s, strength=a)
            for s in (0, 1)
            for a in (0.0, 0.1)
        ]
        tasks = [GraphSSL(batch_of("graph", *configs), tmp_path, block=block) for block in (1, 2, 4)]
        for task in tasks:
            for step in range(12):
                task.advance(step)
        for task in tasks[1:]:
            assert farthest(state_of(task), state_of(tasks[0])) < 1e-6
            torch.testing.assert_close(task.last_losses["loss"], tasks[0].last_losses["loss"], rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("objective", ["infonce", "byol", "vicreg", "barlow_twins"])
    @pytest.mark.parametrize("encoder", ["linear", "relu"])
    def test_toy_batches(self, objective: str, encoder: str) -> None:
        base = toy(objective=objective, encoder=encoder, depth=3, projector_depth=2)
        configs = [base.replaced(strength=a, model_seed=s) for s in (0, 1) for a in (0.0, 0.1)]
        tasks = [ToySSL(batch_of("toy_ssl", *part)) for part in (configs, *([config] for config in configs))]
        for task in tasks:
            for step in range(12):
                task.advance(step)
        alone = {
            name: torch.cat([task.model.parameters[name] for task in tasks[1:]]) for name in tasks[0].model.parameters
        }
        assert farthest(tasks[0].model.parameters, alone) < 1e-6

    @pytest.mark.parametrize("changes", [{}, {"dataset": "digits", "model": "cnn"}])
    def test_classifier_blocks(self, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        base = collapse(batch_norm=True, **changes)
        configs = [base.replaced(strength=a, model_seed=s) for s in (0, 1) for a in (0.0, 0.1)]
        found: list[dict[str, Tensor]] = []
        for numbers in (1, 2**30):
            monkeypatch.setattr(rank_collapse, "STEP_NUMBERS", numbers)
            task = RankCollapse(batch_of("rank_collapse", *configs))
            for step in range(12):
                task.advance(step)
            found.append(task.model.parameters)
        assert farthest(*found) < 1e-6
