"""The strength axis: a strip for strength 0, a drawn break, then one log axis for every row.

Strength 0 has no place on a log axis, and an epsilon in its stead would be a lie about distance. So the strip
and the log axis are two real x axes, "x2" and "x". Zooming into the log axis keeps the baseline in view,
ticks stay native, and the y axes of a row match, so that a zoom in y moves both. All rows hang on the one
axis "x": one hover box covers them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from werank_core.figures.formats import format_strength
from werank_core.figures.style import PALETTES, Theme

_STRIP, _GAP = 0.075, 0.02


@dataclass(frozen=True)
class StrengthAxis:
    """Where strengths go in linked rows with these vertical domains and y scales, the first at the top."""

    strengths: tuple[float, ...]
    domains: tuple[tuple[float, float], ...]
    scales: tuple[dict[str, Any], ...]

    @property
    def positive(self) -> tuple[float, ...]:
        """The strengths on the log axis, rising."""
        return tuple(sorted({s for s in self.strengths if s > 0}))

    @property
    def has_baseline(self) -> bool:
        """Whether strength 0 is among them, that is, whether there is a strip."""
        return any(s == 0 for s in self.strengths)

    @property
    def _break_at(self) -> float:
        if not self.has_baseline:
            return 0.0
        return _STRIP if self.positive else 1.0

    @property
    def num_rows(self) -> int:
        """Rows of the figure."""
        return len(self.domains)

    def place(self, row: int, baseline: bool) -> dict[str, str]:
        """The axes of a trace: on the strip or on the log axis of a row."""
        number = row + 1 + (self.num_rows if baseline else 0)
        return {"xaxis": "x2" if baseline else "x", "yaxis": "y" if number == 1 else f"y{number}"}

    def layout(self, label: str, theme: Theme) -> dict[str, Any]:
        """The x and y axes of every row, and the drawn break."""
        axes: dict[str, Any] = {"xaxis": self._log_axis(label), "shapes": self._break_marks(theme)}
        if self.has_baseline:
            axes["xaxis2"] = self._strip_axis(label)
        for row in range(self.num_rows):
            axes |= self._row_axes(row)
        return axes

    def _row_axes(self, row: int) -> dict[str, Any]:
        main = self.place(row, baseline=False)["yaxis"]
        shared = {"domain": self.domains[row], "nticks": 5} | self.scales[row]
        if not self.has_baseline:
            return {_layout_key(main): shared | {"anchor": "x"}}
        strip = self.place(row, baseline=True)["yaxis"]
        return {
            _layout_key(main): shared | {"anchor": "x", "showticklabels": False},
            _layout_key(strip): shared | {"anchor": "x2", "matches": main},
        }

    def _log_axis(self, label: str) -> dict[str, Any]:
        bottom = self.place(self.num_rows - 1, baseline=False)["yaxis"]
        start = self._break_at + (_GAP if self.has_baseline else 0.0)
        return {
            "type": "log", "domain": (min(start, 0.999), 1), "anchor": bottom, "range": self._log_range(),
            "showgrid": True,
            "title": {"text": label}, "showline": True, "ticks": "outside", "ticklen": 4,
            "visible": bool(self.positive),
            "hoverformat": ".4~g", "unifiedhovertitle": {"text": label + " = %{x}"}, **self._ticks(),
        }  # fmt: skip

    def _log_range(self) -> tuple[float, float]:
        logs = [math.log10(s) for s in self.positive] or [0.0]
        pad = max(0.05 * (logs[-1] - logs[0]), 0.08)
        return logs[0] - pad, logs[-1] + pad

    def _ticks(self) -> dict[str, Any]:
        """Powers of ten with minor marks; over less than 1.5 decades the strengths themselves."""
        if not self.positive or self.positive[-1] / self.positive[0] < 10**1.5:
            return _tick_list(self.positive)
        low, high = self._log_range()
        powers = [10.0**power for power in range(math.floor(low) - 1, math.ceil(high) + 2)]
        return _tick_list(powers) | {"minor": {"ticks": "outside", "ticklen": 2, "dtick": "D1"}}

    def _strip_axis(self, label: str) -> dict[str, Any]:
        bottom = self.place(self.num_rows - 1, baseline=True)["yaxis"]
        return {
            "domain": (0, self._break_at), "anchor": bottom, "range": (-1, 1), "fixedrange": True,
            "showgrid": False,
            "tickvals": [0], "ticktext": ["0"], "showline": True, "ticks": "outside", "ticklen": 4,
            "unifiedhovertitle": {"text": label + " = 0"},
        }  # fmt: skip

    def _break_marks(self, theme: Theme) -> list[dict[str, Any]]:
        """Two slanted strokes in the gap, at the foot of every row."""
        if not (self.has_baseline and self.positive):
            return []
        line = {"color": PALETTES[theme].muted, "width": 1}
        return [
            {
                "type": "line", "xref": "paper", "yref": "paper", "xsizemode": "pixel", "ysizemode": "pixel",
                "xanchor": self._break_at + _GAP / 2, "yanchor": self.domains[-1][0],
                "x0": offset - 3, "x1": offset + 3, "y0": -6, "y1": 6, "line": line,
            }
            for offset in (-3, 3)
        ]  # fmt: skip


def _tick_list(values: Sequence[float]) -> dict[str, Any]:
    return {"tickvals": list(values), "ticktext": [format_strength(value) for value in values]}


def _layout_key(axis: str) -> str:
    return axis.replace("y", "yaxis", 1)
