"""Stored arrays of the rank-collapse experiment -> tidy frames and closed forms, ready for the strength figures."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from werank_core.theory.deep_linear import optimal_rank, optimal_singular_values

TIDY = [
    "run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed", "step",
    "metric", "layer", "split", "series", "value", "state",
]  # fmt: skip
THEORY = ["metric", "strength", "value", "label"]


def ranks_at_tolerance(spectra: pd.DataFrame, tolerance: float, states: Mapping[str, str]) -> pd.DataFrame:
    """Numerical rank #{s_i > tolerance · s_1} of every layer of every run, from stored singular values.

    Args:
        spectra: arrays frame of `weight_spectrum`, one row a run and layer.
        tolerance: in (0, 1).
        states: run id -> state, which the arrays do not carry.
    """
    ranks = [float((v > tolerance * v[0]).sum()) if np.isfinite(v).all() else np.nan for v in spectra["values"]]
    return _tidy(spectra.assign(value=ranks, metric="weight_numerical_rank"), states)


def product_ranks(
    spectra: pd.DataFrame, targets: pd.DataFrame, states: Mapping[str, str], tolerance: float = 1e-2
) -> pd.DataFrame:
    """Rank of the product W_L ··· W_1 as a tidy frame: #{σⱼ > tolerance · σ₁(Y)}, Y the target.

    Relative to the target: a product that decay has emptied has rank 0, and not that of its rounding.

    Args:
        spectra: arrays frame of `product_spectrum`, one row a run; targets: of `target_spectrum`, of the same runs.
    """
    largest = {
        run_id: float(np.max(values)) for run_id, values in zip(targets["run_id"], targets["values"], strict=True)
    }
    ranks = [
        float((values > tolerance * largest[run_id]).sum()) if np.isfinite(values).all() else np.nan
        for run_id, values in zip(spectra["run_id"], spectra["values"], strict=True)
    ]
    return _tidy(spectra.assign(value=ranks, metric="product_rank"), states)


def product_singular_values(spectra: pd.DataFrame, states: Mapping[str, str], most: int = 6) -> pd.DataFrame:
    """The largest singular values of the product as a tidy frame, one series each: σ1, σ2, ..."""
    parts = [
        spectra.assign(
            layer=0,
            series=f"σ{j}",
            metric="product_singular_value",
            value=[float(v[j - 1]) if len(v) >= j else np.nan for v in spectra["values"]],
        )
        for j in range(1, most + 1)
    ]
    tidy = _tidy(pd.concat(parts, ignore_index=True), states)
    return tidy[tidy["value"].notna()]


def closed_form_values(
    target: np.ndarray, strengths: list[float], depth: int, max_rank: int | None = None, most: int = 6
) -> pd.DataFrame:
    """Singular values of the optimal product against λ > 0, one labelled line for each of the target's.

    `max_rank`: units of the narrowest hidden layer, which loses all but as many.
    """
    grid = _dense(strengths)
    optimal = np.stack([optimal_singular_values(target[:most], strength, depth, max_rank) for strength in grid])
    parts = [
        pd.DataFrame({"strength": grid, "value": optimal[:, j]}).assign(
            metric="product_singular_value", label=f"closed form σ{j + 1}"
        )
        for j in range(optimal.shape[1])
    ]
    return pd.concat(parts, ignore_index=True)[THEORY]


def closed_form_ranks(target: np.ndarray, strengths: list[float], limits: Mapping[int, int | None]) -> pd.DataFrame:
    """Rank of the optimal product against λ > 0, one labelled line a depth.

    `limits`: depth -> `max_rank` as in `closed_form_values`.
    """
    grid = _dense(strengths)
    parts = [
        pd.DataFrame({"strength": grid, "value": [float(optimal_rank(target, s, depth, limit)) for s in grid]}).assign(
            metric="product_rank", label=f"closed form, depth {depth}"
        )
        for depth, limit in limits.items()
    ]
    return pd.concat(parts, ignore_index=True)[THEORY]


def violations(history: pd.DataFrame, slack: float = 1e-4) -> tuple[int, int]:
    """How often the distance to rank K exceeds the certificate, and in how many recorded (run, layer, step).

    `slack` is relative, for the float32 that histories are stored in. Undefined bounds (λ = 0) are not counted.
    """
    keys = ["run_id", "layer", "step"]
    wide = history[history["metric"].isin(["distance_to_rank", "certificate_bound"])].pivot_table(
        index=keys, columns="metric", values="value", aggfunc="first"
    )
    if not {"distance_to_rank", "certificate_bound"} <= set(wide.columns):
        return 0, 0
    known = wide.dropna()
    broken = known["distance_to_rank"] > known["certificate_bound"] * (1 + slack) + 1e-6
    return int(broken.sum()), len(known)


def _dense(strengths: list[float]) -> np.ndarray:
    positive = [s for s in strengths if s > 0]
    return np.geomspace(min(positive), max(positive), 200) if positive else np.array([])


def _tidy(frame: pd.DataFrame, states: Mapping[str, str]) -> pd.DataFrame:
    constant = {"experiment": "rank_collapse", "dataset": "", "second_axis": None, "split": ""}
    frame = frame if "series" in frame else frame.assign(series="")
    state = frame["run_id"].map(lambda run_id: states.get(run_id, "running"))
    return frame.assign(**constant, state=state).reindex(columns=TIDY)
