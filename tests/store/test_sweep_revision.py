"""A sweep's own revision moves with its runs and with nobody else's."""

from collections.abc import Callable

import numpy as np

from werank_core.store import Store, queries, queue
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import delete_runs, request_cancel, retry, submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import RunState


def test_every_change_of_its_runs_and_no_other_moves_it(store: Store, make_spec: Callable[..., SweepSpec]) -> None:
    mine = submit(store, make_spec()).sweep_id
    seen = [queries.sweep_revision(store, mine)]

    def moved() -> bool:
        seen.append(queries.sweep_revision(store, mine))
        return seen[-1] != seen[-2]

    claimed = queue.claim(store, "w")
    assert claimed is not None
    assert moved()
    StoreSink(store, claimed).write(5, {"loss": np.ones(len(claimed.run_ids))}, {})
    assert moved()
    queue.finish(store, claimed, RunState.FAILED, "no", seconds=1.0)
    assert moved()
    retry(store, claimed.run_ids)
    assert moved()
    request_cancel(store, run_ids=claimed.run_ids[:1])
    assert moved()
    other = submit(store, make_spec(depth=3)).sweep_id
    assert other != mine
    assert not moved()
    delete_runs(store, claimed.run_ids[:1])
    assert moved()


def test_a_sweep_that_is_not_there_has_one_too(store: Store) -> None:
    assert queries.sweep_revision(store, "0" * 16) == queries.sweep_revision(store, "1" * 16)
