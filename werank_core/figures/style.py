"""One look for every chart: two themes as Plotly templates, fixed colours, margins, empty states."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import plotly.graph_objects as go

from werank_core.figures.formats import format_difference as format_difference
from werank_core.figures.formats import format_interval as format_interval
from werank_core.figures.formats import format_strength as format_strength
from werank_core.figures.formats import format_value as format_value

Theme = Literal["light", "dark"]

ACCENT = "#0072B2"
FONT = '"Source Sans", "Source Sans Pro", sans-serif'
FONT_SIZE = 13
MARGIN = {"l": 52, "r": 16, "t": 76, "b": 52}
BAND_OPACITY = 0.16
LEGEND_HEIGHT = 30
_SHORT_NAME = 24
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star-triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

# A walk through hue from blue to orange (OKLCH, lightness 0.50 to 0.65, on dark 0.63 to 0.73). Ours. Every colour has
# a contrast of at least 3:1 on its background, and lightness and the blue-yellow axis both rise along it, so it
# survives colour blindness and greyscale.
_STRENGTH_SCALES: Mapping[Theme, tuple[str, ...]] = {
    "light": ("#1e59cd", "#6450d1", "#9048c5", "#b443ab", "#d04188", "#e3485d", "#ea5b1e"),
    "dark": ("#4582fa", "#8677fb", "#b36ceb", "#d865cd", "#f261a6", "#ff6b79", "#ff7c4c"),
}

# Ten hues of equal lightness (OKLCH 0.60, steps of 36 degrees, every third one next): at least 3.7:1 on both
# backgrounds.
_LABEL_COLORS = (
    "#008ac2", "#c06402", "#05976b", "#c24e99", "#659006", "#5f74e4", "#d24b54", "#069298", "#9c5ecd",
    "#9b7d00",
)  # fmt: skip


@dataclass(frozen=True)
class Palette:
    """The colours of one theme; `series` are Okabe-Ito blue, vermillion, green and purple at 3:1 or more.

    `baseline` is what strength 0 has wherever strengths have colours.
    """

    background: str
    surface: str
    text: str
    muted: str
    grid: str
    line: str
    baseline: str
    series: tuple[str, str, str, str]
    diverging: tuple[str, str, str]


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        background="#FFFFFF",
        surface="#FFFFFF",
        text="#31333F",
        muted="#6B7080",
        grid="#ECEEF2",
        line="#B9BEC9",
        baseline="#7F848E",
        series=(ACCENT, "#D55E00", "#008F68", "#B8649A"),
        diverging=("#B35806", "#F4F4F5", "#1F6FA8"),
    ),
    "dark": Palette(
        background="#0E1117",
        surface="#1A1E27",
        text="#F0F2F6",
        muted="#A3A9B7",
        grid="#242935",
        line="#4A5162",
        baseline="#9AA0AC",
        series=("#3D9BDC", "#E8742A", "#14B085", "#D78FBA"),
        diverging=("#E08A3C", "#262B36", "#4FA3DD"),
    ),
}


def template(theme: Theme) -> go.layout.Template:
    """The Plotly template of a theme; use it with Streamlit's own chart theme switched off (`theme=None`)."""
    return go.layout.Template(layout=_template_layout(theme))


@cache
def _template_layout(theme: Theme) -> dict[str, Any]:
    colors = PALETTES[theme]
    small = {"size": FONT_SIZE - 1, "color": colors.muted}
    axis = {
        "gridcolor": colors.grid, "linecolor": colors.line, "tickcolor": colors.line, "zeroline": False,
        "tickfont": small, "title": {"font": {"size": FONT_SIZE, "color": colors.muted}, "standoff": 8},
        "automargin": False, "exponentformat": "power", "minexponent": 4,
        "spikecolor": colors.line, "spikethickness": 1, "spikedash": "solid",
    }  # fmt: skip
    return {
        "font": {"family": FONT, "size": FONT_SIZE, "color": colors.text},
        "paper_bgcolor": colors.background,
        "plot_bgcolor": colors.background,
        "colorway": colors.series,
        "margin": MARGIN,
        "title": _title_defaults(colors),
        "hoverlabel": {
            "bgcolor": colors.surface, "bordercolor": colors.line, "align": "left", "namelength": -1,
            "font": {"family": FONT, "size": FONT_SIZE - 1, "color": colors.text},
        },
        "legend": {
            "orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom", "yref": "container",
            "bgcolor": "rgba(0,0,0,0)", "font": {"size": FONT_SIZE - 1}, "itemwidth": 30,
            "title": {"font": {"size": FONT_SIZE - 1, "color": colors.muted}},
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colors.line, "activecolor": colors.text},
        "xaxis": axis,
        "yaxis": axis,
    }  # fmt: skip


def _title_defaults(colors: Palette) -> dict[str, Any]:
    return {
        "x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top",
        "pad": {"l": 12, "t": 12}, "font": {"size": FONT_SIZE + 3, "color": colors.text},
        "subtitle": {"font": {"size": FONT_SIZE - 1, "color": colors.muted}},
    }  # fmt: skip


