"""How a field is declared: bounds, unit, group and one line of help, read by form, CLI, validation and record alike."""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

Group = Literal["data", "encoder", "objective", "penalty", "training", "evaluation", "seeds", "identity"]
Condition = dict[str, Collection[Any]]


def setting(
    default: Any,
    help: str,
    *,
    group: Group,
    title: str = "",
    unit: str = "",
    log: bool = False,
    when: Condition | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """A config field.

    `group` is the heading it stands under ("identity": nobody types it, see `digest_setting`), `log` asks for a
    logarithmic axis, and `when` names the values of other fields under which it has any effect (outside them forms hide
    it and the run's identity ignores it).
    """
    extra: Any = {"group": group, "unit": unit, "log": log, "when": when or {}}
    return Field(default, title=title or None, description=help, ge=ge, gt=gt, le=le, lt=lt, json_schema_extra=extra)


def trait(field: FieldInfo, name: str) -> Any:
    """One of the traits `setting` stored beside a field: group, unit, log or when."""
    extra = field.json_schema_extra
    return extra.get(name) if isinstance(extra, dict) else None


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The values of a field that is a choice; none for the others."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def title_of(field: FieldInfo, name: str) -> str:
    """What a person reads instead of the field's name."""
    return field.title or name.replace("_", " ").capitalize()


def digest_setting(*datasets: str) -> Any:
    """The field that ties a run to the content of its data, for the data sets that no seed makes.

    It is filled in when a sweep is submitted, by what is in the data folder then, and the worker trains on nothing
    else. What comes with a package (digits, karate club) is checked against a digest in the code.
    """
    return setting(
        "", "Digest of the data's content, filled in when the sweep is submitted.", group="identity", title="Data",
        when={"dataset": datasets},
    )  # fmt: skip


class ExperimentConfig(BaseModel):
    """Base of every experiment's config: one run, complete and immutable.

    `retired` names the fields of earlier versions that decided no number: records that hold them stay readable.
    `catalogues` are those that fields choose from, by field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    retired: ClassVar[frozenset[str]] = frozenset()
    catalogues: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    strength: float = setting(
        0.0, "Strength of the regularizer; 0 is the baseline.", group="penalty", ge=0, le=1e4, log=True
    )
    model_seed: int = setting(0, "Seed of initialisation, batch order and views.", group="seeds", ge=0, le=2**31 - 1)
    data_seed: int = setting(
        0, "Seed of the data: generation, split and evaluation rows.", group="seeds", ge=0, le=2**31 - 1
    )

    @model_validator(mode="before")
    @classmethod
    def _without_retired(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if name not in cls.retired}

    @field_validator("*")
    @classmethod
    def _without_negative_zero(cls, value: Any) -> Any:
        # -0.0 is 0.0 to every formula, and another text to the digest
        return value + 0.0 if isinstance(value, float) else value

    def applies(self, name: str) -> bool:
        """Whether the field has any effect under the values of the others."""
        condition: Condition = trait(type(self).model_fields[name], "when") or {}
        return all(self.applies(other) and getattr(self, other) in allowed for other, allowed in condition.items())

    @property
    def applies_digest(self) -> bool:
        """Whether the run's data are identified by their content: no seed and no package makes them."""
        return "data_digest" in type(self).model_fields and self.applies("data_digest")

    @property
    def is_identified(self) -> bool:
        """Whether it says which content its data have, where that matters."""
        return not self.applies_digest or bool(getattr(self, "data_digest", ""))

    def effective(self) -> dict[str, Any]:
        """The fields that have an effect, as JSON values: what identifies a run."""
        return {name: value for name, value in self.model_dump(mode="json").items() if self.applies(name)}

    def digest(self, *extra: str) -> str:
        """16 hex digits of SHA-256 over the effective fields and `extra`: equal exactly when the runs are."""
        text = json.dumps([self.effective(), *extra], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def replaced(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self).model_validate({**self.model_dump(), **changes})

    def settings_of(self, field: str) -> dict[str, Any]:
        """The values of the settings that belong to what this field chooses."""
        return {
            name: getattr(self, name) for name in self.catalogues[field][getattr(self, field)].settings.model_fields
        }

    def records_metric(self, name: str) -> bool:
        """Whether runs of this config record a metric that other configs of the experiment do."""
        return True

    @property
    def penalty_sentence(self) -> str:
        """What the strength multiplies, in words."""
        return ""

    @property
    def steps_field(self) -> str:
        """Name of the field that counts training steps."""
        return "steps"

    @property
    def num_steps(self) -> int:
        """Training steps of this run."""
        return int(getattr(self, self.steps_field))

    @classmethod
    def identity_fields(cls) -> frozenset[str]:
        """Names of the fields that nobody types: filled in from the data when a sweep is submitted."""
        return frozenset(name for name, field in cls.model_fields.items() if trait(field, "group") == "identity")

    @classmethod
    def second_axes(cls) -> tuple[str, ...]:
        """Names of the numbers and choices, without seeds, strength and what says which data: possible second axes."""
        skipped = {"strength", "model_seed", "data_seed", "dataset"} | cls.identity_fields()
        return tuple(
            name
            for name, field in cls.model_fields.items()
            if name not in skipped and (field.annotation in (int, float) or choices(field))
        )

    def without_identity(self) -> Self:
        """As it was typed: without what was filled in from the data."""
        return self.model_copy(update={n: type(self).model_fields[n].default for n in self.identity_fields()})
