"""A form from a config class: fields, groups, bounds and help all come from the schema."""

import typing
from collections.abc import Callable
from typing import Any, Literal

import streamlit as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from werank_core.config import ExperimentConfig, explain, trait
from werank_core.experiments import Experiment, Preset
from werank_core.sweeps import SweepSpec

GROUPS = ("data", "encoder", "objective", "penalty", "training", "evaluation")
SWEEP_FIELDS = ("strengths", "second_axis", "second_values", "seeds", "name", "vary_data")
_SWEPT = ("strength", "model_seed", "data_seed")


def choose_preset(experiment: Experiment, prefix: str) -> str:
    """Named starting points; choosing one discards what was changed before."""
    key = f"{prefix}_preset"
    names = list(experiment.presets)
    chosen = st.segmented_control(
        "Start from",
        names,
        default=names[0],
        format_func=lambda name: experiment.presets[name].title,
        key=key,
        required=True,
        bind="query-params",
        label_visibility="collapsed",
        wrap=True,
    )
    if st.session_state.get(f"{prefix}_loaded") != chosen:
        st.session_state[f"{prefix}_loaded"] = chosen
        st.session_state[f"{prefix}_values"] = {}
        for key in _field_keys(prefix):
            del st.session_state[key]
    _keep_typed(experiment.config_class, prefix)
    return str(chosen)


def _field_keys(prefix: str) -> list[str]:
    return [str(key) for key in st.session_state if str(key).startswith(f"{prefix}_field_")]


def _keep_typed(config_class: type[ExperimentConfig], prefix: str) -> None:
    """Note what the widgets hold before anything is drawn from it, so that nothing on the page lags behind."""
    for key in _field_keys(prefix):
        name, value = key.removeprefix(f"{prefix}_field_"), st.session_state[key]
        field = config_class.model_fields.get(name)
        several = typing.get_origin(field.annotation) is tuple if field else name in ("strengths", "second_values")
        _kept(prefix)[name] = _parsed_numbers(value) if several else value


def choose_open(base: ExperimentConfig, prefix: str) -> bool:
    """Whether the form is shown; says how much of it differs from the preset."""
    changed = [n for n, v in _kept(prefix).items() if n in type(base).model_fields and v != getattr(base, n)]
    label = f"All settings ({len(changed)} changed)" if changed else "All settings"
    return st.toggle(label, key=f"{prefix}_form_open")


def show_form(experiment: Experiment, preset: Preset, prefix: str) -> None:
    """The config's fields in their groups, then the sweep's."""
    with st.container(border=True):
        _config_fields(preset.config, prefix)
        _sweep_fields(experiment, preset, prefix)


def chosen_sweep(experiment: Experiment, preset: Preset, prefix: str) -> tuple[SweepSpec | None, list[str]]:
    """The sweep as the form says, shown or not: the spec, or None with one sentence a problem."""
    kept, base = _kept(prefix), preset.config
    config = base.model_dump() | {name: kept[name] for name in type(base).model_fields if name in kept}
    sweep = experiment.sweep_fields(preset) | {name: kept[name] for name in SWEEP_FIELDS if name in kept}
    try:
        return SweepSpec.model_validate({"experiment": experiment.name, "config": config, **sweep}), []
    except ValidationError as error:
        return None, [sentence.removeprefix("config.") for sentence in explain(error)]


def keep_value(prefix: str, name: str, value: Any) -> None:
    """Set a field as if it had been typed."""
    _kept(prefix)[name] = value
    st.session_state.pop(f"{prefix}_field_{name}", None)


def _kept(prefix: str) -> dict[str, Any]:
    """What was typed, kept beside the widgets: Streamlit forgets a widget that one run does not draw."""
    values: dict[str, Any] = st.session_state.setdefault(f"{prefix}_values", {})
    return values


def _config_fields(base: ExperimentConfig, prefix: str) -> None:
    """Every field of the schema in its group; fields without effect under the others are not drawn."""
    values = base.model_dump() | {k: v for k, v in _kept(prefix).items() if k in type(base).model_fields}
    for group in GROUPS:
        names = [n for n, f in type(base).model_fields.items() if trait(f, "group") == group and n not in _SWEPT]
        drawn = [name for name in names if _applies(type(base), name, values)]
        if drawn:
            st.subheader(group.capitalize(), anchor=False)
            for start in range(0, len(drawn), 4):  # row by row: on a telephone columns follow one another
                columns = st.columns(4, vertical_alignment="bottom")
                for column, name in zip(columns, drawn[start : start + 4], strict=False):
                    with column:
                        values[name] = _field(type(base).model_fields[name], name, getattr(base, name), prefix)


