"""Catalogues: what a config chooses from. Every entry brings settings of its own; in the config all names stay flat."""

from collections.abc import Callable, Collection, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

from werank_core.config.schema import ExperimentConfig
from werank_core.vocabulary.spelling import SPELLED


class Settings(BaseModel):
    """Fields made by `setting` that belong to one choice: shown, and part of a run's identity, where it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Entry:
    """One choice: the name in configs, links and on the command line, what people read, and its settings."""

    name: str
    title: str
    settings: type[Settings] = Settings


AnyEntry = TypeVar("AnyEntry", bound=Entry)
Config = TypeVar("Config", bound=ExperimentConfig)


class Catalogue(Mapping[str, AnyEntry], Generic[AnyEntry]):
    """Name -> entry, for one field of every config that has it; what is added later is in all of them at once.

    A setting of several entries is one field, and they must agree about what it is.
    """

    def __init__(self, field: str, *entries: AnyEntry) -> None:
        self.field, self._entries = field, {entry.name: entry for entry in entries}
        SPELLED.update({entry.name: entry.title for entry in entries})
        self._configs: list[tuple[type[ExperimentConfig], Mapping[str, Any]]] = []

    def __getitem__(self, name: str) -> AnyEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: AnyEntry) -> None:
        """Offer one more choice, in every config that chooses here.

        Raises:
            ValueError: the name is taken, or a setting is something else in another entry.
        """
        if entry.name in self._entries:
            raise ValueError(f"{self.field} {entry.name!r} exists already.")
        merged = {**self._entries, entry.name: entry}
        _fields(self.field, merged)
        SPELLED[entry.name] = entry.title
        self._offer(merged)

    def remove(self, name: str) -> None:
        """Offer that choice no longer."""
        self._offer({other: entry for other, entry in self._entries.items() if other != name})

    def _offer(self, entries: Mapping[str, AnyEntry]) -> None:
        stale = _fields(self.field, self._entries).keys() - _fields(self.field, entries).keys()
        self._entries = dict(entries)
        for config_class, defaults in self._configs:
            self._fill(config_class, defaults, stale)

    def where(self, holds: Callable[[AnyEntry], bool]) -> "Names[AnyEntry]":
        """The names of the entries for which something holds, those added later too: for a setting's `when`."""
        return Names(self, holds)

    def choices(self, **defaults: Any) -> Callable[[type[Config]], type[Config]]:
        """Class decorator: the config's field becomes a choice of the entries, and their settings fields beside it.

        Args: defaults, of settings that start elsewhere in this config.
        """

        def decorate(config_class: type[Config]) -> type[Config]:
            config_class.catalogues = {**config_class.catalogues, self.field: self}
            self._configs.append((config_class, defaults))
            self._fill(config_class, defaults)
            return config_class

        return decorate

    def _fill(
        self, config_class: type[ExperimentConfig], defaults: Mapping[str, Any], stale: Collection[str] = ()
    ) -> None:
        own = _fields(self.field, self._entries)
        fields: dict[str, FieldInfo] = {}
        for name, info in config_class.model_fields.items():
            if name in own or name in stale:
                continue
            fields[name] = info
            if name == self.field:
                fields[name] = info = copy(info)
                info.annotation = Literal[tuple(self._entries)]  # type: ignore[assignment]
                fields |= own
        for name, default in defaults.items():
            fields[name].default = default
        config_class.__pydantic_fields__ = fields
        config_class.model_rebuild(force=True)


@dataclass(frozen=True)
class Names(Collection[str], Generic[AnyEntry]):
    """Names of a catalogue's entries for which something holds."""

    catalogue: Catalogue[AnyEntry]
    holds: Callable[[AnyEntry], bool]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self.catalogue and self.holds(self.catalogue[name])

    def __iter__(self) -> Iterator[str]:
        return (name for name, entry in self.catalogue.items() if self.holds(entry))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _fields(field: str, entries: Mapping[str, Entry]) -> dict[str, FieldInfo]:
    """One config field for each setting of the entries, of effect where one of those that have it is chosen."""
    found: dict[str, FieldInfo] = {}
    owners: dict[str, tuple[str, ...]] = {}
    for entry in entries.values():
        for name, info in entry.settings.model_fields.items():
            if name in found and repr(found[name]) != repr(info):
                raise ValueError(f"{name} of {entry.name!r} is another setting than that of {owners[name][0]!r}.")
            found.setdefault(name, info)
            owners[name] = (*owners.get(name, ()), entry.name)
    return {name: _only_where(info, {field: owners[name]}) for name, info in found.items()}


def _only_where(info: FieldInfo, condition: Mapping[str, tuple[str, ...]]) -> FieldInfo:
    info = copy(info)
    extra: Any = {**info.json_schema_extra} if isinstance(info.json_schema_extra, dict) else {}
    info.json_schema_extra = extra | {"when": condition}
    return info
