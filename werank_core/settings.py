"""What the surroundings decide: where the store and the data live, which device and how many slots a machine has."""

import os
from functools import cache
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path, user_data_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

APP_NAME = "werank-lab"


class Settings(BaseSettings):
    """Read once from the environment (`WERANK_STORE`, `WERANK_DATA_FOLDER`, ...) or a local `.env` file."""

    model_config = SettingsConfigDict(env_prefix="WERANK_", env_file=".env", extra="ignore", frozen=True)

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
    lease_seconds: float = Field(30.0, gt=0, description="A job whose heartbeat is older than this is taken back.")
    checkpoint_seconds: float = Field(20.0, ge=0, le=30, description="Longest time between two checkpoints of a job.")

    @property
    def store_url(self) -> str:
        """The store's URL, with the default filled in."""
        return self.store or f"sqlite:///{self.home / 'store.sqlite'}"


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