def title_layout(title: str, caption: str = "", theme: Theme = "light") -> dict[str, Any]:
    """A left-aligned title with its caption, broken to fit a telephone; without a title the caption alone."""
    if title:
        return {"text": title, "subtitle": {"text": wrapped(caption)}}
    return {"text": wrapped(caption), "font": {"size": FONT_SIZE - 1, "color": PALETTES[theme].muted}}


def top_margin(title: str, caption: str = "") -> int:
    """Pixels that the title and the lines of its caption need above the plot."""
    lines = wrapped(caption).count("<br>") + 1 if caption else 0
    return 14 + (34 + 20 * title.count("<br>")) * bool(title) + 17 * lines


def decade_ticks(values: Iterable[float], most: int = 6) -> dict[str, Any]:
    """Ticks of a log axis from the lowest to the highest of these values, at most about `most`.

    Powers of ten; 1, 2 and 5 times them over less than two decades, for Plotly would write the digits between two
    powers without the powers. Nothing, and so Plotly's even ticks, where fewer than two of them lie between the ends.
    """
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    if not logs:
        return {}
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    step = max(1, math.ceil((high - low + 1) / most))
    ticks = [10.0**power for power in range(low, high + 1) if power % step == 0]
    if max(logs) - min(logs) < 2:
        ticks = [digit * 10.0**power for power in range(low, high + 1) for digit in (1, 2, 5)]
        within = [tick for tick in ticks if min(logs) - 0.05 <= math.log10(tick) <= max(logs) + 0.05]
        if len(within) < 2:
            return {}
    return {"tickvals": ticks, "ticktext": [format_strength(tick) for tick in ticks]}


def listed_legend(names: Sequence[str]) -> tuple[dict[str, Any], int]:
    """The legend's layout and its height in pixels: side by side, or one under the other where names are long.

    Names side by side that do not fit into a line would be drawn over the axis.
    """
    if not names or max(map(len, names)) <= _SHORT_NAME:
        return {}, LEGEND_HEIGHT
    breaks = sum(in_legend(name).count("<br>") for name in names)
    return {"orientation": "v"}, 22 * len(names) + 15 * breaks + 8


def in_legend(name: str) -> str:
    """A name with the line breaks that a legend needs on a narrow screen."""
    return "<br>".join(textwrap.wrap(name, 40, break_long_words=False, break_on_hyphens=False))


def wrapped(text: str, width: int = 62) -> str:
    """Text with line breaks for the narrowest screen the product supports (390 px)."""
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, width)]
    return "<br>".join(lines)


def empty_figure(title: str, sentence: str, theme: Theme = "light", height: int = 320) -> go.Figure:
    """A titled figure without data that says in one sentence what to do next."""
    colors = PALETTES[theme]
    note = {
        "text": wrapped(sentence, 44), "showarrow": False, "x": 0.5, "y": 0.5, "xref": "paper",
        "yref": "paper",
        "font": {"size": FONT_SIZE + 1, "color": colors.muted},
    }  # fmt: skip
    hidden = {"visible": False, "fixedrange": True}
    layout = {
        "template": template(theme),
        "title": title_layout(title),
        "height": height,
        "annotations": [note],
    }
    return go.Figure(layout=layout | {"xaxis": hidden, "yaxis": hidden})


def strength_colors(strengths: Iterable[float], theme: Theme = "light") -> dict[float, str]:
    """Strength -> colour: grey for 0, the others by rank on the theme's sequential scale."""
    ordered = sorted({float(strength) for strength in strengths})
    positive = [strength for strength in ordered if strength != 0]
    colors = {0.0: PALETTES[theme].baseline} if len(positive) < len(ordered) else {}
    return colors | dict(zip(positive, sequential_colors(len(positive), theme), strict=True))


def sequential_colors(count: int, theme: Theme = "light") -> list[str]:
    """`count` colours evenly spaced on the theme's sequential scale; one alone is its first."""
    steps = max(count - 1, 1)
    return [_between_stops(_STRENGTH_SCALES[theme], index / steps) for index in range(count)]


def _between_stops(scale: Sequence[str], position: float) -> str:
    place = position * (len(scale) - 1)
    left = min(int(place), len(scale) - 2)
    share = place - left
    pair = (_channels(scale[left]), _channels(scale[left + 1]))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*pair, strict=True))


def readable_on(color: str) -> str:
    """Black or white, whichever reads better on a hex or "rgb(r, g, b)" colour."""
    channels = _channels(color) if color.startswith("#") else tuple(map(float, color[4:-1].split(",")))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in channels)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#FFFFFF"  # where both have the same contrast


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def translucent(color: str, opacity: float) -> str:
    """A hex colour as rgba text."""
    red, green, blue = _channels(color)
    return f"rgba({red},{green},{blue},{opacity:g})"


def label_color(index: int) -> str:
    """Colour of class `index`; after ten classes the colours repeat and the symbol tells them apart."""
    return _LABEL_COLORS[index % len(_LABEL_COLORS)]


def map_colors(theme: Theme, diverging: bool = False) -> list[list[Any]] | str:
    """Colour scale of a map: cividis for values, orange through neutral to blue for signed differences."""
    if not diverging:
        return "Cividis"
    return [[position, color] for position, color in zip((0.0, 0.5, 1.0), PALETTES[theme].diverging, strict=True)]
