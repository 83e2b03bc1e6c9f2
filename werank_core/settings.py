"""What the surroundings decide: where the store and the data live, which device and how many slots a machine has.

Everything is resolved here, once: paths are absolute from here on, whoever reads them in whatever folder.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

APP_NAME = "werank-lab"


class SettingsError(Exception):
    """A setting of the environment is wrong; the message names it, its value and what is allowed."""


class Settings(BaseSettings):
    """Read once from the environment (`WERANK_STORE`, `WERANK_DATA_FOLDER`, ...) or a local `.env` file.

    An empty value stands for the default; paths, also the store's, may be relative to the working folder.
    """

    model_config = SettingsConfigDict(
        env_prefix="WERANK_", env_file=".env", extra="ignore", frozen=True, validate_default=True
    )

    store: str = Field("", description="SQLAlchemy URL of the store; empty: SQLite in the home folder below.")
    home: Path = Field(
        default_factory=lambda: user_data_path(APP_NAME),
        description="Folder of the store, checkpoints, locks and logs.",
    )
    data_folder: Path = Field(
        default_factory=lambda: user_cache_path(APP_NAME) / "data", description="Folder of downloaded data sets."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="Device of new jobs.")
    slots: int = Field(default_factory=lambda: min(4, os.cpu_count() or 1), ge=1, le=64, description="Jobs at once.")
    demo: bool = Field(False, description="Read-only: nothing can be launched, cancelled or deleted.")
    idle_minutes: float = Field(10.0, gt=0, description="Minutes without work after which the supervisor exits.")
    lease_seconds: float = Field(
        30.0, gt=0, allow_inf_nan=False, description="A job whose heartbeat is older than this is taken back."
    )
    checkpoint_seconds: float = Field(20.0, ge=0, le=30, description="Longest time between two checkpoints of a job.")

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: v for name, v in values.items() if not (isinstance(v, str) and not v.strip())}

    @field_validator("home", "data_folder")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        # Not resolved: a link may lead elsewhere tomorrow, and then means it.
        return Path(os.path.abspath(path.expanduser()))

    @field_validator("store")
    @classmethod
    def _absolute_store(cls, text: str) -> str:
        """An SQLite store's file made absolute; what is wrong with an address is said where the store is opened."""
        try:
            address = make_url(text)
        except (ArgumentError, ValueError):
            return text
        named = address.database or ""
        if address.get_backend_name() != "sqlite" or not named or named.startswith((":memory:", "file:")):
            return text
        return _text(address.set(database=str(cls._absolute(Path(named)))))

    @property
    def store_url(self) -> str:
        """The store's URL, with the default filled in."""
        return self.store or _text(URL.create("sqlite", database=str(self.home / "store.sqlite")))


def _text(address: URL) -> str:
    """The URL as text that reads back as the same URL, whatever characters the file's name has."""
    return address.render_as_string(hide_password=False)


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one sentence for each that is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from error


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][0]) if problem["loc"] else "settings"
    message = problem["msg"].replace("Input should", "should")
    return f"{name} = {problem['input']!r} (WERANK_{name.upper()}): {message}."
