"""How high a rank could be at all: 34 rows span at most 34 dimensions, however many there are, and 33 once centred."""

from collections.abc import Mapping

import pandas as pd

SIZES = ("measured_rows", "representation_width", "embedding_width")
# metric -> what it is a rank of, and whether the mean is subtracted first
_RANKS: Mapping[str, tuple[str, bool]] = {
    "effective_rank": ("representation_width", False),
    "rankme": ("representation_width", False),
    "stable_rank": ("representation_width", False),
    "numerical_rank": ("representation_width", False),
    "covariance_effective_rank": ("representation_width", True),
    "participation_ratio": ("representation_width", True),
    "embedding_effective_rank": ("embedding_width", False),
    "embedding_rankme": ("embedding_width", False),
}
RANKS = tuple(_RANKS)


def rank_ceilings(frame: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Lowest and highest ceiling over the runs of every rank metric: min(N, D), or min(N − 1, D) of a centred one.

    Args:
        frame: tidy frame with the recorded `SIZES`; runs without them do not count.
    """
    if frame.empty:
        return {}
    sizes = frame[frame["metric"].isin(SIZES)].dropna(subset="value")
    table = sizes.pivot_table(index="run_id", columns="metric", values="value", aggfunc="last").reindex(
        columns=list(SIZES)
    )
    found: dict[str, tuple[int, int]] = {}
    for name, (width, centred) in _RANKS.items():
        known = table.dropna(subset=["measured_rows", width])
        ceilings = known[width].clip(upper=known["measured_rows"] - centred)
        if len(ceilings):
            found[name] = int(ceilings.min()), int(ceilings.max())
    return found


def ceiling_notes(frame: pd.DataFrame) -> dict[str, str]:
    """What stands behind the name of a rank metric: "at most 33", or "at most 8 to 64" where runs differ."""
    return {
        name: f"at most {low:,}" if low == high else f"at most {low:,} to {high:,}"
        for name, (low, high) in rank_ceilings(frame).items()
    }


def within_ceilings(summary: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The summary with the intervals of ranks cut where no rank can be: at the highest ceiling of these runs."""
    if summary.empty:
        return summary
    highest = {name: float(high) for name, (_, high) in rank_ceilings(frame).items()}
    return summary.assign(high=summary["high"].clip(upper=summary["metric"].map(highest).astype(float)))
