"""The list of sweeps: none is cut off in silence, each can be found, named anew, and says only what is true."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from werank_core.store import Store, StoreError, queries, queue
from werank_core.store.names import rename_sweep
from werank_core.store.runs import submit
from werank_core.store.schema import job
from werank_core.sweeps import SweepSpec

MakeSpec = Callable[..., SweepSpec]


def test_every_sweep_is_listed_and_the_newest_where_only_some_are_wanted(store: Store, make_spec: MakeSpec) -> None:
    ids = [submit(store, make_spec(steps=10 + i, strengths=(0.0,), seeds=1)).sweep_id for i in range(205)]
    assert list(queries.sweeps(store)["sweep_id"]) == ids[::-1]
    assert list(queries.sweeps(store, limit=3)["sweep_id"]) == ids[:-4:-1]
    assert list(queries.sweeps(store, limit=3)["num_runs"]) == [1, 1, 1]
    assert queries.count_sweeps(store) == queries.count_sweeps(store, "toy_ssl") == 205
    assert queries.count_sweeps(store, "graph") == 0
    assert queries.experiment_of(store, ids[0]) == "toy_ssl"
    assert queries.experiment_of(store, "0" * 16) is None


def test_a_sweep_is_found_by_a_part_of_its_name(store: Store, make_spec: MakeSpec) -> None:
    names = ("100% noise", "1000 noise", "a_b", "aXb", "ÄRGER")
    ids = {name: submit(store, make_spec(name=name, steps=i)).sweep_id for i, name in enumerate(names, start=1)}
    for text, found in {"100% N": [0], "a_b": [2], " noise": [1, 0], "%": [0], "ärg": [4], "": [4, 3, 2, 1, 0]}.items():
        assert queries.find_sweeps(store, text) == [ids[names[place]] for place in found], text
    assert queries.find_sweeps(store, ids["aXb"], "toy_ssl") == [ids["aXb"]]
    assert queries.find_sweeps(store, "noise", "graph") == []
    assert set(queries.sweeps(store, sweep_ids=[ids["a_b"], "0" * 16])["name"]) == {"a_b"}


def test_a_run_whose_worker_is_gone_is_not_listed_as_running(store: Store, make_spec: MakeSpec) -> None:
    submit(store, make_spec())
    assert queue.claim(store, "test", lease_seconds=3600) is not None
    assert queries.sweeps(store)[["running", "queued"]].values.tolist() == [[4, 0]]
    with store.writing() as connection:
        connection.execute(sa.update(job).values(lease_until=1.0))
    assert queries.sweeps(store)[["running", "queued"]].values.tolist() == [[0, 4]]


def test_a_name_can_be_given_and_taken_back(store: Store, make_spec: MakeSpec) -> None:
    sweep_id = submit(store, make_spec(name="first", depth=2)).sweep_id
    before = queries.revision(store)
    assert rename_sweep(store, sweep_id, " the\nsecond\x00 ") == "the second"
    assert queries.sweeps(store)["name"].tolist() == ["the second"]
    assert queries.revision(store) > before
    assert rename_sweep(store, sweep_id, "\n") == "Digits · depth 2, steps 10, records 5"
    with pytest.raises(StoreError, match="at most 120 characters; this one has 121"):
        rename_sweep(store, sweep_id, "x" * 121)
    with pytest.raises(StoreError, match="no sweep"):
        rename_sweep(store, "0" * 16, "x")
    assert queries.sweeps(store)["name"].tolist() == ["Digits · depth 2, steps 10, records 5"]
