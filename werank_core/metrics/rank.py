"""How many directions a matrix uses: its spectrum, the singular values, and the numbers made of it.

A spectrum (..., m) is computed once and serves every number; a number takes it in any order, because spectra are stored
and read again. All compute in float64, float64 matrices in units of their largest entry, so that their squares neither
overflow nor vanish. A non-finite matrix or spectrum gives NaN for itself only, and so does a singular value beyond
float64. No rank exceeds min(N, D), or min(N − 1, D) of centred rows: few rows cannot show a high one. Effective rank,
RankMe, covariance effective rank and participation ratio are four different numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.scaling import scaled_norm, unit_scaled
from werank_core.streams import Purpose, seeded_generator

ALPHA_REQ_FLOOR = 1e-6  # relative to s₁: below it a float32 representation holds rounding, not a power law


def evaluation_rows(num_rows: int, seed: int, limit: int = 4096) -> Tensor:
    """Sorted indices of the rows that metrics are computed on: all of them, or a seeded subset of `limit`.

    Returns: (min(num_rows, limit),) int64 on the CPU; its length belongs in the record, since rank grows with N.
    """
    if num_rows <= limit:
        return torch.arange(num_rows)
    order = torch.randperm(num_rows, generator=seeded_generator(Purpose.EVALUATION_ROWS, seed))
    return order[:limit].sort().values


# -- spectra --------------------------------------------------------------------------------------------------------


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of a matrix, by SVD.

    Args: matrix (..., d_out, d_in).
    Returns: (..., min(d_out, d_in)), descending, ≥ 0; all NaN for a non-finite matrix, ∞ for a value beyond float64.
    """
    # LAPACK takes a third of the time for the tall one of the two
    scaled = unit_scaled(matrix if matrix.shape[-2] >= matrix.shape[-1] else matrix.mT)
    return scaled.restored(torch.linalg.svdvals(scaled.values))


class Factors(NamedTuple):
    """W = U diag(s) Vᵀ with m = min(d_out, d_in) singular values; all NaN for a non-finite matrix."""

    left: Tensor  # U (..., d_out, m)
    spectrum: Tensor  # s (..., m), descending
    right: Tensor  # Vᵀ (..., m, d_in)


def singular_factors(matrix: Tensor) -> Factors:
    """Singular values of a matrix (..., d_out, d_in) with their directions, by SVD."""
    scaled = unit_scaled(matrix)
    left, values, right = torch.linalg.svd(scaled.values, full_matrices=False)
    known = scaled.finite[..., None, None]
    return Factors(torch.where(known, left, torch.nan), scaled.restored(values), torch.where(known, right, torch.nan))


def representation_singular_values(representations: Tensor, centered: bool = False, gram: bool | None = None) -> Tensor:
    """Singular values of representations, of Z or of Z minus its column means.

    With `gram` they go through the float64 Gram matrix, see `gram_singular_values`; a float32 one would lose everything
    below 3e-4 · s₁ and report a high rank at collapse. The mean is subtracted before squaring.

    Args: representations (..., N, D); gram, None: for tall matrices (N ≥ 4 D).
    Returns: (..., min(N, D)), (..., D) with `gram`, descending, ≥ 0; all NaN where the representations are not
        finite, ∞ for a value beyond float64.
    """
    scaled = unit_scaled(representations)
    rows = scaled.values
    if centered:
        # exact for a constant column: what rounding leaves of a plain mean would look like rank
        first = rows[..., :1, :]
        rows = rows - (first + (rows - first).mean(-2, keepdim=True))
    squared = rows.shape[-2] >= 4 * rows.shape[-1] if gram is None else gram
    return scaled.restored(gram_singular_values(rows) if squared else torch.linalg.svdvals(rows))


def gram_singular_values(matrix: Tensor) -> Tensor:
    """Singular values by the Gram matrix AᵀA: sⱼ = √λⱼ, in a fraction of an SVD's time.

    Eigenvalues below D · 2⁻⁵² · λ₁ are rounding and become 0: sⱼ carries an absolute error of about 1e-8 · s₁.

    Args: matrix (..., N, D) float64, finite and of a size that can be squared.
    Returns: (..., D), descending, ≥ 0.
    """
    gram = matrix.mT @ matrix
    eigenvalues = torch.linalg.eigvalsh(gram).flip(-1)
    floor = gram.shape[-1] * torch.finfo(gram.dtype).eps * eigenvalues[..., :1]
    return torch.where(eigenvalues > floor, eigenvalues, 0.0).sqrt()


# -- numbers --------------------------------------------------------------------------------------------------------


def _relative(spectrum: Tensor) -> Tensor:
    """s / s₁ in float64, so that squares neither overflow nor vanish; NaN for a zero spectrum and one with ∞."""
    spectrum = spectrum.double()
    relative: Tensor = spectrum / spectrum.amax(-1, keepdim=True)
    return relative


def _exp_entropy(values: Tensor, added: float = 0.0) -> Tensor:
    """exp(−Σ pᵢ log pᵢ) with p = values / Σ values + added and 0 log 0 = 0; NaN where the sum is 0 or not finite."""
    shares = values / values.sum(-1, keepdim=True) + added
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy.exp()


def effective_rank(spectrum: Tensor) -> Tensor:
    """exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs, with 0 log 0 = 0.

    Args: spectrum (..., m).
    Returns: (...), in [1, number of non-zero sᵢ]; NaN for a zero spectrum.
    Source: Roy & Vetterli 2007, definition of the effective rank.
    """
    return _exp_entropy(_relative(spectrum))


