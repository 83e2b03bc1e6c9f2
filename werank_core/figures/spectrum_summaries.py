"""Stored singular values -> the mean spectra a figure draws, with the ranks of exactly those spectra."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from werank_core.figures.summaries import t_half_width

TOLERANCE = 1e-2
SPECTRUM_KEYS = ["layer", "second_value", "strength", "step"]
SPECTRUM_COLUMNS = [
    *SPECTRUM_KEYS, "index", "mean", "low", "high", "n", "num_undefined", "effective_rank", "numerical_rank",
]  # fmt: skip


def effective_rank(singular_values: ArrayLike) -> Any:
    """Effective rank of a spectrum, exp(−Σ pᵢ log pᵢ) with p = s/Σs; NaN for an all-zero or empty spectrum.

    Args:
        singular_values: (..., m), not negative.

    Returns:
        (...), in [1, number of positive values].

    Source: Roy & Vetterli 2007.
    """
    s = np.asarray(singular_values, dtype=float)
    total = s.sum(axis=-1, keepdims=True)
    p = np.divide(s, total, out=np.full_like(s, np.nan), where=total > 0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    rank = np.exp(-(p * logs).sum(axis=-1))
    return np.where(total[..., 0] > 0, rank, np.nan)[()]


def numerical_rank(singular_values: ArrayLike, tolerance: float = TOLERANCE) -> Any:
    """#{sᵢ > tolerance · s₁} along the last axis; 0 for a spectrum of zeros. The tolerance is ours."""
    s = np.asarray(singular_values, dtype=float)
    largest = s.max(axis=-1, keepdims=True, initial=0.0)
    return np.count_nonzero(s > tolerance * largest, axis=-1)


def summarize_spectra(arrays: pd.DataFrame, *, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """Mean singular value over seeds at each index, with its Student-t interval.

    `effective_rank` and `numerical_rank` are those of the mean spectrum, that is of exactly what is drawn:
    not the mean of the seeds' ranks. Spectra with a non-finite value are left out and counted in
    `num_undefined`.

    Args:
        arrays: [run_id, strength, second_value, seed, step, layer, values], `values` one float array a
            row, largest first.
        tolerance: of the numerical rank.

    Returns:
        `SPECTRUM_COLUMNS`, one row per singular value; `index` counts from 1.
    """
    if arrays.empty:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in SPECTRUM_COLUMNS})
    rows = arrays.drop_duplicates(["run_id", "layer", "step"])
    long = _one_row_per_value(rows)
    grouped = long.groupby([*SPECTRUM_KEYS, "index"], dropna=False)["value"]
    summary = grouped.agg(["mean", "std", "count"]).reset_index().rename(columns={"count": "n"})
    half = t_half_width(summary["std"], summary["n"])
    summary = _with_ranks(summary.assign(low=summary["mean"] - half, high=summary["mean"] + half), tolerance)
    return summary.merge(_undefined_counts(rows), on=SPECTRUM_KEYS)[SPECTRUM_COLUMNS]


def _one_row_per_value(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[[bool(np.isfinite(values).all()) for values in rows["values"]]]
    lengths: NDArray[np.int64] = np.array([len(values) for values in rows["values"]], dtype=np.int64)
    long = rows[SPECTRUM_KEYS].iloc[np.repeat(np.arange(len(rows)), lengths)].reset_index(drop=True)
    values = np.concatenate([np.asarray(v, dtype=float) for v in rows["values"]]) if len(rows) else np.empty(0)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return long.assign(value=values, index=np.arange(len(values)) - starts + 1)


def _with_ranks(summary: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Adds each mean spectrum's ranks to its rows: the two functions above, for all spectra at once."""
    code = summary.groupby(SPECTRUM_KEYS, dropna=False, sort=False).ngroup().to_numpy()
    s = summary["mean"].to_numpy(float)
    total = np.bincount(code, weights=s)
    s_log_s = np.bincount(code, weights=s * np.log(np.where(s > 0, s, 1.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(total > 0, np.exp(np.log(total) - s_log_s / total), np.nan)
    largest = np.zeros(len(total))
    np.maximum.at(largest, code, s)
    numerical = np.bincount(code, weights=s > tolerance * largest[code]).astype(int)
    return summary.assign(effective_rank=effective[code], numerical_rank=numerical[code])


def _undefined_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """How many spectra of each group were left out because of a non-finite value."""
    left_out = rows["values"].map(lambda values: not np.isfinite(values).all()).astype(int)
    return (
        left_out.groupby([rows[key] for key in SPECTRUM_KEYS], dropna=False).sum().rename("num_undefined").reset_index()
    )
