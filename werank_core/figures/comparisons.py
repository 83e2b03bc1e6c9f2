"""Differences and associations with their uncertainty: paired by seed where possible, else Welch."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from werank_core.figures.summaries import CONFIDENCE, SERIES_KEYS, newest_values, select_metrics, t_half_width, usable
from werank_core.vocabulary import MetricKey

DIFFERENCE_COLUMNS = [
    *SERIES_KEYS, "strength", "baseline", "mean_a", "mean_b", "difference", "low", "high", "n", "n_a", "n_b",
    "paired",
    "effect_size", "p_value", "p_holm",
]  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Group b minus group a. `n` is the number of pairs, or of runs on both sides when `paired` is false.

    `effect_size` is Cohen's d_z (mean over standard deviation of the paired differences), or Cohen's d with
    the pooled standard deviation when unpaired. NaN where a number does not exist: everything at n = 0,
    interval, effect and p at one pair.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    n: int
    n_a: int
    n_b: int
    paired: bool
    effect_size: float
    p_value: float


@dataclass(frozen=True)
class Association:
    """Spearman's rank correlation with its interval over `n` seeds; NaN where there is none."""

    rho: float
    low: float
    high: float
    n: int
    num_runs: int


def paired_difference(
    frame: pd.DataFrame,
    metric: str,
    strength_a: float,
    strength_b: float,
    *,
    second_value: float | str | None = None,
    layer: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Metric at `strength_b` minus metric at `strength_a`, paired by seed where any seed is on both sides."""
    a, b = (
        values_by_seed(frame, metric, strength=strength, second_value=second_value, layer=layer)
        for strength in (strength_a, strength_b)
    )
    return compare_by_seed(a, b, confidence=confidence)


def values_by_seed(
    frame: pd.DataFrame,
    metric: str,
    *,
    strength: float | None = None,
    second_value: float | str | None = None,
    layer: int | None = 0,
) -> pd.Series:
    """Newest finite value of the finished runs, indexed by seed; several runs of a seed give their mean.

    `metric` is a key, "split/metric". A filter that is None keeps every row.
    """
    if frame.empty:
        return pd.Series(dtype=float)
    rows = newest_values(select_metrics(frame, [metric]))
    for column, wanted in {"strength": strength, "second_value": second_value, "layer": layer}.items():
        if isinstance(wanted, str):
            rows = rows[rows[column] == wanted]
        elif wanted is not None:
            rows = rows[np.isclose(pd.to_numeric(rows[column], errors="coerce"), wanted, rtol=1e-9, atol=0)]
    return rows[usable(rows)].groupby("seed")["value"].mean().astype(float)


def compare_by_seed(a: pd.Series, b: pd.Series, *, confidence: float = CONFIDENCE) -> Difference:
    """Group b minus group a, each values indexed by seed: paired over the common seeds, else Welch.

    Paired: mean d ± t(n − 1) · s_d/√n over the seeds both groups have. No common seed: `welch_difference`.
    """
    common = a.index.intersection(b.index)
    if len(common) == 0:
        return welch_difference(a.to_numpy(float), b.to_numpy(float), confidence)
    left, right = a.loc[common].to_numpy(float), b.loc[common].to_numpy(float)
    gaps = right - left
    mean, deviation = float(gaps.mean()), float(gaps.std(ddof=1)) if len(gaps) > 1 else math.nan
    half = float(t_half_width(deviation, len(gaps), confidence))
    return Difference(
        mean_a=float(left.mean()),
        mean_b=float(right.mean()),
        difference=mean,
        low=mean - half,
        high=mean + half,
        n=len(gaps),
        n_a=len(a),
        n_b=len(b),
        paired=True,
        effect_size=_ratio(mean, deviation),
        p_value=_two_sided_p(_ratio(mean, deviation) * math.sqrt(len(gaps)), len(gaps) - 1),
    )


def welch_difference(a: NDArray[np.float64], b: NDArray[np.float64], confidence: float = CONFIDENCE) -> Difference:
    """Mean of b minus mean of a without pairing: Welch's interval and test."""
    counts = (len(a), len(b))
    mean_a, mean_b = (float(x.mean()) if len(x) else math.nan for x in (a, b))
    variances = tuple(float(x.var(ddof=1)) if len(x) > 1 else math.nan for x in (a, b))
    shares = tuple(v / n if n else math.nan for v, n in zip(variances, counts, strict=True))
    error, freedom = math.sqrt(sum(shares)), _welch_freedom(shares, counts)
    difference = mean_b - mean_a
    half = float(special.stdtrit(freedom, (1 + confidence) / 2)) * error if error else error
    pooled = math.sqrt(sum(v * (n - 1) for v, n in zip(variances, counts, strict=True)) / max(sum(counts) - 2, 1))
    return Difference(
        mean_a=mean_a,
        mean_b=mean_b,
        difference=difference,
        low=difference - half,
        high=difference + half,
        n=sum(counts),
        n_a=counts[0],
        n_b=counts[1],
        paired=False,
        effect_size=_ratio(difference, pooled),
        p_value=_two_sided_p(_ratio(difference, error), freedom),
    )


def _welch_freedom(shares: tuple[float, ...], counts: tuple[int, ...]) -> float:
    spread = sum(share**2 / max(count - 1, 1) for share, count in zip(shares, counts, strict=True))
    return sum(shares) ** 2 / spread if spread > 0 else math.nan if math.isnan(spread) else sum(counts) - 2


def _ratio(value: float, deviation: float) -> float:
    """value / deviation; ±∞ for a difference without any spread, 0 when both are 0."""
    if deviation > 0 or math.isnan(deviation):
        return value / deviation
    return math.copysign(math.inf, value) if value else 0.0


def _two_sided_p(t: float, freedom: float) -> float:
    return float(2 * special.stdtr(freedom, -abs(t))) if freedom > 0 else math.nan


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down adjusted p-values: max over j ≤ i of min(1, (m − j + 1) · p₍ⱼ₎), in the order given.

    NaN stays NaN and does not count in m. Source: Holm 1979.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def strength_differences(frame: pd.DataFrame, metrics: Sequence[str], *, baseline: float = 0.0) -> pd.DataFrame:
    """Every strength against the baseline, with Holm's correction over the strengths of a series.

    Returns:
        `DIFFERENCE_COLUMNS`; `p_holm` corrects within one series of a metric and one second value.
    """
    rows = newest_values(select_metrics(frame, metrics))
    if rows.empty:
        return pd.DataFrame(columns=DIFFERENCE_COLUMNS)
    table = [
        dict(zip(SERIES_KEYS, key, strict=True)) | difference
        for name in dict.fromkeys(MetricKey.parse(key).metric for key in metrics)
        for key, group in rows[rows["metric"] == name].groupby(SERIES_KEYS, dropna=False)
        for difference in _against_baseline(group, baseline)
    ]
    return pd.DataFrame(table, columns=DIFFERENCE_COLUMNS)


def _against_baseline(group: pd.DataFrame, baseline: float) -> list[dict[str, float]]:
    by_seed = {
        float(strength): rows[usable(rows)].groupby("seed")["value"].mean()  # type: ignore[arg-type]
        for strength, rows in group.groupby("strength")
    }
    reference = by_seed.pop(baseline, pd.Series(dtype=float))
    found = {strength: compare_by_seed(reference, values) for strength, values in by_seed.items()}
    corrected = holm([difference.p_value for difference in found.values()])
    return [
        asdict(difference) | {"strength": strength, "baseline": baseline, "p_holm": float(p)}
        for (strength, difference), p in zip(found.items(), corrected, strict=True)
    ]


def spearman_by_seed(
    frame: pd.DataFrame, x: str, y: str, *, within: str = "second_value", confidence: float = CONFIDENCE
) -> Association:
    """Mean over seeds of Spearman's ρ between two columns, with a Student-t interval over seeds, cut at ±1.

    The runs of one seed share data and initialisation, so the seed is the unit: ρ is taken inside each seed, at each
    value of `within` by itself, then averaged. A seed with fewer than three pairs, or with a constant side, has none.

    Args:
        frame: one row a run, with the columns `seed`, `within`, and the two to relate.
    """
    pairs = frame[np.isfinite(frame[x].astype(float)) & np.isfinite(frame[y].astype(float))]
    each = [
        (seed, float(rows[x].corr(rows[y], method="spearman")))
        for (seed, _), rows in pairs.groupby(["seed", within], dropna=False)
        if len(rows) > 2 and rows[x].nunique() > 1 and rows[y].nunique() > 1
    ]
    found = pd.DataFrame(each, columns=["seed", "rho"]).groupby("seed")["rho"].mean()
    if found.empty:
        return Association(math.nan, math.nan, math.nan, 0, len(pairs))
    rho = float(found.mean())
    half = float(t_half_width(found.std(ddof=1), len(found), confidence))
    low, high = np.clip([rho - half, rho + half], -1, 1)
    return Association(rho, float(low), float(high), len(found), len(pairs))
