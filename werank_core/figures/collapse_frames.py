"""Stored arrays of the rank-collapse experiment -> tidy frames and closed forms, ready for the strength figures."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from werank_core.figures.formats import format_value
from werank_core.theory.deep_linear import optimal_rank, optimal_singular_values

TIDY = [
    "run_id", "sweep_id", "experiment", "dataset", "strength", "second_axis", "second_value", "seed", "step",
    "metric", "layer", "split", "series", "value", "state",
]  # fmt: skip
THEORY = ["metric", "strength", "value", "label"]
_LINES = {
    "distance_to_rank": "distance",
    "certificate_bound": "certificate",
    "tcv_bound": "TCV bound",
    "weight_norm": "‖W‖_F",
}
CERTIFICATE = (*_LINES, "certificate_tightness")
CERTIFICATE_ROWS = ("distance_to_rank", "certificate_tightness")


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


class CertificateCounts(NamedTuple):
    """Certificates of a sweep, one for every run, layer and recorded step that has a bound and can have a distance.

    Of the informative ones, those below ‖W‖_F: `tightness` is the median, lowest and highest distance / certificate,
    and `share_of_norm` the median certificate / ‖W‖_F.
    """

    checked: int
    informative: int
    exceeded: int
    tightness: tuple[float, float, float]
    share_of_norm: float


def certificate_counts(history: pd.DataFrame, slack: float = 1e-4) -> CertificateCounts:
    """What the recorded `CERTIFICATE` metrics say; λ = 0 has no bound, a layer no wider than K no distance.

    `slack` of `exceeded` is relative, for the float32 that histories are stored in.
    """
    rows = history[history["metric"].isin(CERTIFICATE)]
    wide = rows.pivot_table(index=["run_id", "layer", "step"], columns="metric", values="value", aggfunc="first")
    wide = wide.reindex(columns=list(CERTIFICATE))
    known = wide[wide["certificate_bound"].notna() & (wide["distance_to_rank"] > 0)]
    informative = known[known["certificate_bound"] < known["weight_norm"]]
    ratios = informative["distance_to_rank"] / informative["certificate_bound"]
    exceeded = known["distance_to_rank"] > known["certificate_bound"] * (1 + slack) + 1e-6
    return CertificateCounts(
        checked=len(known),
        informative=len(informative),
        exceeded=int(exceeded.sum()),
        tightness=(ratios.median(), ratios.min(), ratios.max()),
        share_of_norm=(informative["certificate_bound"] / informative["weight_norm"]).median(),
    )


def certificate_sentence(counts: CertificateCounts) -> str:
    """How many certificates say something, and how tight they are."""
    if not counts.checked:
        return "No certificate is recorded yet: there is none at λ = 0 or in a layer no wider than K."
    middle, low, high = (format_value(value) for value in counts.tightness)
    tight = (
        f"; in the median of these, certificate / ‖W‖_F is {format_value(counts.share_of_norm)} and "
        f"distance / certificate {middle} ({low} to {high})"
    )
    tight *= counts.informative > 0
    return (
        f"{counts.informative:,} of {counts.checked:,} certificates (one for every run, layer and recorded step) are "
        f"informative, that is below ‖W‖_F{tight}. That none is exceeded would be no evidence: the bound is the "
        "triangle inequality and holds for any matrices. What can be wrong is the gradient in it, which tests compare "
        "with float64 autograd."
    )


def certificate_points(newest: pd.DataFrame) -> pd.DataFrame:
    """Newest `CERTIFICATE` metrics of one layer as the rows of a strength figure.

    Distance, bounds and ‖W‖_F are series of one row; `certificate_tightness` is kept where the certificate is
    informative.
    """
    wide = newest.pivot_table(index="run_id", columns="metric", values="value", aggfunc="last")
    wide = wide.reindex(columns=list(CERTIFICATE))
    informative = wide.index[wide["certificate_bound"] < wide["weight_norm"]]
    lines = newest[newest["metric"].isin(_LINES)]
    tight = newest[(newest["metric"] == "certificate_tightness") & newest["run_id"].isin(informative)]
    named = lines.assign(series=lines["metric"].map(_LINES), metric="distance_to_rank")
    return pd.concat([named, tight], ignore_index=True).assign(layer=0, split="")


def _dense(strengths: list[float]) -> np.ndarray:
    positive = [s for s in strengths if s > 0]
    return np.geomspace(min(positive), max(positive), 200) if positive else np.array([])


def _tidy(frame: pd.DataFrame, states: Mapping[str, str]) -> pd.DataFrame:
    constant = {"experiment": "rank_collapse", "dataset": "", "second_axis": None, "split": ""}
    frame = frame if "series" in frame else frame.assign(series="")
    state = frame["run_id"].map(lambda run_id: states.get(run_id, "running"))
    return frame.assign(**constant, state=state).reindex(columns=TIDY)
