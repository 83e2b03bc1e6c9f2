"""A fresh store per test and backend: SQLite always, PostgreSQL where `WERANK_TEST_POSTGRES` is a URL."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from werank_core.config import ToySSLConfig
from werank_core.store import Store, open_store
from werank_core.sweeps import SweepSpec

POSTGRES = os.environ.get("WERANK_TEST_POSTGRES", "")


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRES else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    engine = sa.create_engine(POSTGRES)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return POSTGRES


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An open, empty store."""
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def make_spec() -> Callable[..., SweepSpec]:
    """Small sweeps: `make_spec(strengths=(0.1,), seeds=2, depth=3)`; what is no sweep field is a config field."""

    def make(**changes: object) -> SweepSpec:
        fields = {key: changes.pop(key) for key in list(changes) if key in SweepSpec.model_fields}
        config = ToySSLConfig(**{"steps": 10, "records": 5, **changes})
        return SweepSpec(**{"experiment": "toy_ssl", "config": config, "strengths": (0.1,), "seeds": 2, **fields})

    return make