def _applies(config_class: type[ExperimentConfig], name: str, values: dict[str, Any]) -> bool:
    condition = trait(config_class.model_fields[name], "when") or {}
    return all(
        _applies(config_class, other, values) and values[other] in allowed for other, allowed in condition.items()
    )


def _field(field: FieldInfo, name: str, default: Any, prefix: str) -> Any:
    """One widget, and the value it holds; a change from the preset is marked."""
    key = f"{prefix}_field_{name}"
    st.session_state.setdefault(key, _shown(_kept(prefix).get(name, default)))
    title = field_title(field, name)
    unit = trait(field, "unit")
    label = f"{title} ({unit})" if unit and unit != title.lower() else title
    changed = _kept(prefix).get(name, default) != default
    value = _widget(field)(f"{label} :blue[●]" if changed else label, key=key, help=field_help(field, default))
    return _parsed_numbers(value) if isinstance(default, tuple) else value


def _shown(value: Any) -> Any:
    """As a widget holds it: several numbers, or what was typed in their place, as one text."""
    if not isinstance(value, tuple):
        return value
    return ", ".join(item if isinstance(item, str) else f"{item:.12g}" for item in value)


def _widget(field: FieldInfo) -> Callable[..., Any]:
    kind = field.annotation
    if typing.get_origin(kind) is Literal:
        return lambda label, **rest: st.selectbox(label, typing.get_args(kind), **rest)
    if kind is bool:
        return st.toggle
    if kind is int:
        return lambda label, **rest: st.number_input(label, step=1, min_value=None, **rest)
    if kind is float:
        return lambda label, **rest: st.number_input(label, step=None, min_value=None, format="%g", **rest)
    return st.text_input


def field_title(field: FieldInfo, name: str) -> str:
    """What a person reads instead of the field's name."""
    return field.title or name.replace("_", " ").capitalize()


def field_help(field: FieldInfo, default: Any) -> str:
    """The description with default and bounds."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [f"{signs[n]} {getattr(m, n):g}" for m in field.metadata for n in signs if hasattr(m, n)]
    allowed = f" Allowed: {', '.join(bounds)}." if bounds else ""
    return f"{field.description} Preset: {_shown(default)}.{allowed}"


def _sweep_fields(experiment: Experiment, preset: Preset, prefix: str) -> None:
    """Strengths, second axis, seeds and name of the sweep."""
    default = experiment.sweep_fields(preset)
    st.subheader("Sweep", anchor=False)
    left, middle, right = st.columns([2, 1, 1])
    numbers = {"help": "Comma-separated; 0 is always added."}
    with left:
        text = _shown(default["strengths"])
        _sweep_widget(st.text_input, "strengths", prefix, text, f"Values of {experiment.strength_label}", **numbers)
        _sweep_widget(st.text_input, "name", prefix, "", "Name", help="Shown in lists; empty: made from what differs.")
    with middle:
        _sweep_widget(
            _axis_box(type(preset.config)),
            "second_axis",
            prefix,
            default["second_axis"],
            "Second axis",
            help="One curve for each value.",
        )
        _sweep_widget(st.number_input, "seeds", prefix, default["seeds"], "Seeds", step=1, min_value=None)
    with right:
        _sweep_widget(
            st.text_input,
            "second_values",
            prefix,
            default["second_values"],
            "Values of the second axis",
            help="Comma-separated.",
        )
        _sweep_widget(st.toggle, "vary_data", prefix, True, "New data per seed", help="Off: seeds share the data.")


def _sweep_widget(widget: Callable[..., Any], name: str, prefix: str, default: Any, label: str, **options: Any) -> None:
    key = f"{prefix}_field_{name}"
    st.session_state.setdefault(key, _shown(_kept(prefix).get(name, default)))
    widget(label, key=key, **options)


def _axis_box(config_class: type[ExperimentConfig]) -> Callable[..., Any]:
    options = [None, *config_class.numeric_fields()]
    return lambda label, **rest: st.selectbox(
        label, options, format_func=lambda n: (n or "none").replace("_", " "), placeholder="none", **rest
    )


def _parsed_numbers(text: Any) -> Any:
    """Numbers from a comma-separated text; what is no number stays as text, for the schema to name."""
    if not isinstance(text, str):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return tuple(float(part) for part in parts)
    except ValueError:
        return tuple(parts)
