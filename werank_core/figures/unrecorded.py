"""Runs without a value, as rows: what recorded nothing is counted in a picture, not dropped in silence."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from werank_core.figures.summaries import select_metrics
from werank_core.vocabulary import MetricKey, RunState

_SERIES = ["metric", "layer", "split", "series"]


def with_unrecorded(frame: pd.DataFrame, runs: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """The tidy frame with a NaN row for each unfinished, failed or diverged run and metric that it lacks.

    Args:
        frame: tidy frame of a sweep's newest values.
        runs: its runs, one row each: [run_id, sweep_id, experiment, dataset, strength, second_axis, second_value,
            seed, step, state].
        metrics: keys that must be complete; one that nothing has recorded yet gets layer 0.
    """
    wanting = runs[runs["state"] != RunState.FINISHED]
    if wanting.empty:
        return frame
    series = pd.concat([_series(frame, key) for key in metrics], ignore_index=True).drop_duplicates()
    pairs = wanting.merge(series, how="cross")
    known = pd.MultiIndex.from_frame(frame[["run_id", *_SERIES]])
    missing = pairs[~pd.MultiIndex.from_frame(pairs[["run_id", *_SERIES]]).isin(known)]
    if missing.empty:
        return frame
    rows = missing.assign(value=np.nan)[list(frame.columns)]
    return pd.concat([frame, rows.astype(dict(frame.dtypes))], ignore_index=True) if len(frame) else rows


def _series(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Which layers and splits of the metric there are."""
    found = select_metrics(frame, [key])[_SERIES].drop_duplicates()
    wanted = MetricKey.parse(key)
    blank = {"metric": [wanted.metric], "layer": [0], "split": [wanted.split], "series": [""]}
    return found if len(found) else pd.DataFrame(blank)
