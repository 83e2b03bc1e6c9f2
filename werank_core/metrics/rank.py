"""How many directions a matrix uses: singular values, and the numbers made of them.

Every quantity has two forms: of a matrix `(..., N, D)`, and `*_of_spectrum` of its singular values `(..., m)` in any
order, because spectra are stored and read again. All compute in float64, float64 matrices in units of their largest
entry, so that their squares neither overflow nor vanish. A non-finite matrix or spectrum gives NaN for itself only. No
rank exceeds min(N, D), or min(N − 1, D) of centred rows: few rows cannot show a high one. Effective rank, RankMe,
covariance effective rank and participation ratio are four different numbers.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from werank_core.metrics.scaling import scaled_norm, unit_scaled
from werank_core.streams import Purpose, seeded_generator

CHUNK_ROWS = 20_000
ALPHA_REQ_FLOOR = 1e-6  # relative to s₁: below it a float32 representation holds rounding, not a power law


class AlphaReqFit(NamedTuple):
    """The fitted exponent and the range of j it was fitted on (both ends included, counted from 1)."""

    alpha: Tensor
    first: Tensor
    last: Tensor


def evaluation_rows(num_rows: int, seed: int, limit: int = 4096) -> Tensor:
    """Sorted indices of the rows that metrics are computed on: all of them, or a seeded subset of `limit`.

    Returns: (min(num_rows, limit),) int64 on the CPU; its length belongs in the record, since rank grows with N.
    """
    if num_rows <= limit:
        return torch.arange(num_rows)
    order = torch.randperm(num_rows, generator=seeded_generator(Purpose.EVALUATION_ROWS, seed))
    return order[:limit].sort().values


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of a matrix, by SVD in float64.

    Args: matrix (..., d_out, d_in).
    Returns: (..., min(d_out, d_in)), descending, ≥ 0; all NaN for a non-finite matrix, ∞ for a value beyond float64.
    """
    values, unit = _scaled_singular_values(matrix)
    return values * unit[..., None]


