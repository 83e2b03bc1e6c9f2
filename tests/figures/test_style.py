import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from werank_core.figures.style import (
    ACCENT,
    LEGEND_HEIGHT,
    PALETTES,
    Theme,
    decade_ticks,
    empty_figure,
    format_difference,
    format_interval,
    format_strength,
    format_value,
    in_legend,
    label_color,
    listed_legend,
    sequential_colors,
    strength_colors,
    template,
    wrapped,
)

THEMES: tuple[Theme, ...] = ("light", "dark")


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_every_colour_stands_out_from_its_background(theme: Theme) -> None:
    colors = PALETTES[theme]
    strengths = strength_colors([0.0, *(0.001 * 1.7**i for i in range(24))], theme).values()
    for color in [*colors.series, *strengths, *(label_color(i) for i in range(10))]:
        assert contrast(color, colors.background) >= 3, color
    assert contrast(colors.text, colors.background) >= 7
    assert contrast(colors.muted, colors.background) >= 4.5


def test_strength_colours_go_by_rank_and_keep_the_baseline_grey() -> None:
    colors = strength_colors([1.0, 0.0, 0.01, 0.1])
    assert list(colors) == [0.0, 0.01, 0.1, 1.0]
    assert colors[0.0] == PALETTES["light"].baseline
    assert list(colors.values())[1:] == sequential_colors(3)
    assert len(set(strength_colors(range(30)).values())) == 30
    assert strength_colors([]) == {}


def test_accent_is_the_first_series_colour_of_the_light_theme() -> None:
    assert PALETTES["light"].series[0] == ACCENT
    assert template("light").layout.colorway[0] == ACCENT


@pytest.mark.parametrize(
    ("value", "half_width", "text"),
    [
        (25.3123, None, "25.3"), (40.23, 1.13, "40.2 ± 1.1"), (0.9704, 0.0004, "0.9704 ± 0.0004"), (0.0123,
        5.1, "0.01 ± 5.10"),
        (0.95249, 0.0061, "0.952 ± 0.006"), (-14.93, None, "−14.9"), (0.0, None, "0"), (0.99961, None,
        "1.00"),
        (1234.5, None, "1,230"), (1.234e-5, 3e-7, "1.23·10⁻⁵ ± 0.03·10⁻⁵"), (math.nan, 1.0, "–"), (-math.inf,
        None, "−∞"),
        (3.0, math.nan, "3.00"),
    ],
)  # fmt: skip
def test_format_value(value: float, half_width: float | None, text: str) -> None:
    assert format_value(value, half_width) == text


def test_intervals_and_differences_share_their_decimals() -> None:
    assert format_interval(40.21, 38.9, 41.52) == "40.2 [38.9, 41.5]"
    assert format_interval(40.21, math.nan, math.nan) == "40.2"
    assert format_difference(14.9, 13.8, 16.0) == "+14.9 [13.8, 16.0]"
    assert format_difference(-0.017) == "−0.0170"


@given(st.floats(1e-3, 9e4), st.sampled_from([-1, 1]))
def test_a_formatted_value_is_within_half_a_unit_of_its_third_digit(value: float, sign: int) -> None:
    read = float(format_value(sign * value).replace(",", "").replace("−", "-"))
    assert abs(read - sign * value) <= 0.5 * 10.0 ** (math.floor(math.log10(value)) - 2) * 1.0001


def test_strengths_as_an_axis_writes_them() -> None:
    assert [format_strength(s) for s in (0, 0.003, 1, 1e-5, 3e-5, 1e6, 0.25)] == [
        "0", "0.003", "1", "10⁻⁵", "3·10⁻⁵", "10⁶", "0.25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((0.004, 30), ["0.001", "0.01", "0.1", "1", "10", "100"]),
        ((0.2, 5), ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"]),
        ((1.5, 12), ["1", "2", "5", "10", "20", "50", "100", "200", "500"]),
        ((2.3, 4.4), None),
        ((0.0, math.nan), None),
    ],
)
def test_a_log_axis_has_ticks_that_can_be_read(values: tuple[float, ...], texts: list[str] | None) -> None:
    """Plotly writes the digits between two powers small and without their power: "10 8 6 4 2"."""
    assert decade_ticks(values).get("ticktext") == texts


def test_a_log_axis_over_many_decades_has_few_ticks() -> None:
    assert 3 <= len(decade_ticks((1e-20, 1.0))["tickvals"]) <= 6


def test_long_names_stand_one_under_the_other_in_lines_that_fit_a_telephone() -> None:
    assert listed_legend(["linear", "ReLU"]) == ({}, LEGEND_HEIGHT)
    long = ["ReLU, Block model over Gram matrix · nodes 200, warmup epochs 4, …and 2 more", "linear"]
    placed, height = listed_legend(long)
    assert placed == {"orientation": "v"}
    assert height > 3 * 14, "two lines and one"
    assert all(len(line) <= 40 for name in long for line in in_legend(name).split("<br>"))
    assert in_legend("a" * 50 + "&lt;" * 3).count("<br>") == 0, "an entity is never cut in two"


@pytest.mark.parametrize("theme", THEMES)
def test_an_empty_figure_says_what_to_do(theme: Theme) -> None:
    figure = empty_figure("Effective rank", "Run a sweep first.", theme, height=400)
    assert figure.layout.title.text == "Effective rank"
    assert figure.layout.annotations[0].text == "Run a sweep first."
    assert figure.layout.height == 400
    assert figure.layout.paper_bgcolor is None
    assert figure.layout.template.layout.paper_bgcolor == PALETTES[theme].background


def test_wrapped_text_keeps_its_lines_short() -> None:
    assert all(len(line) <= 62 for line in wrapped("word " * 40).split("<br>"))
    assert wrapped("one\ntwo") == "one<br>two"
