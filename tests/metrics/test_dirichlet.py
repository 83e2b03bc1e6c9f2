"""Dirichlet energy against the quadratic form of the normalised Laplacian, and where it vanishes."""

import networkx as nx
import numpy as np
import pytest
import torch

from werank_core.metrics.dirichlet import dirichlet_energy


def random_graph(seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Edges in both directions, degrees, adjacency."""
    adjacency = nx.to_numpy_array(nx.gnp_random_graph(15, 0.3, seed=seed))
    return torch.from_numpy(np.stack(adjacency.nonzero())), torch.from_numpy(adjacency.sum(0)).long(), adjacency


@pytest.mark.parametrize("seed", range(4))
def test_is_the_quadratic_form_of_the_laplacian(seed: int) -> None:
    edges, degrees, adjacency = random_graph(seed)
    z = torch.randn(3, 15, 4, dtype=torch.float64)
    scale = np.diag(1 / np.sqrt(adjacency.sum(0) + 1))
    laplacian = np.eye(15) - scale @ (adjacency + np.eye(15)) @ scale
    expected = [np.trace(run.numpy().T @ laplacian @ run.numpy()) / 15 for run in z]
    assert dirichlet_energy(z, edges, degrees).tolist() == pytest.approx(expected)


def test_vanishes_where_propagation_has_converged() -> None:
    edges, degrees, _ = random_graph(0)
    smooth = (1 + degrees).double().sqrt()[:, None] * torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    assert dirichlet_energy(smooth, edges, degrees).item() == pytest.approx(0, abs=1e-12)


def test_no_edges_no_energy_and_nan_stays_in_its_run() -> None:
    z = torch.ones(2, 3, 2)
    z[0, 0, 0] = torch.nan
    assert dirichlet_energy(z[1], torch.empty(2, 0, dtype=torch.long), torch.zeros(3)).item() == 0
    energies = dirichlet_energy(z, torch.tensor([[0, 1], [1, 0]]), torch.tensor([1, 1, 0]))
    assert torch.isnan(energies[0])
    assert energies[1] == 0