def _scaled_singular_values(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """(..., m) in units (...) that keep their squares within float64."""
    # LAPACK takes a third of the time for the tall one of the two
    scaled = unit_scaled(matrix if matrix.shape[-2] >= matrix.shape[-1] else matrix.mT)
    return torch.where(scaled.finite[..., None], torch.linalg.svdvals(scaled.values), torch.nan), scaled.unit


def representation_singular_values(representations: Tensor, centered: bool = False) -> Tensor:
    """Singular values of representations, of Z or of Z minus its column means.

    Tall matrices (N ≥ 4 D) go through the float64 Gram matrix ZᵀZ = Σ over chunks of rows: sⱼ = √λⱼ, where eigenvalues
    below D · 2⁻⁵² · λ₁ are rounding and become 0. So sⱼ carries an absolute error of about 1e-8 · s₁; a float32 Gram
    would lose everything below 3e-4 · s₁ and report a high rank at collapse. The mean is subtracted before squaring.

    Args: representations (..., N, D).
    Returns: (..., min(N, D)), descending, ≥ 0; all NaN where the representations are not finite, ∞ for a value beyond
        float64.
    """
    values, unit = _scaled_representation_values(representations, centered)
    return values * unit[..., None]


def _scaled_representation_values(representations: Tensor, centered: bool = False) -> tuple[Tensor, Tensor]:
    """(..., m) in units (...) that keep their squares within float64."""
    clean, unit, finite = unit_scaled(representations)
    mean = _column_means(clean) if centered else torch.zeros_like(clean[..., :1, :])
    rows, columns = clean.shape[-2:]
    tall = rows >= 4 * columns
    values = _gram_singular_values(clean, mean) if tall else torch.linalg.svdvals(clean - mean)
    return torch.where(finite[..., None], values, torch.nan), unit


def _column_means(matrix: Tensor) -> Tensor:
    """(..., 1, D), exact for a constant column: what rounding leaves of a plain mean would look like rank."""
    first = matrix[..., :1, :]
    return first + (matrix - first).mean(-2, keepdim=True)


def _gram_singular_values(matrix: Tensor, mean: Tensor) -> Tensor:
    gram = matrix.new_zeros(*matrix.shape[:-2], matrix.shape[-1], matrix.shape[-1])
    for chunk in torch.split(matrix, CHUNK_ROWS, dim=-2):
        deviation = chunk - mean
        gram += deviation.mT @ deviation
    eigenvalues = torch.linalg.eigvalsh(gram).flip(-1)
    floor = gram.shape[-1] * torch.finfo(gram.dtype).eps * eigenvalues[..., :1]
    return torch.where(eigenvalues > floor, eigenvalues, 0.0).sqrt()


def _shares(values: Tensor) -> Tensor:
    """values / Σ values over the last axis; NaN where the sum is zero (0/0) or not finite."""
    shares: Tensor = values / values.sum(-1, keepdim=True)
    return shares


def _relative(spectrum: Tensor) -> Tensor:
    """s / s₁ in float64, so that squares neither overflow nor vanish; NaN for a zero spectrum and one with ∞."""
    spectrum = spectrum.double()
    relative: Tensor = spectrum / spectrum.amax(-1, keepdim=True)
    return relative


def _exp_entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy.exp()


def effective_rank_of_spectrum(spectrum: Tensor) -> Tensor:
    """exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs, with 0 log 0 = 0.

    Args: spectrum (..., m).
    Returns: (...), in [1, number of non-zero sᵢ]; NaN for a zero spectrum.
    Source: Roy & Vetterli 2007, definition of the effective rank.
    """
    return _exp_entropy(_shares(_relative(spectrum)))


def rankme_of_spectrum(spectrum: Tensor) -> Tensor:
    """exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs + 1e-7: the shares then sum to 1 + m · 1e-7.

    Args: spectrum (..., m) of the UNCENTRED representations.
    Returns: (...), in about [1, m]; NaN for a zero spectrum.
    Source: Garrido et al. 2023 (RankMe), ε for float32.
    """
    return _exp_entropy(_shares(_relative(spectrum)) + 1e-7)


def covariance_effective_rank_of_spectrum(spectrum: Tensor) -> Tensor:
    """exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ²/Σs²: the effective rank of the covariance.

    Args: spectrum (..., m) of the CENTRED representations.
    Returns: (...), in [1, m] and at most the effective rank of the same spectrum; NaN for a zero spectrum.
    Source: Roy & Vetterli 2007, on the covariance spectrum.
    """
    return _exp_entropy(_shares(_relative(spectrum).square()))


def participation_ratio_of_spectrum(spectrum: Tensor) -> Tensor:
    """(Σ s²)² / Σ s⁴.

    Args: spectrum (..., m) of the CENTRED representations.
    Returns: (...), in [1, m]; NaN for a zero spectrum.
    Source: Gao et al. 2017.
    """
    squares = _relative(spectrum).square()
    return squares.sum(-1).square() / squares.square().sum(-1)


def stable_rank_of_spectrum(spectrum: Tensor) -> Tensor:
    """Σ s² / s₁² = ‖W‖_F²/‖W‖₂²; on centred representations also known as NESum.

    Args: spectrum (..., m).
    Returns: (...), in [1, m]; NaN for a zero spectrum.
    Source: Rudelson & Vershynin 2007.
    """
    return _relative(spectrum).square().sum(-1)


def numerical_rank_of_spectrum(spectrum: Tensor, tolerance: float = 1e-2) -> Tensor:
    """#{sᵢ > tolerance · s₁}; 0 for a zero spectrum.

    Args: spectrum (..., m); tolerance in [0, 1), relative to s₁ (the default is ours; the paper's is not known to us).
    Returns: (...), a whole number in [0, m] as float64; NaN for a non-finite spectrum.
    """
    spectrum = spectrum.double()
    count = (spectrum > tolerance * spectrum.amax(-1, keepdim=True)).sum(-1).double()
    return torch.where(torch.isfinite(spectrum).all(-1), count, torch.nan)


def distance_to_rank_of_spectrum(spectrum: Tensor, rank: int) -> Tensor:
    """√(Σ_{j>k} sⱼ²): Frobenius distance to the nearest matrix of rank at most k; 0 for k ≥ m.

    Args: spectrum (..., m); rank k ≥ 0.
    Returns: (...), in [0, ‖W‖_F]; NaN for a non-finite spectrum.
    Raises: ValueError for a negative rank.
    Source: Eckart & Young 1936.
    """
    if rank < 0:
        raise ValueError(f"rank is {rank}; it must be at least 0.")
    descending = spectrum.double().sort(-1, descending=True).values
    tail = descending * (torch.arange(descending.shape[-1], device=descending.device) >= rank)
    return torch.where(torch.isfinite(spectrum).all(-1), scaled_norm(tail), torch.nan)


def alpha_req_fit_of_spectrum(spectrum: Tensor, first: int = 1, last: int | None = None) -> AlphaReqFit:
    """Exponent α of the power law sⱼ² ∝ j^(−α): minus the least-squares slope of log sⱼ² on log j, weights 1/j.

    Fitted on j = first..last; singular values below 1e-6 · s₁ are left out at the end, which is the recorded range.

    Args: spectrum (..., m) of the CENTRED representations; first ≥ 1 and last (None: m) count from 1.
    Returns: alpha (...), NaN for a zero spectrum or fewer than two points; first and last (...) of the fit, int64.
    Raises: ValueError for a first below 1.
    Source: Agrawal et al. 2022 (α-ReQ); weights and range are ours.
    """
    if first < 1:
        raise ValueError(f"first is {first}; singular values are counted from 1.")
    relative = _relative(spectrum.sort(-1, descending=True).values)
    index = torch.arange(1, relative.shape[-1] + 1, device=relative.device)
    used = (relative > ALPHA_REQ_FLOOR) & (index >= first) & (index <= (last or index.numel()))
    log_index = index.double().log()
    slope = _weighted_slope(log_index, 2 * torch.where(used, relative, 1.0).log(), used.double() / index)
    alpha = torch.where((used.sum(-1) >= 2) & torch.isfinite(relative).all(-1), -slope, torch.nan)
    return AlphaReqFit(alpha, torch.full_like(used.sum(-1), first), (used * index).amax(-1))


def _weighted_slope(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    weights = _shares(weights)
    deviation = x - (weights * x).sum(-1, keepdim=True)
    return (weights * deviation * y).sum(-1) / (weights * deviation.square()).sum(-1)


# A rank does not depend on the unit of its matrix: leaving the unit out keeps s₁ within float64.


def effective_rank(matrix: Tensor) -> Tensor:
    """`effective_rank_of_spectrum` of a matrix (..., N, D), not centred: exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs."""
    return effective_rank_of_spectrum(_scaled_representation_values(matrix)[0])


def rankme(representations: Tensor) -> Tensor:
    """`rankme_of_spectrum` of uncentred representations (..., N, D): exp(−Σ pᵢ log pᵢ), pᵢ = sᵢ/Σs + 1e-7."""
    return rankme_of_spectrum(_scaled_representation_values(representations)[0])


def covariance_effective_rank(representations: Tensor) -> Tensor:
    """`covariance_effective_rank_of_spectrum` of centred representations (..., N, D): pᵢ = sᵢ²/Σs²."""
    return covariance_effective_rank_of_spectrum(_scaled_representation_values(representations, centered=True)[0])


def participation_ratio(representations: Tensor) -> Tensor:
    """`participation_ratio_of_spectrum` of centred representations (..., N, D): (Σ s²)²/Σ s⁴."""
    return participation_ratio_of_spectrum(_scaled_representation_values(representations, centered=True)[0])


def stable_rank(matrix: Tensor) -> Tensor:
    """`stable_rank_of_spectrum` of a matrix (..., d_out, d_in): ‖W‖_F²/‖W‖₂²."""
    return stable_rank_of_spectrum(_scaled_representation_values(matrix)[0])


def numerical_rank(matrix: Tensor, tolerance: float = 1e-2) -> Tensor:
    """`numerical_rank_of_spectrum` of a matrix (..., d_out, d_in): #{sᵢ > tolerance · s₁}."""
    return numerical_rank_of_spectrum(_scaled_singular_values(matrix)[0], tolerance)


def distance_to_rank(matrix: Tensor, rank: int) -> Tensor:
    """`distance_to_rank_of_spectrum` of a matrix (..., d_out, d_in): √(Σ_{j>k} sⱼ²)."""
    values, unit = _scaled_singular_values(matrix)
    return distance_to_rank_of_spectrum(values, rank) * unit


def alpha_req(representations: Tensor, first: int = 1, last: int | None = None) -> Tensor:
    """α of `alpha_req_fit_of_spectrum` of centred representations (..., N, D)."""
    values, _ = _scaled_representation_values(representations, centered=True)
    return alpha_req_fit_of_spectrum(values, first, last).alpha
