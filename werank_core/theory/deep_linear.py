"""Deep linear networks with weight decay: the minimiser in closed form, to check training against.

The loss is  L(W_1..W_L) = ½‖W_L···W_1 − Y‖_F² + (λ/2) Σ_l ‖W_l‖_F².  Its minimiser keeps Y's singular vectors
and acts on each singular value y alone. For a product with singular value s the cheapest factors are
balanced, each with s^(1/L) (AM-GM), so what is left is the scalar problem

    f(s) = ½ (s − y)² + (λL/2) s^(2/L),   f'(s) = s − y + λ s^(2/L − 1).

- L = 1: s = y / (1 + λ): shrinkage, no value is lost.
- L = 2: s = max(y − λ, 0): soft threshold.
- L ≥ 3: f has a barrier at 0, so s jumps: 0 below a threshold y*, the larger root of f' above it.

When it applies: the loss above as it stands, or a supervised squared loss on white inputs, which reduces to
it (`least_squares.whitened_target`). A hidden layer of r units lets at most r values through: what a value is worth,
f(0) − f(s), grows with y, so the optimum then keeps the r largest (`max_rank` below) and loses the rest.

Source: the reduction is standard (variational form of Schatten-(2/L) quasi-norms); formulas and conventions,
halves included, are ours.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MAX_NEWTON_STEPS = 200
# its power 2/L − 2 ≥ −2 is still a finite float, so λ = 0 and y = 0 need no case of their own
SMALLEST_ROOT = 1e-150


class RankThresholds(NamedTuple):
    """Where the non-zero branch starts to exist as a local minimum, and where it becomes the global one."""

    local_minimum: Floats
    global_minimum: Floats


def optimal_singular_values(
    singular_values: ArrayLike, weight_decay: ArrayLike, depth: int, max_rank: int | None = None
) -> Floats:
    """Singular values of the product W_L···W_1 at the global minimum.

    Formula: L = 1: y/(1 + λ);  L = 2: max(y − λ, 0);  L ≥ 3: 0 if y < y*, else the larger root of
    s − y + λ s^(2/L − 1) = 0. At y = y* both branches cost the same and the non-zero one is returned; λ = 0
    gives y.

    Args:
        singular_values: y ≥ 0, shape (..., m): singular values of the target on the last axis; or one number.
        weight_decay: λ ≥ 0, shape (...): broadcast against the axes before the last, e.g. (A,) with (m,) →
            (A, m).
        depth: L ≥ 1, number of layers.
        max_rank: r ≥ 1, units of the narrowest hidden layer: all but the r largest values are 0; None: no limit.
    Returns:
        Shape (..., m), in [0, y].
    Raises:
        ValueError: a negative or non-finite value or weight decay, a depth or a limit that is not an integer ≥ 1.
    Source: ours; see the module's docstring.
    """
    target, decay = _checked(singular_values, weight_decay, depth)
    target = _largest_kept(target, max_rank)
    threshold = _thresholds(decay, depth).global_minimum
    return np.where(target >= threshold, _nonzero_branch(target, decay, depth), 0.0)


def local_minimum_singular_values(
    singular_values: ArrayLike, weight_decay: ArrayLike, depth: int, max_rank: int | None = None
) -> Floats:
    """The non-zero branch wherever it is a local minimum (the global one or not), 0 where it does not exist.

    Formula: as `optimal_singular_values`, but cut at the lower threshold. Between the two thresholds 0 is
    the global minimum and gradient descent may still sit here: a measurement is right on either branch. For
    L ≤ 2 the loss has one minimum and both functions agree. Exactly at the lower threshold the branch is an
    inflection point; it is returned. With a limit on the rank it is that of the largest values: keeping others is a
    saddle.

    Args, Returns, Raises: as `optimal_singular_values`.
    Source: ours; see the module's docstring.
    """
    target, decay = _checked(singular_values, weight_decay, depth)
    target = _largest_kept(target, max_rank)
    threshold = _thresholds(decay, depth).local_minimum
    return np.where(target >= threshold, _nonzero_branch(target, decay, depth), 0.0)


def rank_thresholds(weight_decay: ArrayLike, depth: int) -> RankThresholds:
    """The two target singular values between which both s = 0 and the non-zero branch are minima.

    Formula, L ≥ 3: y = s + λ s^(2/L − 1) at
    s = (λ(L−2)/L)^(L/(2(L−1))), where the non-zero branch starts to exist as a local minimum, and at
    s* = (λ(L−2))^(L/(2(L−1))), where it starts to be the global one and the optimum jumps from 0 to s*.
    L = 2: both are λ (no jump). L = 1 or λ = 0: both are 0 (every positive value survives).

    Args:
        weight_decay: λ ≥ 0, shape (...).
        depth: L ≥ 1.
    Returns:
        `local_minimum` ≤ `global_minimum`, each of shape (...), ≥ 0.
    Raises:
        ValueError: a negative or non-finite weight decay, or a depth that is not an integer ≥ 1.
    Source: ours; see the module's docstring.
    """
    _check_positive(depth, "depth")
    return _thresholds(_non_negative(weight_decay, "weight_decay"), depth)


def weight_decay_thresholds(singular_values: ArrayLike, depth: int) -> RankThresholds:
    """The two weight decays at which a target singular value y is lost: `rank_thresholds` solved for λ.

    Formula, L ≥ 3, c = 2 − 2/L: λ = L/(L−2) · (y(L−2)/(2(L−1)))^c, above which the non-zero branch is gone,
    and λ* = (y(L−2)/(L−1))^c / (L−2), above which it is no longer the global minimum. L = 2: both are y. L =
    1: both are ∞ (0 for y = 0). These are the places of the steps of "rank against λ".

    Args:
        singular_values: y ≥ 0, shape (...).
        depth: L ≥ 1.
    Returns:
        `local_minimum` ≥ `global_minimum`, each of shape (...), ≥ 0.
    Raises:
        ValueError: a negative or non-finite singular value, or a depth that is not an integer ≥ 1.
    Source: ours; see the module's docstring.
    """
    _check_positive(depth, "depth")
    target = _non_negative(singular_values, "singular_values")
    if depth == 1:
        endless = np.where(target > 0, np.inf, 0.0)
        return RankThresholds(endless, endless)
    if depth == 2:
        return RankThresholds(target, target)
    power, excess = 2 - 2 / depth, depth - 2
    local = depth / excess * (target * excess / (2 * (depth - 1))) ** power
    return RankThresholds(local, (target * excess / (depth - 1)) ** power / excess)


def optimal_rank(
    singular_values: ArrayLike, weight_decay: ArrayLike, depth: int, max_rank: int | None = None
) -> NDArray[np.int64]:
    """Rank of the product W_L···W_1 (and of each layer) at the global minimum.

    Formula: #{j : s_j > 0} with s = `optimal_singular_values`. For L = 1 every positive value survives in
    theory: a measured numerical rank, with its tolerance, may be lower.

    Args:
        singular_values: y ≥ 0, shape (..., m).
        weight_decay: λ ≥ 0, shape (...), broadcast against the axes before the last.
        depth: L ≥ 1.
        max_rank: as in `optimal_singular_values`.
    Returns:
        Shape (...), integers in [0, m].
    Raises:
        ValueError: as `optimal_singular_values`, or `singular_values` without an axis to count over.
    Source: ours; see the module's docstring.
    """
    if np.ndim(singular_values) == 0:
        raise ValueError("singular_values needs at least one axis to count over, shape (..., m)")
    optimum = optimal_singular_values(singular_values, weight_decay, depth, max_rank)
    return np.asarray(np.count_nonzero(optimum > 0, axis=-1), dtype=np.int64)


def layer_singular_values(product_singular_values: ArrayLike, depth: int) -> Floats:
    """Singular values of each single layer at a minimum: all layers share them (balancedness).

    Formula: s^(1/L).

    Args:
        product_singular_values: s ≥ 0, shape (...).
        depth: L ≥ 1.
    Returns:
        Shape (...), ≥ 0.
    Raises:
        ValueError: a negative or non-finite value, or a depth that is not an integer ≥ 1.
    Source: ours; see the module's docstring.
    """
    _check_positive(depth, "depth")
    values = _non_negative(product_singular_values, "product_singular_values")
    return np.asarray(values ** (1 / depth))


def _thresholds(decay: Floats, depth: int) -> RankThresholds:
    if depth == 1:
        return RankThresholds(np.zeros_like(decay), np.zeros_like(decay))
    if depth == 2:
        return RankThresholds(decay, decay)
    # λ s^(2/L-1) is s·L/(L-2) at the first point and s/(L-2) at the second, so λ = 0 needs no case of its own
    local, jump = _branch_start(decay, depth), (decay * (depth - 2)) ** (depth / (2 * (depth - 1)))
    return RankThresholds(local * 2 * (depth - 1) / (depth - 2), jump * (depth - 1) / (depth - 2))


def _branch_start(decay: Floats, depth: int) -> Floats:
    """The s > 0 at which f'' = 0: the non-zero branch of L ≥ 3 lies at or above it."""
    return np.asarray((decay * (depth - 2) / depth) ** (depth / (2 * (depth - 1))))


def _nonzero_branch(target: Floats, decay: Floats, depth: int) -> Floats:
    """The non-zero stationary point; where there is none the value means nothing and the caller cuts it."""
    if depth == 1:
        return np.asarray(target / (1 + decay))
    if depth == 2:
        return np.asarray(target - decay)
    return _larger_root(target, decay, depth)


def _larger_root(target: Floats, decay: Floats, depth: int) -> Floats:
    """Newton from s = y on h(s) = s + λ s^(2/L−1) − y, increasing and convex on [branch start, y].

    Convexity makes every step land between the root and the point before it, so the iteration falls
    monotonically and stops when float arithmetic can fall no further: no safeguard but the bracket is
    needed.
    """
    power = 2 / depth - 1
    floor = np.maximum(_branch_start(decay, depth), SMALLEST_ROOT)
    root = np.maximum(target, floor)
    for _ in range(MAX_NEWTON_STEPS):
        slope = 1 + decay * power * root ** (power - 1)
        step = (root - target + decay * root**power) / np.where(slope > 0, slope, np.inf)
        lower = np.clip(root - step, floor, root)
        if np.array_equal(lower, root):
            break
        root = lower
    return np.minimum(root, target)


def _checked(singular_values: ArrayLike, weight_decay: ArrayLike, depth: int) -> tuple[Floats, Floats]:
    _check_positive(depth, "depth")
    target = _non_negative(singular_values, "singular_values")
    decay = _non_negative(weight_decay, "weight_decay")
    return target, decay[..., None] if target.ndim else decay


def _largest_kept(target: Floats, max_rank: int | None) -> Floats:
    """The target with all but its largest values on the last axis set to 0."""
    if max_rank is None:
        return target
    _check_positive(max_rank, "max_rank")
    if target.ndim == 0:
        return target
    order = np.argsort(-target, axis=-1, kind="stable")
    kept = np.zeros(target.shape, dtype=bool)
    np.put_along_axis(kept, order[..., :max_rank], True, axis=-1)
    return np.where(kept, target, 0.0)


def _check_positive(value: int, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")


def _non_negative(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        raise ValueError(f"{name} must be finite and at least 0")
    return array
