"""What is wrong with settings, in one sentence each: by option name for the command line, by label for a page."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from werank_core.config.schema import choices
from werank_core.vocabulary.spelling import spelled

MOST_SHOWN = 60
_NAMED = re.compile(r"\{(\w+)(=?)\}")
_TOO_SMALL = ("greater_than", "greater_than_equal")
_TOO_LARGE = ("less_than", "less_than_equal", "int_parsing_size")
_NO_NUMBER = ("int_parsing", "int_type", "int_from_float", "float_parsing", "float_type")


class Misfit(ValueError):
    """Settings that do not fit together.

    Args:
        sentence: what is wrong; `{depth}` stands for the name of a setting, `{depth=}` for the name and its value.
        of: the object that holds the values.
    """

    def __init__(self, sentence: str, of: object) -> None:
        self.sentence = sentence
        self.fields = tuple(dict.fromkeys(name for name, _ in _NAMED.findall(sentence)))
        self._values = {name: getattr(of, name, None) for name in self.fields}
        super().__init__(self.told())

    def told(self, label: Callable[[str], str] | None = None) -> str:
        """The sentence with what `label` calls each setting; without it, by name."""

        def named(found: re.Match[str]) -> str:
            name, with_value = found.groups()
            title, value = label(name) if label else name, self._values[name]
            shown = spelled(value) if label and isinstance(value, str | tuple) else repr(value)
            return f"{title} = {_cut(shown)}" if with_value else title

        return _NAMED.sub(named, self.sentence)


class Misplaced(Misfit):
    """A config refuses a value that stands in a list: the list is what has to be corrected.

    Args:
        place: name of the list.
        error: what the config said.
        fields: the config's fields.
    """

    def __init__(self, place: str, error: ValidationError, fields: Mapping[str, FieldInfo]) -> None:
        self._inner = error.errors()[0]
        self._field = next((fields[str(part)] for part in self._inner["loc"] if part in fields), None)
        self._named = next(explain(error))
        super().__init__(f"{{{place}}}", None)

    def told(self, label: Callable[[str], str] | None = None) -> str:
        """What is wrong; by label, the field's own name is left out, for the list is of nothing else."""
        (place,) = self.fields
        if label is None:
            return f"{place}: {self._named}"
        cause = self._inner.get("ctx", {}).get("error")
        if isinstance(cause, Misfit):
            return f"{label(place)}: {cause.told(label)}"
        return f"{label(place)}{_wrong(self._inner, self._field)}" if self._field else f"{label(place)}: {self._named}"


@dataclass(frozen=True)
class Problem:
    """One thing to correct, and the fields it is about: the first is where it belongs."""

    fields: tuple[str, ...]
    sentence: str


def explain(error: ValidationError) -> Iterator[str]:
    """One sentence a problem: the field, the value given and what is allowed."""
    found = error.errors()
    items = {problem["loc"][:-1] for problem in found}
    for problem in found:
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ").replace("Input should", "should")
        if problem["type"] == "too_short" and problem["loc"] in items:
            continue  # a list that is short of the values that are wrong
        if problem["type"] == "too_short":
            yield f"{where} is empty: give one or more values."
        elif not where or (where == "config" and problem["type"] == "value_error"):
            yield message  # it names its fields itself
        elif problem["type"] == "extra_forbidden":
            yield f"{where} is not a field of this config."
        else:
            yield f"{where} = {clipped(problem['input'])}: {message}."


def problems(error: ValidationError, fields: Mapping[str, FieldInfo], labels: Mapping[str, str]) -> list[Problem]:
    """The same for a form: one problem a field, with the fields it belongs to, in the words of their labels."""

    def label(name: str) -> str:
        return labels.get(name, name)

    found: dict[tuple[str, ...], Problem] = {}
    for detail in error.errors():
        cause = detail.get("ctx", {}).get("error")
        name = next((str(part) for part in reversed(detail["loc"]) if part in fields), "")
        if isinstance(cause, Misfit):
            problem = Problem(cause.fields, cause.told(label))
        elif not name:
            problem = Problem((), f"{detail['msg'].removeprefix('Value error, ').rstrip('.')}.")
        else:
            problem = Problem((name,), f"{label(name)}{_wrong(detail, fields[name])}")
        found.setdefault(problem.fields, problem)
    return list(found.values())


def _wrong(detail: Any, field: FieldInfo) -> str:
    """What is wrong with one value, and what is allowed instead."""
    value, kind = detail["input"], detail["type"]
    shown = f"{value:g}" if isinstance(value, float) else clipped(value)
    several = get_origin(field.annotation) is tuple
    noun = "a whole number" if field.annotation is int else "a number"
    limits = "" if several else span(field)
    rule = " Separate numbers by commas." if several else f" Allowed: {limits}." if limits else ""
    if value is None or value in ("", (), []):
        wanted = "one or more numbers, separated by commas" if several else f"{noun} {limits}".strip()
        return f" is empty. Give {wanted}."
    if kind in _NO_NUMBER:
        return f": {shown} is not {noun}.{rule}"
    if kind == "literal_error":
        return f": {_cut(spelled(value))} is not one of {', '.join(map(spelled, choices(field)))}."
    if kind == "finite_number":
        return f": {shown} is not a finite number.{rule}"
    if kind in _TOO_SMALL or kind in _TOO_LARGE:
        return f": {shown} is too {'small' if kind in _TOO_SMALL else 'large'}.{rule}"
    message = str(detail["msg"]).removeprefix("Value error, ").rstrip(".")
    message = message.replace("Input should", "should").replace("String should", "should")
    return f": {message}." if kind == "value_error" else f": {shown} {message}."


def span(field: FieldInfo) -> str:
    """What a number may be: "1 to 32", "above 0, at most 10", or nothing where it has no bounds."""
    low, above, high, below = (bound(field, sign) for sign in ("ge", "gt", "le", "lt"))
    if low is not None and high is not None:
        return f"{_written(low)} to {_written(high)}"
    words = {"at least": low, "above": above, "at most": high, "below": below}
    return ", ".join(f"{word} {_written(value)}" for word, value in words.items() if value is not None)


def bound(field: FieldInfo, sign: str) -> float | None:
    """The bound of that kind (ge, gt, le or lt), if the field has one."""
    return next((float(getattr(limit, sign)) for limit in field.metadata if hasattr(limit, sign)), None)


def _written(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def clipped(value: object) -> str:
    """A value as Python writes it, cut where it is endless."""
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
