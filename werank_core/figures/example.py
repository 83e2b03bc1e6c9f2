"""A measurement that does not change: what the overview shows of WERank, whatever was trained last."""

import math

import pandas as pd

# `sweep toy_ssl --seeds 10` on CPU, November 2026: strength, mean and 95% interval of the effective rank (test rows).
_EFFECTIVE_RANK = (
    (0.0, 29.04, 28.70, 29.37),
    (0.001, 29.21, 28.89, 29.54),
    (0.003, 29.59, 29.28, 29.91),
    (0.01, 31.24, 31.00, 31.48),
    (0.03, 38.25, 38.06, 38.44),
    (0.1, 41.60, 41.49, 41.71),
    (0.3, 39.30, 39.20, 39.41),
    (1.0, 39.28, 39.17, 39.38),
)


def measured_example() -> pd.DataFrame:
    """Effective rank against α for linear encoders on digits, ten seeds, as `summarize_strength` gives it."""
    rows = pd.DataFrame(_EFFECTIVE_RANK, columns=["strength", "mean", "low", "high"])
    left_out = dict.fromkeys(("num_diverged", "num_failed", "num_unfinished", "num_undefined"), 0)
    return rows.assign(
        metric="effective_rank",
        layer=0,
        split="test",
        series="",
        second_value=math.nan,
        n=10,
        n_expected=10,
        **left_out,
    )
