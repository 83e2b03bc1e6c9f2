"""At which weight decay the stationary theory applies, and from which on a layer has rank K, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from werank_core.figures.formats import format_second, format_strength
from werank_core.figures.summaries import newest_values, select_metrics, usable

COSINE = "train/eigenvalue_cosine"
RANK = "weight_numerical_rank"
LEAST_COSINE = 0.99


@dataclass(frozen=True)
class TheoryRange:
    """What the finished runs of one second value say of λ > 0.

    `decays` are those with such runs; at those that `applies`, every layer of every run has a cosine of at least
    `LEAST_COSINE`. `rank_from` is the smallest at which a layer has at most rank K in every run, `layers` those that
    have it there, None without one. Only layers that can have a higher rank count: those that have one at the smallest
    strength.
    """

    decays: tuple[float, ...]
    applies: tuple[float, ...]
    rank_from: float | None
    layers: tuple[int, ...]


def theory_range(frame: pd.DataFrame, target_rank: int) -> TheoryRange:
    """Where theory applies, and where ranks have fallen to K.

    Args:
        frame: tidy frame of one second value with `COSINE` and `RANK`.
        target_rank: K.
    """
    cosines, ranks = _finished(frame, COSINE), _finished(frame, RANK)
    lowest = cosines[cosines["strength"] > 0].groupby("strength")["value"].min()
    largest = ranks.pivot_table(index="strength", columns="layer", values="value", aggfunc="max")
    can_fall = [int(str(layer)) for layer in largest if largest[layer].iloc[0] > target_rank] if len(largest) else []
    fallen = largest.loc[largest.index > 0, can_fall] <= target_rank
    reached = fallen[fallen.any(axis=1)]
    return TheoryRange(
        decays=tuple(map(float, lowest.index)),
        applies=tuple(map(float, lowest.index[lowest >= LEAST_COSINE])),
        rank_from=float(reached.index[0]) if len(reached) else None,
        layers=tuple(layer for layer in can_fall if reached[layer].iloc[0]) if len(reached) else (),
    )


def _finished(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    rows = newest_values(select_metrics(frame, [key]))
    return rows[usable(rows)] if len(rows) else rows


def theory_sentences(frame: pd.DataFrame, target_rank: int, second_title: str = "") -> Iterator[str]:
    """What `theory_range` found, once for all second values that it is the same for; nothing without finished runs."""
    parts: dict[str, pd.DataFrame] = {format_second(value): rows for value, rows in frame.groupby("second_value")}
    alike: dict[str, list[str]] = {}
    for second, rows in (parts or {"": frame}).items():
        found = theory_range(rows, target_rank)
        if found.decays:
            alike.setdefault(f"{_applies(found)} {_reaches(found, target_rank)}", []).append(second)
    for text, seconds in alike.items():
        yield f"{second_title} {', '.join(seconds)}: {text}" if parts else text[:1].upper() + text[1:]


def _applies(found: TheoryRange) -> str:
    cosine = f"an eigenvalue-equation cosine of at least {LEAST_COSINE:g}"
    if not found.applies:
        return f"the stationary theory applies at no λ here, as not every layer has {cosine} in every finished run."
    where = _where(found.decays, found.applies)
    return f"the stationary theory applies {where}, where every layer has {cosine} in every finished run."


def _where(decays: Sequence[float], applies: Sequence[float]) -> str:
    """ "from λ = 0.01 on", "at λ = 0.01 to 0.12", or a list where there are gaps."""
    first, last = applies[0], applies[-1]
    gapless = tuple(s for s in decays if first <= s <= last) == tuple(applies)
    if gapless and last == decays[-1]:
        return f"from λ = {format_strength(first)} on"
    if gapless and len(applies) > 2:
        return f"at λ = {format_strength(first)} to {format_strength(last)}"
    return f"at λ = {', '.join(map(format_strength, applies))}"


def _reaches(found: TheoryRange, target_rank: int) -> str:
    if found.rank_from is None:
        return f"No layer falls to rank K = {target_rank}."
    layers = f"layer{'s' * (len(found.layers) != 1)} {', '.join(map(str, found.layers))}"
    place = f"λ = {format_strength(found.rank_from)} ({layers})"
    doubt = "" if found.rank_from in found.applies else ": how far decay has come there, not yet the theory"
    return f"A layer first has rank K = {target_rank} at {place}{doubt}."
