"""Numbers as charts and tables write them: 3 significant digits, one rounding for value and interval."""

import html
import math
from collections.abc import Sequence

from werank_core.vocabulary.spelling import spelled

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"
_SIGNIFICANT = 3
_LABEL_START, _LABEL_END = 36, 20
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_value(value: float, half_width: float | None = None) -> str:
    """`value` with 3 significant digits, as "25.3", or with its interval as "25.3 ± 1.2".

    Value and half width share their decimals: those that give the larger of the two 3 significant digits, and
    more where the half width would otherwise be written as 0. Outside [0.0001, 100 000) both share a power of
    ten. NaN is a dash.
    """
    if not math.isfinite(value):
        return _not_finite(value)
    if value == 0 and not half_width:
        return "0"
    if half_width is None or not math.isfinite(half_width):
        return _rounded((value,), None)[0]
    number, half = _rounded((value, half_width), half_width)
    return f"{number} ± {half}"


def format_interval(value: float, low: float, high: float) -> str:
    """`value` with its interval, as "40.2 [38.9, 41.5]"; the value alone where there is none."""
    if not all(map(math.isfinite, (value, low, high))):
        return format_value(value)
    number, lower, upper = _rounded((value, low, high), (high - low) / 2)
    return f"{number} [{lower}, {upper}]"


def format_difference(difference: float, low: float = math.nan, high: float = math.nan) -> str:
    """A difference with its sign always written, as "+14.9 [13.8, 16.0]"."""
    return ("+" if difference > 0 else "") + format_interval(difference, low, high)


def format_together(values: Sequence[float]) -> list[str]:
    """Signed numbers with the decimals that give the largest of them 3 significant digits, as the cells of a map."""
    finite = tuple(value for value in values if math.isfinite(value))
    texts = iter(_rounded(finite, None)) if finite else iter(())
    signed = (("+" if value > 0 else "") + next(texts) if math.isfinite(value) else MISSING for value in values)
    return list(signed)


def format_strength(strength: float) -> str:
    """A strength as an axis writes it: "0", "0.003", "1", and powers as "10⁻⁵" or "3·10⁻⁵"."""
    if strength == 0 or not math.isfinite(strength):
        return "0" if strength == 0 else _not_finite(strength)
    exponent = _exponent(strength)
    if -3 <= exponent < 4:
        return f"{strength:.4g}".replace("-", MINUS)
    mantissa = f"{strength / 10.0**exponent:.4g}".replace("-", MINUS)
    return _power(exponent) if mantissa == "1" else f"{mantissa}·{_power(exponent)}"


def format_second(value: object) -> str:
    """A value of the second axis: a number as an axis writes it, a choice as it is spelled, else nothing."""
    if isinstance(value, str):
        return spelled(value)
    return "" if no_second(value) else format_strength(float(value))  # type: ignore[arg-type]


def no_second(value: object) -> bool:
    """Whether there is no second axis: its value is missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _rounded(values: tuple[float, ...], half_width: float | None) -> tuple[str, ...]:
    """The numbers with shared decimals, and a shared power of ten where they are very large or small."""
    largest = max(map(abs, values))
    exponent = _exponent(largest) if largest else 0
    scale = exponent if largest and not -4 <= exponent < 5 else 0
    decimals = _SIGNIFICANT - 1 - (exponent - scale)
    if half_width:
        decimals = max(decimals, -(_exponent(half_width) - scale))
    texts = tuple(_fixed(value / 10.0**scale, decimals) for value in values)
    return tuple(f"{text}·{_power(scale)}" for text in texts) if scale else texts


def _fixed(value: float, decimals: int) -> str:
    text = f"{round(value, decimals):,.{max(decimals, 0)}f}"
    return text.replace("-", "" if float(text.replace(",", "")) == 0 else MINUS)


def _exponent(value: float) -> int:
    """Power of ten of the first digit after rounding to 3 significant digits (0.9996 gives 0)."""
    return int(f"{abs(value):.{_SIGNIFICANT - 1}e}".split("e")[1])


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return MISSING
    return "∞" if value > 0 else MINUS + "∞"


def format_label(text: str) -> str:
    """A name as a figure shows it letter by letter: Plotly would read tags, entities and templates in it.

    A long one is cut in the middle: what tells two of them apart may stand at either end.
    """
    if len(text) > _LABEL_START + _LABEL_END:
        text = f"{text[:_LABEL_START].rstrip()}…{text[-_LABEL_END:].lstrip()}"
    return html.escape(text, quote=False).replace("%{", "%\N{WORD JOINER}{")
