"""Stored arrays of the rank-collapse experiment -> tidy frames and closed forms, ready for the strength figures."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from werank_core.theory.deep_linear import optimal_rank, optimal_singular_values

TIDY = [
    "run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed", "step",
    "metric", "layer", "split", "value", "state",
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


def product_ranks(spectra: pd.DataFrame, tolerance: float, states: Mapping[str, str]) -> pd.DataFrame:
    """Numerical rank of the product W_L ··· W_1, as a tidy frame: tolerance relative to the largest singular value."""
    ranks = [float((v > tolerance * max(v[0], 1e-12)).sum()) if v[0] > tolerance else 0.0 for v in spectra["values"]]
    return _tidy(spectra.assign(value=ranks, metric="numerical_rank"), states)


def product_singular_values(spectra: pd.DataFrame, states: Mapping[str, str], most: int = 6) -> pd.DataFrame:
    """The largest singular values of the product as a tidy frame, told apart by `split`: σ1, σ2, ..."""
    parts = [
        spectra.assign(
            layer=0,
            split=f"σ{j}",
            metric="product_singular_value",
            value=[float(v[j - 1]) if len(v) >= j else np.nan for v in spectra["values"]],
        )
        for j in range(1, most + 1)
    ]
    tidy = _tidy(pd.concat(parts, ignore_index=True), states)
    return tidy[tidy["value"].notna()]


def closed_form_values(target: np.ndarray, strengths: list[float], depth: int, most: int = 6) -> pd.DataFrame:
    """Singular values of the optimal product against λ > 0, one labelled line for each of the target's."""
    grid = _dense(strengths)
    optimal = np.stack([optimal_singular_values(target[:most], strength, depth) for strength in grid])
    parts = [
        pd.DataFrame({"strength": grid, "value": optimal[:, j]}).assign(
            metric="product_singular_value", label=f"closed form σ{j + 1}"
        )
        for j in range(optimal.shape[1])
    ]
    return pd.concat(parts, ignore_index=True)[THEORY]


def closed_form_ranks(target: np.ndarray, strengths: list[float], depths: list[int]) -> pd.DataFrame:
    """Rank of the optimal product against λ > 0, one labelled line a depth."""
    grid = _dense(strengths)
    parts = [
        pd.DataFrame({"strength": grid, "value": [float(optimal_rank(target, s, depth)) for s in grid]}).assign(
            metric="numerical_rank", label=f"closed form, depth {depth}"
        )
        for depth in depths
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
    constant = {"experiment": "rank_collapse", "dataset": "", "second_axis": None}
    frame = frame if "split" in frame else frame.assign(split="")
    state = frame["run_id"].map(lambda run_id: states.get(run_id, "running"))
    return frame.assign(**constant, state=state).reindex(columns=TIDY)
