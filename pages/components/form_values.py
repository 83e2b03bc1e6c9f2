"""What a form holds: kept as it was typed, in the session beside the widgets and in the address, until it is valid.

Streamlit forgets a widget that one run does not draw, so values are kept apart from their widgets. The address names
the preset and only what differs from it; what a stranger puts there is checked like everything else.
"""

import math
import re
import typing
from collections.abc import Mapping
from typing import Any

import streamlit as st
from pydantic.fields import FieldInfo

from pages.components.plain import plain
from werank_core.config import ExperimentConfig, choices, title_of
from werank_core.experiments import Experiment, Preset
from werank_core.names import differing_fields, nearest_preset, one_line
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary.spelling import spelled

SWEEP_FIELDS = ("strengths", "second_axis", "second_values", "seeds", "first_seed", "vary_data", "name")
MOST_CHARACTERS = 2_000
"""More is not taken from an address, nor put there: browsers and proxies cut long ones."""

_MADE_BY_THE_SWEEP = ("strength", "model_seed")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,4})?", re.IGNORECASE | re.ASCII)
_SWITCH = {"on": True, "off": False}


def form_fields(config_class: type[ExperimentConfig]) -> dict[str, FieldInfo]:
    """Every field that a form of this experiment has: its config's and the sweep's."""
    skipped = {*_MADE_BY_THE_SWEEP, *config_class.identity_fields()}
    own = {name: field for name, field in config_class.model_fields.items() if name not in skipped}
    return {**own, **{name: SweepSpec.model_fields[name] for name in SWEEP_FIELDS}}


def preset_values(experiment: Experiment, preset: Preset) -> dict[str, Any]:
    """The value of every field of the form in a preset."""
    sweep = {name: SweepSpec.model_fields[name].default for name in SWEEP_FIELDS} | experiment.sweep_fields(preset)
    return {name: getattr(preset.config, name, None) for name in form_fields(experiment.config_class)} | sweep


def typed_values(prefix: str) -> dict[str, Any]:
    """What differs from the preset, as it was typed."""
    values: dict[str, Any] = st.session_state.setdefault(f"{prefix}_values", {})
    return values


def value_of(field: FieldInfo, typed: Any) -> Any:
    """The value that a typed text stands for; what is no value of the field stays as it was typed, to be explained."""
    if not isinstance(typed, str):
        return typed
    if typing.get_origin(field.annotation) is tuple:
        return tuple(_number(part.strip()) for part in typed.split(",") if part.strip())
    if field.annotation in (int, float):
        return _number(typed.strip(), whole=field.annotation is int)
    return typed


def _number(text: str, *, whole: bool = False) -> Any:
    """The number a text is, or the text: also where Python would read more than people write ("1_000", "nan")."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        return text
    if not whole:
        return value
    if text.lstrip("+-").isdigit():
        return int(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def shown(value: Any) -> Any:
    """A value as its widget holds it: numbers as text, written so that the same number comes back."""
    if isinstance(value, tuple):
        return ", ".join(spelled(item) if isinstance(item, str) else str(shown(item)) for item in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return repr(value).removesuffix(".0")


def keep_value(prefix: str, name: str, value: Any) -> None:
    """Set a field as if it had been typed."""
    typed_values(prefix)[name] = shown(value)
    st.session_state.pop(f"{prefix}_field_{name}", None)


def use_settings(experiment: Experiment, prefix: str, spec: SweepSpec) -> None:
    """Load a sweep's settings into the form, as changes from the preset they are nearest to."""
    name = nearest_preset(spec)
    preset = experiment.presets[name]
    start_from(prefix, name)
    st.session_state[f"{prefix}_preset"] = name
    config = {**differing_fields(spec.config, preset.config), **_needed(spec, preset)}
    wanted = {**config, **{field: getattr(spec, field) for field in SWEEP_FIELDS if field != "name"}}
    base = preset_values(experiment, preset)
    for field, value in wanted.items():
        value = tuple(value) if isinstance(value, list) else value
        if not _same(field, value, base[field]):
            typed_values(prefix)[field] = shown(value)


def _needed(spec: SweepSpec, preset: Preset) -> dict[str, Any]:
    """Settings without effect that the config is not valid without, and the data's seed where it stays the same."""
    needed: dict[str, Any] = {} if spec.vary_data else {"data_seed": spec.config.data_seed}
    try:
        preset.config.replaced(**differing_fields(spec.config, preset.config))
    except ValueError:
        skipped = {*_MADE_BY_THE_SWEEP, "data_seed", *spec.config.identity_fields()}
        needed |= {n: v for n, v in spec.config if n not in skipped}
    return needed


