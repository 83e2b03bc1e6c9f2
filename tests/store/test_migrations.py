"""Stores of earlier versions: opened, brought up to date, and read under the names of today."""

import json
from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from werank_core.store import Store, opening, queries, queue
from werank_core.store.runs import shape_digest
from werank_core.vocabulary import RunState

FIRST = {"sweep": "s" * 16, "job": "j" * 16}
EXPERIMENTS: dict[str, tuple[dict[str, object], list[tuple[str, str, int]]]] = {
    "toy_ssl": (
        {"dataset": "digits"},
        [("loss", "", 0), ("effective_rank", "", 0), ("accuracy", "", 0), ("weight_stable_rank", "", 1)],
    ),
    "graph": ({"dataset": "cora"}, [("loss", "", 0), ("response_sensitivity", "", 0), ("untrained_accuracy", "", 0)]),
    "rank_collapse": (
        {"clusters": "kmeans"},
        [("loss", "", 0), ("relative_tcv", "", 0), ("accuracy", "", 0), ("accuracy", "train", 0), ("nc1", "", 0)],
    ),
}
RENAMED = {
    "toy_ssl": ["test/loss", "test/effective_rank", "test/accuracy", "weight_stable_rank"],
    "graph": ["all/loss", "all/feature_sensitivity", "test/untrained_accuracy"],
    "rank_collapse": ["train/loss", "train/kmeans_relative_tcv", "test/accuracy", "train/accuracy", "train/nc1"],
}


def store_of_version_1(url: str) -> None:
    """What the first version wrote: one finished run an experiment, its last record still in `history`."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(opening.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        tables = sa.MetaData()
        tables.reflect(connection)
        for name, (settings, columns) in EXPERIMENTS.items():
            run_id = name[:16]
            layout_id = sha256(json.dumps(columns).encode()).hexdigest()[:16]
            values = np.arange(len(columns), dtype=float)
            connection.execute(_layout().insert().values(id=layout_id, columns=columns))
            connection.execute(
                _run().insert().values(
                    id=run_id, experiment=name, dataset="", config=settings, differs="", strength=0.1, seed=0,
                    num_steps=10, code_version="0.1.0+0", state="finished", step=10, error="", traceback="",
                    created_at=1.0, layout_id=layout_id, final=values.astype("<f8").tobytes(),
                )
            )  # fmt: skip
            one_record = {"run_id": run_id, "layout_id": layout_id, "data": values.astype("<f4").tobytes()}
            connection.execute(tables.tables["history"].insert().values(**one_record, step=10))
            steps = np.array([0], dtype="<i8").tobytes()
            connection.execute(tables.tables["history_block"].insert().values(**one_record, steps=steps))
    engine.dispose()


def _layout() -> sa.TableClause:
    return sa.table("layout", sa.column("id"), sa.column("columns", sa.JSON))


def _run() -> sa.TableClause:
    plain = (
        "id", "experiment", "dataset", "differs", "strength", "seed", "num_steps", "code_version", "state", "step",
        "error", "traceback", "created_at", "layout_id", "final",
    )  # fmt: skip
    return sa.table("run", sa.column("config", sa.JSON), *(sa.column(name) for name in plain))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_numbers_of_the_first_version_stand_under_keys_that_name_their_rows(url: str, experiment: str) -> None:
    store_of_version_1(url)
    store = opening.open_store(url)
    reads: list[Callable[[Store, list[str]], pd.DataFrame]] = [
        lambda opened, ids: queries.final_metrics(opened, run_ids=ids),
        lambda opened, ids: queries.history(opened, ids),
    ]
    for read in reads:
        frame = read(store, [experiment[:16]])
        keys = (frame["split"] + "/" + frame["metric"]).str.removeprefix("/")
        found = dict(zip(keys, frame["value"], strict=True))
        assert found == dict(zip(RENAMED[experiment], range(len(RENAMED[experiment])), strict=True))
    store.close()


def test_a_job_of_the_first_version_is_priced_at_the_step_it_ended_at_and_one_that_waits_is_claimed(url: str) -> None:
    store_of_version_1(url)
    engine = sa.create_engine(url)
    old = sa.table(
        "job",
        *(sa.column(name, sa.JSON) for name in ("run_ids", "configs")),
        *(sa.column(name) for name in ("id", "experiment", "shape", "num_steps", "state", "attempt", "lost")),
        *(sa.column(name) for name in ("cancel_requested", "step", "seconds", "log", "created_at", "position")),
        sa.column("finished_at"),
    )
    common = {
        "experiment": "toy_ssl", "shape": shape_digest("of old"), "num_steps": 10, "lost": 0, "cancel_requested": False,
        "log": "", "created_at": 1.0, "run_ids": ["toy_ssl", "other"], "configs": [{}, {}],
    }  # fmt: skip
    ended = {"id": "e" * 16, "state": "finished", "attempt": 1, "step": 4, "seconds": 8.0, "position": 0}
    waits = {"id": "w" * 16, "state": "queued", "attempt": 0, "step": 0, "seconds": 0.0, "position": 1}
    with engine.begin() as connection:
        connection.execute(old.insert().values(**common, **ended, finished_at=2.0))
        connection.execute(old.insert().values(**common, **waits, finished_at=None))
    engine.dispose()
    store = opening.open_store(url)
    assert queries.step_seconds(store, "of old") == 1.0
    taken = queue.claim(store, "worker")
    assert taken is not None
    assert taken.key == ("w" * 16, 1)
    assert queue.lose(store, taken) is RunState.QUEUED
    store.close()
