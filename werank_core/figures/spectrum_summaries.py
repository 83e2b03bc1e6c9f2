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
    rows = rows.assign(finite=[bool(np.isfinite(values).all()) for values in rows["values"]])
    used = rows[rows["finite"]].sort_values(SPECTRUM_KEYS, kind="stable", ignore_index=True)
    grouped = used.groupby(SPECTRUM_KEYS, dropna=False, sort=False)
    starts = np.flatnonzero(~used[SPECTRUM_KEYS].duplicated().to_numpy())
    mean, deviation, count = _statistics(_padded(used["values"]), np.asarray(grouped.ngroup(), dtype=np.int64), starts)
    group, place = np.nonzero(count)
    half = t_half_width(deviation, count)
    columns = {"mean": mean, "low": mean - half, "high": mean + half, "n": count}
    summary = used[SPECTRUM_KEYS].iloc[starts[group]].reset_index(drop=True)
    summary = summary.assign(index=place + 1, **{name: values[group, place] for name, values in columns.items()})
    return _with_ranks(summary, tolerance).merge(_undefined_counts(rows), on=SPECTRUM_KEYS)[SPECTRUM_COLUMNS]


def _padded(spectra: pd.Series) -> NDArray[np.float64]:
    """The spectra as one table (S, longest), NaN after the end of a shorter one."""
    lengths = np.array([len(values) for values in spectra], dtype=int)
    table = np.full((len(spectra), lengths.max(initial=0)), np.nan)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate([np.empty(0), *spectra])
    return table


def _statistics(
    table: NDArray[np.float64], group: NDArray[np.int64], starts: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean, sample standard deviation and number of values over the rows of each group, each (G, longest).

    Args:
        table: (S, longest), the rows of a group next to one another.
        group: (S,) which group a row is of.
        starts: (G,) the first row of every group.
    """
    if not len(starts):
        return np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0), dtype=int)
    known = ~np.isnan(table)
    count = np.add.reduceat(known.astype(int), starts, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.add.reduceat(np.where(known, table, 0.0), starts, axis=0) / count
        squares = np.where(known, table - mean[group], 0.0) ** 2
        deviation = np.sqrt(np.add.reduceat(squares, starts, axis=0) / np.where(count > 1, count - 1, np.nan))
    return mean, deviation, count


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
    left_out = (~rows["finite"]).astype(int).groupby([rows[key] for key in SPECTRUM_KEYS], dropna=False)
    return left_out.sum().rename("num_undefined").reset_index()
