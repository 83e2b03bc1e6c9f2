"""Where the maths knows no scale, inputs times 1e-2 and 1e2 give the same number: no epsilon meets what is measured."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from werank_core import objectives
from werank_core.metrics import collapse, rank, sensitivity

SCALES = [1e-2, 1e2]
OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "infonce": lambda a, b: objectives.infonce(a, b, 0.2),
    "grace": lambda a, b: objectives.grace(a, b, 0.4),
    "byol": lambda a, b: objectives.byol((a, b), (a, b)),
    "bgrl": lambda a, b: objectives.bgrl((a, b), (a, b)),
    "simsiam": lambda a, b: objectives.simsiam((a, b), (a, b)),
    "swav": lambda a, b: objectives.swav(a, b, torch.eye(a.shape[-1], dtype=a.dtype)),
}
RANKS: dict[str, Callable[[Tensor], Tensor]] = {
    "effective_rank": rank.effective_rank,
    "rankme": rank.rankme,
    "covariance_effective_rank": rank.covariance_effective_rank,
    "participation_ratio": rank.participation_ratio,
    "stable_rank": rank.stable_rank,
    "numerical_rank": rank.numerical_rank,
}


def rows(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Gaussian rows whose columns have standard deviations from 1 down to 0.05, as those of an encoder may."""
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (drawn * torch.linspace(1, 0.05, shape[-1], dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_objectives_on_the_sphere(name: str, scale: float, dtype: torch.dtype, tolerance: float) -> None:
    a, b = rows(40, 6, dtype=dtype), rows(40, 6, seed=1, dtype=dtype)
    loss = OBJECTIVES[name]
    for scaled in ((scale * a, b), (a, scale * b), (scale * a, scale * b)):
        torch.testing.assert_close(loss(*scaled), loss(a, b), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-6, 1e6, 1e12])
def test_the_cosine_of_bgrl_bears_far_longer_and_shorter_embeddings(scale: float) -> None:
    """From a length of 1e-8 on, PyTorch's floor; the product of two squared norms of 1e12 is no float32."""
    a, b = rows(40, 6, dtype=torch.float32), rows(40, 6, seed=1, dtype=torch.float32)
    for scaled in ((scale * a, b), (scale * a, scale * b)):
        torch.testing.assert_close(objectives.mean_cosine(*scaled), objectives.mean_cosine(a, b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_barlow_twins_up_to_the_epsilon_of_its_source(scale: float) -> None:
    """An ε of 1e-5 beside a variance of s² moves a correlation by ε/s²: 1e-5 at s = 1, a tenth at 1e-2."""
    a, b = rows(200, 4), rows(200, 4, seed=1)
    a, b = a / a.std(0), (a + b) / (a + b).std(0)
    plain, scaled = objectives.barlow_twins(a, b), objectives.barlow_twins(scale * a, scale * b)
    moved = 1e-5 * max(1, scale**-2)
    assert abs(scaled - plain) <= 4 * 4 * moved
    assert abs(scaled - plain) >= 0.1 * moved * (scale < 1), "the source is not blind to scale here, nor are we"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", RANKS)
def test_rank_metrics(name: str, scale: float) -> None:
    number = RANKS[name]
    for matrix in (rows(60, 8), rows(5, 8), rows(60, 8, dtype=torch.float32)):
        found, expected = (number(rank.representation_singular_values(part)) for part in (scale * matrix, matrix))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_alpha_req_and_the_shares_of_collapse(scale: float) -> None:
    matrix, labels = rows(60, 8), torch.arange(60) % 3
    matrix = matrix + torch.nn.functional.one_hot(labels, 8)
    spectrum = rank.representation_singular_values(matrix, centered=True)
    fits = [rank.alpha_req(s * spectrum) for s in (1, scale)]
    torch.testing.assert_close(*fits, rtol=1e-9, atol=0)
    scaled, plain = (collapse.class_moments(part, labels, 3) for part in (scale * matrix, matrix))
    for number in (collapse.relative_tcv, collapse.nc1_quotient, collapse.cdnv, collapse.nc2_equiangular):
        torch.testing.assert_close(number(scaled), number(plain), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", SCALES)
def test_alignment_of_layers(scale: float) -> None:
    first, second = rows(6, 6), rows(6, 6, seed=1)
    alone, scaled, after = (rank.singular_factors(weight) for weight in (first, scale * first, second))
    score = sensitivity.layer_alignment_score
    torch.testing.assert_close(score(scaled, after), score(alone, after), rtol=1e-9, atol=0)
