"""How fast the store is: 2,000 finished runs of 30 metrics read back, and records written while training.

Run with `python -m bench.store_queries`; prints milliseconds and commits a second, and asserts nothing.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from werank_core.config import ToySSLConfig
from werank_core.store import Store, open_store, queries, queue
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import METRICS, RunState

RUNS, STEPS = 2_000, 100
NAMES = tuple(METRICS)[:30]


def main() -> None:
    """Fill a store in a temporary folder and time it."""
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder) / 'store.sqlite'}")
        config = ToySSLConfig(steps=STEPS, records=STEPS)
        spec = SweepSpec(experiment="toy_ssl", config=config, strengths=tuple(map(float, range(10))), seeds=RUNS // 10)
        started = time.perf_counter()
        sweep_id = submit(store, spec).sweep_id
        print(f"submit {RUNS} runs: {time.perf_counter() - started:.2f} s")
        commits, seconds = fill(store)
        print(f"records of {len(NAMES)} metrics: {commits / seconds:,.0f} step commits/s")
        run_id = queries.runs(store, limit=1)["run_id"][0]
        report("final metrics of all runs", lambda: queries.final_metrics(store))
        report("headline metrics of all runs", lambda: queries.final_metrics(store, metrics=NAMES[4:7]))
        report("one history", lambda: queries.history(store, [run_id]))
        report("table of runs", lambda: queries.runs(store))
        report("list of sweeps", lambda: queries.sweeps(store))
        report("progress", lambda: queries.progress(store, sweep_id))
        report("revision", lambda: queries.revision(store))


def fill(store: Store) -> tuple[int, float]:
    """Train nothing, record everything; returns run-steps committed and seconds."""
    rng, commits, started = np.random.default_rng(0), 0, time.perf_counter()
    while claimed := queue.claim(store, "bench"):
        sink = StoreSink(store, claimed)
        for step in range(STEPS):
            sink.write(step, {name: rng.random(len(claimed.run_ids)) for name in NAMES}, {})
            commits += len(claimed.run_ids)
        queue.finish(store, claimed, RunState.FINISHED, seconds=1.0)
    return commits, time.perf_counter() - started


def report(name: str, call: Callable[[], object], times: int = 9) -> None:
    """Print the median time of a call."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    print(f"{name}: {1000 * float(np.median(seconds)):.1f} ms")


if __name__ == "__main__":
    main()
