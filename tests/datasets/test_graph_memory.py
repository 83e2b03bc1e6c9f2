"""Memory that a run is said to need: what its objective holds for a node is in it."""

import pytest

from werank_core.config import GraphConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.datasets.graph_memory import config_run_bytes
from werank_core.objectives.isotropic import KNOTS


def needed(objective: str, num_nodes: int, **changes: object) -> int:
    return config_run_bytes(GraphConfig.model_validate({"objective": objective, **changes}), num_nodes, 64)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_only_infonce_grows_with_the_square_of_the_nodes(objective: str) -> None:
    """It holds the products of all pairs and two softmaxes of them: 0.45 GB for 6,000 nodes, measured."""
    small, twice, thrice = (needed(objective, n) for n in (2_000, 4_000, 6_000))
    bend = thrice - 2 * twice + small
    assert bend == (3 * 4 * 2 * 2_000**2 if objective == "infonce" else 0)


def test_sigreg_holds_an_angle_for_every_direction_and_frequency() -> None:
    few, more = (needed("sigreg", 5_000, num_directions=m) for m in (10, 11))
    assert more - few == 4 * 5_000 * 2 * KNOTS * 2
