"""A store and settings of their own for every test of the queue's workers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from werank_core.config import ToySSLConfig
from werank_core.settings import Settings
from werank_core.store import Store, open_store
from werank_core.sweeps import SweepSpec


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Everything in a temporary folder."""
    return Settings(_env_file=None, store="", home=tmp_path, data_folder=tmp_path / "data", device="cpu", slots=2)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """The settings' store, empty."""
    opened = open_store(settings.store_url)
    yield opened
    opened.close()


@pytest.fixture
def make_spec() -> Callable[..., SweepSpec]:
    """Small sweeps: what is no field of a sweep is one of its config."""
    return spec


def spec(**changes: object) -> SweepSpec:
    fields = {key: changes.pop(key) for key in list(changes) if key in SweepSpec.model_fields}
    small = {"dataset": "mixture", "num_samples": 200, "dimension": 8, "depth": 1, "width": 8, "batch_size": 32}
    config = ToySSLConfig(**{"steps": 10, "records": 2, **small, **changes})
    return SweepSpec(**{"experiment": "toy_ssl", "config": config, "strengths": (0.1,), "seeds": 1, **fields})
