"""A form from a config class: fields, groups, bounds and help all come from the schema, errors stand at their field."""

import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import streamlit as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pages.components.form_values import (
    SWEEP_FIELDS,
    form_fields,
    note_typed,
    preset_values,
    restore,
    shown,
    start_from,
    typed_values,
    value_of,
    write_address,
)
from pages.components.form_values import keep_value as keep_value
from pages.components.plain import plain
from werank_core.config import ExperimentConfig, Problem, choices, problems, title_of, trait
from werank_core.config.problems import span
from werank_core.experiments import Experiment, Preset
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary.spelling import spelled

GROUPS = ("data", "encoder", "objective", "penalty", "training", "evaluation")
COLUMNS = 5
_SWEPT = ("strength", "model_seed", "data_seed")
_SWEEP_TITLES = {
    "second_axis": "Second axis",
    "second_values": "Values of the second axis",
    "seeds": "Seeds",
    "first_seed": "First seed",
    "vary_data": "New data per seed",
    "name": "Name",
}
_SWEEP_HELP = {
    "second_axis": "A setting that takes several values: one curve for each.",
    "second_values": "Separate values by commas; those of a choice as the choice spells them.",
    "seeds": "Runs of every strength that differ in their random numbers only.",
    "first_seed": "Seeds are counted from here.",
    "vary_data": "Each seed also draws or splits its data anew. Off: seeds share the data.",
    "name": "Shown in lists; empty: made from what differs from the preset.",
}


def choose_preset(experiment: Experiment, prefix: str) -> Preset:
    """Named starting points; choosing one discards what was changed before."""
    restore(experiment, prefix)
    chosen = st.segmented_control(
        "Start from",
        list(experiment.presets),
        format_func=lambda name: experiment.presets[name].title,
        key=f"{prefix}_preset",
        required=True,
        label_visibility="collapsed",
        wrap=True,
    )
    name = chosen or next(iter(experiment.presets))
    if st.session_state.get(f"{prefix}_loaded", name) != name:
        start_from(prefix, name)
    st.session_state[f"{prefix}_loaded"] = name
    preset = experiment.presets[name]
    note_typed(experiment, preset, prefix)
    write_address(experiment, name, prefix)
    return preset


def choose_open(experiment: Experiment, preset: Preset, prefix: str) -> bool:
    """Whether the form is shown; says how much of what has an effect differs from the preset."""
    values, config_class = _values(experiment, preset, prefix), experiment.config_class
    own = [name for name in typed_values(prefix) if name in config_class.model_fields]
    changed = sum(_applies(config_class, name, values) for name in own)
    changed += len(typed_values(prefix).keys() - own - {"name"})
    label = f"All settings ({changed} changed)" if changed else "All settings"
    return st.toggle(label, key=f"{prefix}_form_open")


def chosen_sweep(experiment: Experiment, preset: Preset, prefix: str) -> tuple[SweepSpec | None, list[Problem]]:
    """The sweep as the form says, shown or not: the spec, or None with what has to be corrected.

    What was typed into a field that has no effect under the others is kept for later and not looked at.
    """
    values, config_class = _values(experiment, preset, prefix), experiment.config_class
    own = {
        name: values[name] if _applies(config_class, name, values) else getattr(preset.config, name)
        for name in values
        if name in config_class.model_fields
    }
    asked = {"experiment": experiment.name, "config": own, **{name: values[name] for name in SWEEP_FIELDS}}
    try:
        return SweepSpec.model_validate(asked), []
    except ValidationError as error:
        return None, problems(error, form_fields(config_class), _titles(experiment))


def _values(experiment: Experiment, preset: Preset, prefix: str) -> dict[str, Any]:
    """What every field of the form stands for."""
    fields = form_fields(experiment.config_class)
    typed = {name: value_of(fields[name], text) for name, text in typed_values(prefix).items() if name in fields}
    return preset_values(experiment, preset) | typed


def _titles(experiment: Experiment) -> dict[str, str]:
    """What the form calls every field."""
    own = experiment.config_class.model_fields
    strengths = {"strengths": f"Strengths {experiment.strength_label.split()[-1]}"}
    return {name: title_of(field, name) for name, field in own.items()} | _SWEEP_TITLES | strengths


def show_form(experiment: Experiment, preset: Preset, prefix: str, found: Sequence[Problem]) -> list[str]:
    """The sweep's fields and the config's, a tab for each group; a problem stands beneath the field it is about.

    A problem whose field is not there, because it has no effect or no widget, stands above them all. Returns the
    titles of the groups with problems: the tabs cannot tell, for one whose name changes would close.
    """
    groups = {"sweep": list(SWEEP_FIELDS), **_groups(experiment, preset, prefix)}
    drawn = {name for names in groups.values() for name in names}
    at = defaultdict(list)
    for problem in found:
        at[next((name for name in problem.fields if name in drawn), "")].append(problem.sentence)
    form = _Form(experiment, preset, prefix, at)
    with st.container(border=True, key=f"{prefix}_fields"):
        show_problems(at[""])
        for tab, names in zip(st.tabs([group.capitalize() for group in groups]), groups.values(), strict=True):
            with tab:
                form.show_rows(names)
    return [group.capitalize() for group, names in groups.items() if any(at[name] for name in names)]


