"""Rank metrics against NumPy and SciPy, closed forms of known spectra, and invariances by hypothesis."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from torch import Tensor

from werank_core.metrics import rank

SPECTRUM_METRICS: dict[str, Callable[[Tensor], Tensor]] = {
    "effective_rank": rank.effective_rank,
    "rankme": rank.rankme,
    "covariance_effective_rank": rank.covariance_effective_rank,
    "participation_ratio": rank.participation_ratio,
    "stable_rank": rank.stable_rank,
    "numerical_rank": rank.numerical_rank,
    "distance_to_rank": lambda s: rank.distance_to_rank(s, 2),
    "alpha_req": rank.alpha_req,
}
CENTRED = {"covariance_effective_rank", "participation_ratio", "alpha_req"}
SCALE_FREE = [name for name in SPECTRUM_METRICS if name != "distance_to_rank"]


def of_matrix(name: str, matrix: Tensor) -> Tensor:
    """A metric of a matrix (..., N, D): number(statistic)."""
    return SPECTRUM_METRICS[name](rank.representation_singular_values(matrix, centered=name in CENTRED))


spectra = hnp.arrays(np.float64, st.integers(2, 12), elements=st.floats(2e-3, 1e3)).map(
    lambda s: np.sort(s)[::-1].copy()
)


def random_matrix(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix_with(spectrum: Tensor, rows: int, columns: int, seed: int = 0) -> Tensor:
    u = torch.linalg.qr(random_matrix(rows, spectrum.numel(), seed=seed)).Q
    v = torch.linalg.qr(random_matrix(columns, spectrum.numel(), seed=seed + 1)).Q
    return u @ torch.diag(spectrum) @ v.mT


def numpy_metric(name: str, s: np.ndarray) -> float:
    j = np.arange(1, len(s) + 1)

    def exp_entropy(p: np.ndarray) -> float:
        return float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))

    return {
        "effective_rank": lambda: float(np.exp(stats.entropy(s))),
        "rankme": lambda: exp_entropy(s / s.sum() + 1e-7),
        "covariance_effective_rank": lambda: float(np.exp(stats.entropy(s**2))),
        "participation_ratio": lambda: (s**2).sum() ** 2 / (s**4).sum(),
        "stable_rank": lambda: (s**2).sum() / s[0] ** 2,
        "numerical_rank": lambda: float((s > 0.01 * s[0]).sum()),
        "distance_to_rank": lambda: float(np.sqrt((s[2:] ** 2).sum())),
        "alpha_req": lambda: -np.polyfit(np.log(j), np.log(s**2), 1, w=np.sqrt(1 / j))[0],
    }[name]()


@pytest.mark.parametrize("name", SPECTRUM_METRICS)
@settings(max_examples=30, deadline=None)
@given(spectrum=spectra)
def test_is_numpys(name: str, spectrum: np.ndarray) -> None:
    value = SPECTRUM_METRICS[name](torch.from_numpy(spectrum)).item()
    assert value == pytest.approx(numpy_metric(name, spectrum), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", SPECTRUM_METRICS)
@pytest.mark.parametrize("shape", [(40, 5), (9, 6), (5, 8)])
def test_of_matrix_is_numpys(name: str, shape: tuple[int, int]) -> None:
    matrix = random_matrix(*shape) + 0.5
    array = matrix.numpy()
    spectrum = np.linalg.svd(array - array.mean(0) if name in CENTRED else array, compute_uv=False)
    if name == "alpha_req":  # centring removes a direction; rounding is no part of a power law
        spectrum = spectrum[spectrum > 1e-6 * spectrum[0]]
    assert of_matrix(name, matrix).item() == pytest.approx(numpy_metric(name, spectrum), rel=1e-6)


@pytest.mark.parametrize("name", ["effective_rank", "covariance_effective_rank", "participation_ratio", "stable_rank"])
@settings(max_examples=30, deadline=None)
@given(spectrum=spectra)
def test_soft_ranks_lie_between_one_and_the_number_of_values(name: str, spectrum: np.ndarray) -> None:
    value = SPECTRUM_METRICS[name](torch.from_numpy(spectrum)).item()
    assert 1 - 1e-9 <= value <= len(spectrum) + 1e-9


@settings(max_examples=30, deadline=None)
@given(spectrum=spectra)
def test_the_soft_ranks_are_ordered(spectrum: np.ndarray) -> None:
    s = torch.from_numpy(spectrum)
    covariance = rank.covariance_effective_rank(s)
    assert rank.participation_ratio(s) <= covariance + 1e-9  # Rényi entropies fall with their order
    assert rank.stable_rank(s) <= rank.participation_ratio(s) + 1e-9
    assert covariance <= rank.effective_rank(s) + 1e-9


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("rows", [12, 100])
@settings(max_examples=20, deadline=None)
@given(power=st.integers(-1000, 1020), seed=st.integers(0, 1000))
def test_scale_does_not_matter(name: str, rows: int, power: int, seed: int) -> None:
    """Over the whole range of float64, where squares overflow (1e160) or vanish (1e-170): not one digit."""
    matrix = random_matrix(rows, 4, seed=seed)
    matrix /= matrix.abs().amax()
    assert of_matrix(name, matrix * 2.0**power).item() == of_matrix(name, matrix).item()


@pytest.mark.parametrize("rows", [12, 100])
def test_the_distance_is_in_the_units_of_the_matrix(rows: int) -> None:
    matrix = random_matrix(rows, 4)
    for scale in (1e-300, 1e-170, 1e160, 1e300):
        expected = rank.distance_to_rank(rank.singular_values(matrix), 2).item() * scale
        exact = rank.distance_to_rank(rank.singular_values(matrix * scale), 2)
        assert exact.item() == pytest.approx(expected, rel=1e-12)
        spectrum = rank.representation_singular_values(matrix * scale)
        torch.testing.assert_close(spectrum / scale, torch.linalg.svdvals(matrix))
        assert rank.distance_to_rank(spectrum, 2).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("name", SCALE_FREE)
@pytest.mark.parametrize("rows", [1, 3, 50])
@pytest.mark.parametrize("base", [1.5, -30.0])
def test_finite_input_never_raises(name: str, rows: int, base: float) -> None:
    """Columns of a geometric progression up to 1e300 beside 1e-300, smallest denormals, singular values up to 1e308."""
    powers = torch.cumprod(torch.full((150,), base, dtype=torch.float64), 0).flip(0)
    extremes = torch.tensor([[1.0, -1.0], [5e-324, 0.0]], dtype=torch.float64)
    extremes[0] *= torch.finfo(torch.float64).max / 16
    for row in (powers, 1 / powers, *extremes):
        value = of_matrix(name, row.repeat(rows, 1))
        assert value.isnan() if name in CENTRED else value.item() == pytest.approx(1, abs=2e-4)
    assert of_matrix(name, 16 * extremes[0].repeat(rows, 1)).isnan(), "no float64 holds its singular value"


@pytest.mark.parametrize("rows", [7, 100])
@pytest.mark.parametrize("constant", [0.1, 1e-3, 1 / 3, 1e200])
def test_constant_rows_have_nothing_left_once_centred(rows: int, constant: float) -> None:
    """A mean that is off by rounding would make all of them one direction, of rank 1."""
    matrix = torch.full((rows, 3), constant, dtype=torch.float64) * torch.tensor([1.0, -0.7, 3.3])
    for name in CENTRED:
        assert of_matrix(name, matrix).isnan(), name
    assert of_matrix("effective_rank", matrix).item() == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), columns=st.integers(1, 12), seed=st.integers(0, 1000))
def test_no_rank_exceeds_its_ceiling(rows: int, columns: int, seed: int) -> None:
    matrix = random_matrix(rows, columns, seed=seed)
    for name in ("effective_rank", "stable_rank", "numerical_rank"):
        assert of_matrix(name, matrix).item() <= min(rows, columns) + 1e-9
    for name in ("covariance_effective_rank", "participation_ratio"):
        value = of_matrix(name, matrix)
        assert value.isnan() or value.item() <= min(rows - 1, columns) + 1e-9


@pytest.mark.parametrize("name", SPECTRUM_METRICS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_rotations_do_not_matter(name: str, seed: int) -> None:
    matrix = random_matrix(20, 4, seed=seed)
    rotation = torch.linalg.qr(random_matrix(4, 4, seed=seed + 1)).Q
    rows = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(of_matrix(name, (matrix @ rotation)[rows]), of_matrix(name, matrix))


@pytest.mark.parametrize("size", [2, 5])
def test_identity_uses_every_direction(size: int) -> None:
    identity = torch.eye(size)
    for name in ("effective_rank", "stable_rank", "numerical_rank"):
        assert of_matrix(name, identity).item() == pytest.approx(size)
    assert of_matrix("rankme", identity).item() == pytest.approx(size, rel=1e-5)
    for name in ("covariance_effective_rank", "participation_ratio"):
        assert of_matrix(name, identity).item() == pytest.approx(size - 1)  # centring removes one
    assert rank.distance_to_rank(rank.singular_values(identity), 1).item() == pytest.approx((size - 1) ** 0.5)


@pytest.mark.parametrize("rows", [6, 200])
def test_rank_one_uses_one_direction(rows: int) -> None:
    matrix = torch.outer(random_matrix(rows), random_matrix(5, seed=1))
    for name in set(SPECTRUM_METRICS) - {"distance_to_rank", "alpha_req", "rankme"}:
        assert of_matrix(name, matrix).item() == pytest.approx(1, abs=1e-6)
    assert of_matrix("rankme", matrix).item() == pytest.approx(1, abs=1e-5)
    assert rank.distance_to_rank(rank.singular_values(matrix), 1).item() == pytest.approx(0, abs=1e-10)
    assert of_matrix("alpha_req", matrix).isnan()  # one point has no slope


def test_zero_matrix_has_no_rank() -> None:
    zero = torch.zeros(30, 4)
    for name in set(SPECTRUM_METRICS) - {"numerical_rank", "distance_to_rank"}:
        assert of_matrix(name, zero).isnan(), name
    for name in ("numerical_rank", "distance_to_rank"):
        assert of_matrix(name, zero).item() == 0


def test_power_law_gives_its_exponent_on_the_range_asked_for() -> None:
    index = torch.arange(1, 33, dtype=torch.float64)
    spectrum = index.pow(-0.7)
    assert rank.alpha_req(spectrum).item() == pytest.approx(1.4)
    cut = torch.where(index <= 20, spectrum, 0.0)
    assert rank.alpha_req(cut, first=3).item() == pytest.approx(1.4)
    bent = torch.where((index >= 5) & (index <= 10), spectrum, 0.9 * spectrum)
    assert rank.alpha_req(bent, 5, 10).item() == pytest.approx(1.4)
    assert abs(rank.alpha_req(bent, 4, 10).item() - 1.4) > 0.01
    with pytest.raises(ValueError, match="first is 0"):
        rank.alpha_req(spectrum, 0)


@settings(max_examples=20, deadline=None)
@given(spectrum=spectra, k=st.integers(0, 14))
def test_distance_to_rank_is_that_of_the_truncated_matrix(spectrum: np.ndarray, k: int) -> None:
    matrix = matrix_with(torch.from_numpy(spectrum), 13, 12)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    truncated = u[:, :k] @ torch.diag(s[:k]) @ vh[:k]
    expected = torch.linalg.matrix_norm(matrix - truncated).item()
    found = rank.distance_to_rank(rank.singular_values(matrix), k)
    assert found.item() == pytest.approx(expected, rel=1e-8, abs=1e-9)


def test_no_random_matrix_of_the_rank_is_nearer() -> None:
    matrix = random_matrix(6, 5)
    distance = rank.distance_to_rank(rank.singular_values(matrix), 2)
    for seed in range(20):
        left, right = random_matrix(6, 2, seed=seed), random_matrix(2, 5, seed=seed + 50)
        best = left @ torch.linalg.lstsq(left, matrix).solution if seed % 2 else left @ right
        assert torch.linalg.matrix_norm(matrix - best) >= distance
    with pytest.raises(ValueError, match="rank is -1"):
        rank.distance_to_rank(distance[None], -1)


def test_numerical_rank_counts_above_the_tolerance() -> None:
    spectrum = torch.tensor([10.0, 1.0, 0.11, 0.09, 0.0])
    assert [rank.numerical_rank(spectrum, t).item() for t in (0.5, 1e-2, 1e-3, 0.0)] == [1, 3, 4, 4]


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("rows", [12, 100])
def test_gram_and_svd_paths_agree(centered: bool, rows: int) -> None:
    matrix = random_matrix(2, rows, 6) + 3
    expected = torch.linalg.svdvals(matrix - matrix.mean(-2, keepdim=True) if centered else matrix)
    torch.testing.assert_close(rank.representation_singular_values(matrix, centered), expected)


@pytest.mark.parametrize("true_rank", [1, 3, 8])
def test_near_collapse_the_gram_path_stays_right(true_rank: int) -> None:
    """A float32 Gram matrix reports dozens here; the weak directions are 1e-7 of the strong ones."""
    spectrum = torch.cat([torch.ones(true_rank), torch.full((64 - true_rank,), 1e-7)]).double()
    matrix = matrix_with(spectrum, 1000, 64)
    exact = rank.effective_rank(torch.linalg.svdvals(matrix))
    assert of_matrix("effective_rank", matrix).item() == pytest.approx(exact.item(), abs=1e-3)
    assert of_matrix("effective_rank", matrix).item() == pytest.approx(true_rank, abs=1e-3)


@pytest.mark.parametrize("name", SPECTRUM_METRICS)
@pytest.mark.parametrize("shape", [(40, 5), (6, 5)])
def test_batch_is_a_stack_of_solos(name: str, shape: tuple[int, int]) -> None:
    batch = random_matrix(2, 3, *shape)
    values = of_matrix(name, batch)
    assert values.shape == (2, 3)
    assert values.dtype == torch.float64
    solo = torch.stack([torch.stack([of_matrix(name, matrix) for matrix in row]) for row in batch])
    torch.testing.assert_close(values, solo, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SPECTRUM_METRICS)
@pytest.mark.parametrize("shape", [(40, 5), (6, 5)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_run_is_nan_and_its_neighbours_are_bit_identical(
    name: str, shape: tuple[int, int], bad: float
) -> None:
    batch = random_matrix(3, *shape)
    expected = of_matrix(name, batch)
    broken = batch.clone()
    broken[1, 2, 3] = bad
    values = of_matrix(name, broken)
    assert values[1].isnan()
    assert torch.equal(values[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("name", SPECTRUM_METRICS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_spectrum_is_nan(name: str, bad: float) -> None:
    stored = torch.tensor([[3.0, 2.0, 1.0], [bad, 2.0, 1.0]])
    values = SPECTRUM_METRICS[name](stored)
    assert values[1].isnan()
    assert values[0].isfinite()


def test_evaluation_rows_are_a_seeded_subset() -> None:
    assert torch.equal(rank.evaluation_rows(10, seed=3), torch.arange(10))
    rows = rank.evaluation_rows(10_000, seed=3, limit=64)
    assert rows.shape == (64,)
    assert torch.equal(rows, rows.unique())
    assert torch.equal(rows, rank.evaluation_rows(10_000, seed=3, limit=64))
    assert not torch.equal(rows, rank.evaluation_rows(10_000, seed=4, limit=64))


def test_evaluation_rows_leave_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    rank.evaluation_rows(10_000, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