def rankme(spectrum: Tensor) -> Tensor:
    """exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs + 1e-7: the shares then sum to 1 + m · 1e-7.

    Args: spectrum (..., m) of the UNCENTRED representations.
    Returns: (...), in about [1, m]; NaN for a zero spectrum.
    Source: Garrido et al. 2023 (RankMe), ε for float32.
    """
    return _exp_entropy(_relative(spectrum), added=1e-7)


def covariance_effective_rank(spectrum: Tensor) -> Tensor:
    """exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ²/Σs²: the effective rank of the covariance.

    Args: spectrum (..., m) of the CENTRED representations.
    Returns: (...), in [1, m] and at most the effective rank of the same spectrum; NaN for a zero spectrum.
    Source: Roy & Vetterli 2007, on the covariance spectrum.
    """
    return _exp_entropy(_relative(spectrum).square())


def participation_ratio(spectrum: Tensor) -> Tensor:
    """(Σs²)²/Σs⁴.

    Args: spectrum (..., m) of the CENTRED representations.
    Returns: (...), in [1, m]; NaN for a zero spectrum.
    Source: Gao et al. 2017.
    """
    squares = _relative(spectrum).square()
    return squares.sum(-1).square() / squares.square().sum(-1)


def stable_rank(spectrum: Tensor) -> Tensor:
    """Σs²/s₁² = ‖W‖_F²/‖W‖₂²; on centred representations also known as NESum.

    Args: spectrum (..., m).
    Returns: (...), in [1, m]; NaN for a zero spectrum.
    Source: Rudelson & Vershynin 2007.
    """
    return _relative(spectrum).square().sum(-1)


def numerical_rank(spectrum: Tensor, tolerance: float = 1e-2) -> Tensor:
    """#{sᵢ > tolerance · s₁}, #{sᵢ > 0.01 · s₁} by default; 0 for a zero spectrum.

    Args: spectrum (..., m); tolerance in [0, 1), relative to s₁ (the default is ours; the paper's is not known to us).
    Returns: (...), a whole number in [0, m] as float64; NaN for a non-finite spectrum.
    """
    spectrum = spectrum.double()
    count = (spectrum > tolerance * spectrum.amax(-1, keepdim=True)).sum(-1).double()
    return torch.where(torch.isfinite(spectrum).all(-1), count, torch.nan)


def distance_to_rank(spectrum: Tensor, rank: int) -> Tensor:
    """√(Σ_{j>K} sⱼ²): Frobenius distance to the nearest matrix of rank at most K; 0 for K ≥ m, ‖Wₗ‖_F for K = 0.

    Args: spectrum (..., m); rank K ≥ 0.
    Returns: (...), in [0, ‖W‖_F]; NaN for a non-finite spectrum.
    Raises: ValueError for a negative rank.
    Source: Eckart & Young 1936.
    """
    if rank < 0:
        raise ValueError(f"rank is {rank}; it must be at least 0.")
    descending = spectrum.double().sort(-1, descending=True).values
    tail = descending * (torch.arange(descending.shape[-1], device=descending.device) >= rank)
    return torch.where(torch.isfinite(spectrum).all(-1), scaled_norm(tail), torch.nan)


def alpha_req(spectrum: Tensor, first: int = 1, last: int | None = None) -> Tensor:
    """−slope of log sⱼ² on log j, weights 1/j: the exponent α of a power law sⱼ² ∝ j^(−α), by least squares.

    Fitted on j = first..last, without singular values below 1e-6 · s₁.

    Args: spectrum (..., m) of the CENTRED representations; first ≥ 1 and last (None: m) count from 1.
    Returns: (...); NaN for a zero spectrum or fewer than two points.
    Raises: ValueError for a first below 1.
    Source: Agrawal et al. 2022 (α-ReQ); weights and range are ours.
    """
    if first < 1:
        raise ValueError(f"first is {first}; singular values are counted from 1.")
    relative = _relative(spectrum.sort(-1, descending=True).values)
    index = torch.arange(1, relative.shape[-1] + 1, device=relative.device)
    used = (relative > ALPHA_REQ_FLOOR) & (index >= first) & (index <= (last or index.numel()))
    weights = used.double() / index
    weights = weights / weights.sum(-1, keepdim=True)
    log_index = index.double().log()
    deviation = log_index - (weights * log_index).sum(-1, keepdim=True)
    log_squares = 2 * torch.where(used, relative, 1.0).log()
    slope = (weights * deviation * log_squares).sum(-1) / (weights * deviation.square()).sum(-1)
    return torch.where((used.sum(-1) >= 2) & torch.isfinite(relative).all(-1), -slope, torch.nan)


# -- what is recorded, by its name in the vocabulary -------------------------------------------------------------------

SpectrumNumbers = dict[str, Callable[[Tensor], Tensor]]

REPRESENTATION_NUMBERS: SpectrumNumbers = {
    "effective_rank": effective_rank,
    "rankme": rankme,
    "stable_rank": stable_rank,
    "numerical_rank": numerical_rank,
}
CENTRED_NUMBERS: SpectrumNumbers = {
    "covariance_effective_rank": covariance_effective_rank,
    "participation_ratio": participation_ratio,
    "alpha_req": alpha_req,
}
EMBEDDING_NUMBERS: SpectrumNumbers = {"embedding_effective_rank": effective_rank, "embedding_rankme": rankme}
WEIGHT_NUMBERS: SpectrumNumbers = {
    "weight_effective_rank": effective_rank,
    "weight_stable_rank": stable_rank,
    "weight_numerical_rank": numerical_rank,
}