def show_problems(sentences: Iterable[str]) -> None:
    """What has to be corrected, one sentence each."""
    for sentence in sentences:
        st.error(plain(sentence))


def _groups(experiment: Experiment, preset: Preset, prefix: str) -> dict[str, list[str]]:
    """The config's fields by group; those without effect under the others are not drawn."""
    values, fields = _values(experiment, preset, prefix), experiment.config_class.model_fields
    found = {
        group: [
            name
            for name, field in fields.items()
            if trait(field, "group") == group and name not in _SWEPT and _applies(experiment.config_class, name, values)
        ]
        for group in GROUPS
    }
    return {group: names for group, names in found.items() if names}


def _applies(config_class: type[ExperimentConfig], name: str, values: Mapping[str, Any]) -> bool:
    condition = trait(config_class.model_fields[name], "when") or {}
    return all(
        _applies(config_class, other, values) and values[other] in allowed for other, allowed in condition.items()
    )


class _Form:
    """How the fields of one form are drawn."""

    def __init__(
        self, experiment: Experiment, preset: Preset, prefix: str, sentences: Mapping[str, Sequence[str]]
    ) -> None:
        self._prefix = prefix
        self._sentences = sentences
        self._fields = form_fields(experiment.config_class)
        self._base = preset_values(experiment, preset)
        self._titles = _titles(experiment)
        self._axes = experiment.config_class.second_axes()
        axis = _values(experiment, preset, prefix)["second_axis"]
        self._choices = choices(self._fields[axis]) if axis in self._axes else ()
        self._strengths = f"Values of {experiment.strength_label}. Separate numbers by commas; 0 is always added."

    def show_rows(self, names: Iterable[str]) -> None:
        """The fields side by side, as many as fit; row by row, for on a telephone columns follow one another."""
        rows: list[dict[str, int]] = [{}]
        for name in names:
            width = 2 if self._is_text(name) else 1
            if sum(rows[-1].values()) + width > COLUMNS:
                rows.append({})
            rows[-1][name] = width
        for row in rows:
            rest = COLUMNS - sum(row.values())
            for column, name in zip(st.columns([*row.values(), *[rest] * bool(rest)]), row, strict=False):
                with column:
                    self.show_field(name)

    def _is_text(self, name: str) -> bool:
        """Whether more than one number is typed into it."""
        kind = self._fields[name].annotation
        return kind is str or typing.get_origin(kind) is tuple

    def show_field(self, name: str) -> None:
        """One widget, marked where it differs from the preset, and what is wrong with it."""
        field, key = self._fields[name], f"{self._prefix}_field_{name}"
        typed = typed_values(self._prefix)
        st.session_state.setdefault(key, typed.get(name, shown(self._base[name])))
        label = self._titles[name] + self._unit(name)
        self._widget(name, field)(f"{label} :blue[●]" if name in typed else label, key=key, help=self._help(name))
        show_problems(self._sentences.get(name, ()))

    def _unit(self, name: str) -> str:
        unit = trait(self._fields[name], "unit")
        return f" ({unit})" if unit and not self._titles[name].lower().endswith(unit) else ""

    def _help(self, name: str) -> str:
        """The description with preset and bounds."""
        field = self._fields[name]
        if name == "strengths":
            return self._strengths
        if name == "second_values" and self._choices:
            return f"{_SWEEP_HELP[name]} Here: {', '.join(map(spelled, self._choices))}."
        if name in _SWEEP_HELP:
            return _SWEEP_HELP[name]
        limits = span(field)
        allowed = f" Allowed: {limits}." if limits else ""
        base = self._base[name]
        preset = spelled(base) if isinstance(base, bool | str) else shown(base)
        return f"{field.description} Preset: {preset or 'none'}.{allowed}"

    def _widget(self, name: str, field: FieldInfo) -> Callable[..., Any]:
        """Numbers are typed as text: only so everything that a person types arrives, and can be explained."""
        if name == "second_axis":
            return self._axis_box
        if options := choices(field):
            return lambda label, **rest: st.selectbox(label, options, format_func=spelled, **rest)
        if field.annotation is bool:
            return st.toggle
        return st.text_input

    def _axis_box(self, label: str, **rest: Any) -> Any:
        def told(name: str | None) -> str:
            return "none" if name is None else self._titles[name]

        return st.selectbox(label, [None, *self._axes], format_func=told, placeholder="none", **rest)
