"""What a sweep will cost: only runs that do not exist yet, priced from the nearest shape that was trained."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from werank_core.config import GraphConfig, ToySSLConfig
from werank_core.costs import step_growth
from werank_core.store import Store, queries, queue
from werank_core.store.runs import request_cancel, submit
from werank_core.store.schema import job
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState

MakeSpec = Callable[..., SweepSpec]


def train(store: Store, spec: SweepSpec, seconds: float = 8.0) -> str:
    """Every job of the sweep, each in so many seconds."""
    sweep_id = submit(store, spec).sweep_id
    while claimed := queue.claim(store, "test"):
        queue.finish(store, claimed, RunState.FINISHED, seconds=seconds)
    return sweep_id


def test_runs_that_exist_cost_nothing(store: Store, make_spec: MakeSpec) -> None:
    train(store, make_spec(seeds=2))  # 4 runs of 10 steps in 8 s
    assert queries.price(store, make_spec(seeds=2)) == queries.Price(4, 0, 0.0)
    larger = queries.price(store, make_spec(seeds=5))
    assert (larger.num_runs, larger.new_runs) == (10, 6)
    assert larger.seconds == pytest.approx(6 * 10 * 8.0 / 40)
    assert queries.predicted_seconds(store, make_spec(seeds=5), slots=2) == pytest.approx(6.0)


def test_runs_that_wait_are_not_paid_twice_and_cancelled_ones_are(store: Store, make_spec: MakeSpec) -> None:
    sweep_id = submit(store, make_spec()).sweep_id
    assert queries.price(store, make_spec()).new_runs == 0
    request_cancel(store, sweep_id=sweep_id)
    assert queries.price(store, make_spec()).new_runs == 4


def test_a_shape_never_trained_is_priced_from_the_nearest_one(store: Store, make_spec: MakeSpec) -> None:
    assert queries.price(store, make_spec(width=64)).seconds is None
    train(store, make_spec(width=64, objective="byol"), seconds=400.0)
    train(store, make_spec(width=64), seconds=8.0)
    asked = make_spec(width=128)
    growth = step_growth(ToySSLConfig(width=64), ToySSLConfig(width=128))
    assert growth is not None
    assert 1.5 < growth < 3.5
    assert queries.price(store, asked).seconds == pytest.approx(40 * growth * 8.0 / 40)


def test_what_a_version_before_trained_prices_too(store: Store, make_spec: MakeSpec) -> None:
    train(store, make_spec())
    with store.writing() as connection:
        connection.execute(sa.update(job).values(shape="named otherwise"))
    assert queries.price(store, make_spec(seeds=5)).seconds == pytest.approx(6 * 10 * 8.0 / 40)


def test_another_experiment_prices_nothing(store: Store, make_spec: MakeSpec) -> None:
    train(store, make_spec())
    graph = SweepSpec(experiment="graph", config=GraphConfig(), strengths=(0.1,), seeds=1)
    assert queries.price(store, graph) == queries.Price(2, 2, None)


def test_what_is_one_run_at_two_second_values_is_trained_once(store: Store, make_spec: MakeSpec) -> None:
    spec = make_spec(objective="vicreg", second_axis="temperature", second_values=(0.1, 0.2))
    assert queries.price(store, spec).num_runs == 4


def test_growth_follows_published_sizes_and_is_unknown_for_own_graphs() -> None:
    karate, pubmed = GraphConfig(dataset="karate_club"), GraphConfig(dataset="pubmed")
    growth = step_growth(karate, pubmed)
    assert growth is not None
    assert growth > 100
    assert step_growth(karate, karate.replaced(hidden_width=128)) == pytest.approx(2**1.16)
    own = GraphConfig(dataset="own", own_graph="friends")
    assert step_growth(karate, own) is None
    assert step_growth(own, own.replaced(hidden_width=128)) == pytest.approx(2**1.16)
