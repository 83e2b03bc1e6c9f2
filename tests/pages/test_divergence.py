"""What a page advises after runs diverged: the largest learning rate that went well on the same data."""

from tests.pages.conftest import OpenPage, words
from tests.pages.stores import claimed_job, finished_cleanly, finished_sweep, small_spec, write_records
from werank_core.store import Store, queue
from werank_core.store.runs import submit
from werank_core.vocabulary import RunState

SMALLER = "Try a smaller learning rate, or leave the largest strengths out."


def advice(rate: str) -> str:
    return f"The largest learning rate without a diverged run here is {rate}: try that or less."


def test_without_a_sweep_that_went_well_there_is_general_advice(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_sweep(store, learning_rate=0.1)
    said = words(open_page("pages/toy.py", toy_sweep=sweep_id))
    assert "1 run diverged at α = 1: the loss stopped being a number." in said
    assert SMALLER in said


def test_the_largest_rate_that_went_well_is_named(open_page: OpenPage, store: Store) -> None:
    for rate in (0.001, 0.003):
        finished_cleanly(store, learning_rate=rate)
    finished_cleanly(store, learning_rate=0.5)  # larger than the one that diverged: no way out
    finished_cleanly(store, learning_rate=0.05, objective="byol")  # another loss says nothing of this one
    finished_cleanly(store, learning_rate=0.04, optimizer="sgd")
    sweep_id = finished_sweep(store, learning_rate=0.1)
    assert advice("0.003") in words(open_page("pages/toy.py", toy_sweep=sweep_id))


def test_a_sweep_over_learning_rates_advises_from_its_own(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store, learning_rate=0.001)
    spec = small_spec(second_axis="learning_rate", second_values=(0.004, 0.02, 0.3), seeds=1)
    sweep_id = submit(store, spec).sweep_id
    claimed = claimed_job(store)
    queue.started_on(store, claimed, "cpu")
    batch = claimed.batch
    places = zip(batch.runs, batch.column("learning_rate"), batch.column("strength"), strict=True)
    lost = [run.id for run, *place in places if place == [0.3, 1.0]]
    assert len(lost) == 1
    write_records(store, claimed, diverging=lost)
    queue.finish(store, claimed, RunState.FINISHED)
    assert advice("0.02") in words(open_page("pages/toy.py", toy_sweep=sweep_id))


def test_a_sweep_without_accidents_gets_no_advice(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_cleanly(store)
    said = words(open_page("pages/toy.py", toy_sweep=sweep_id))
    assert "diverged" not in said
    assert "learning rate without" not in said