def start_from(prefix: str, preset: str) -> None:
    """Begin anew from a preset: what was typed is dropped."""
    st.session_state[f"{prefix}_loaded"] = preset
    st.session_state[f"{prefix}_values"] = {}
    st.session_state[f"{prefix}_notices"] = []
    for key in [str(key) for key in st.session_state if str(key).startswith(f"{prefix}_field_")]:
        del st.session_state[key]


def note_typed(experiment: Experiment, preset: Preset, prefix: str) -> None:
    """Note what the widgets hold before anything is drawn from it, so that nothing on the page lags behind."""
    base, fields = preset_values(experiment, preset), form_fields(experiment.config_class)
    for name, field in fields.items():
        if (key := f"{prefix}_field_{name}") in st.session_state:
            typed = st.session_state[key]
            if _same(name, value_of(field, typed), base[name]):
                typed_values(prefix).pop(name, None)
            else:
                typed_values(prefix)[name] = typed


def _same(name: str, value: Any, other: Any) -> bool:
    """Whether two values ask for the same; 0 is among the strengths whether it is typed or not."""
    if name == "strengths" and value:
        return {0.0, *value} == {0.0, *other}
    return bool(value == other)


def restore(experiment: Experiment, prefix: str) -> None:
    """On arrival at the page, take over the settings in its address; without any, go on with those of the session.

    Only then: while a page is open, its address lags behind what is typed.
    """
    key = f"{prefix}_preset"
    if key in st.session_state:
        return
    asked = str(st.query_params.get(key, ""))
    found = {n: st.query_params[n] for n in st.query_params if n.startswith(f"{prefix}_set_")}
    presets, first = experiment.presets, next(iter(experiment.presets))
    if not asked and not found:
        st.session_state[key] = st.session_state.get(f"{prefix}_loaded", first)
        return
    titles = {preset.title: name for name, preset in presets.items()}
    name = asked if asked in presets else titles.get(asked, first)
    start_from(prefix, name)
    st.session_state[key] = name
    notices = st.session_state[f"{prefix}_notices"]
    if asked and asked not in presets and asked not in titles:
        notices.append(f"There is no preset {plain(_cut(asked))} here: this starts from {presets[name].title}.")
    fields = form_fields(experiment.config_class)
    for parameter, text in found.items():
        field = parameter.removeprefix(f"{prefix}_set_")
        problem = _take_over(experiment, prefix, field, fields.get(field), str(text))
        if problem:
            notices.append(f"The address sets {problem}.")


def _take_over(experiment: Experiment, prefix: str, name: str, field: FieldInfo | None, text: str) -> str:
    """Keep one setting of the address; what cannot be shown in its widget is left out and told."""
    if field is None:
        return f"{plain(_cut(name))}, which is no setting here"
    title = title_of(field, name)
    if len(text) > MOST_CHARACTERS:
        return f"{title} to a text of {len(text):,} characters, which is left out"
    options: Mapping[str, Any] | None = None
    if found := choices(field):
        options = {option: option for option in found}
    elif field.annotation is bool:
        options = _SWITCH
    elif name == "second_axis":
        options = {"none": None, **{axis: axis for axis in experiment.config_class.second_axes()}}
    if options is None:
        typed_values(prefix)[name] = one_line(text)
    elif text in options:
        typed_values(prefix)[name] = options[text]
    else:
        return f"{title} to {plain(_cut(text))}, which is not one of {', '.join(options)}"
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}…"


def write_address(experiment: Experiment, preset: str, prefix: str) -> None:
    """Put the preset and what differs from it into the address, so that a reload or a link shows the same form."""
    first = next(iter(experiment.presets))
    wanted = {f"{prefix}_preset": preset} if preset != first or typed_values(prefix) else {}
    for name, typed in typed_values(prefix).items():
        text = "none" if typed is None else ("off", "on")[typed] if isinstance(typed, bool) else str(typed)
        if len(text) <= MOST_CHARACTERS:
            wanted[f"{prefix}_set_{name}"] = text
    old = [n for n in st.query_params if n == f"{prefix}_preset" or n.startswith(f"{prefix}_set_")]
    if {name: st.query_params[name] for name in old} != wanted:
        for name in set(old) - set(wanted):
            del st.query_params[name]
        st.query_params.update(wanted)
