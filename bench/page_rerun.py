"""How long a page takes to run again with 2,000 finished runs in the store, and how large the web process gets.

Run with `python -m bench.page_rerun` (`--write` puts the table into bench/README.md). Nothing is trained: the store is
filled through its own interface: as 50 sweeps of 40 runs, and as one sweep of 2,000. Pages run in AppTest, in a process
of their own that never imports torch, as the web server's does.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from werank_core.config import ToySSLConfig
from werank_core.experiments import experiment
from werank_core.store import Store, open_store, queue
from werank_core.store.claims import Claim
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import MetricKey, RunState

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).parent.parent
RUNS, RERUNS, DEPTH, WIDTH = 2_000, 7, 4, 64
OF_ROWS = [
    "loss", "objective", "effective_rank", "rankme", "covariance_effective_rank", "participation_ratio",
    "stable_rank", "numerical_rank", "alpha_req", "embedding_effective_rank", "embedding_rankme",
    "total_cluster_variation", "relative_tcv", "nc1", "nc1_quotient", "cdnv", "nc2_equinorm", "nc2_equiangular",
    "accuracy", "macro_f1", "response_sensitivity",
]  # fmt: skip
NAMES = [
    *(f"test/{name}" for name in OF_ROWS), "penalty", "weight_effective_rank", "weight_stable_rank",
    "layer_alignment", "product_of_spectral_norms",
]  # fmt: skip
LIMIT_MS, LIMIT_MB = 300, 250


def main() -> None:
    """Fill both kinds of store, run every page on each, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    parser.add_argument("--pages", metavar="SWEEPS", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.pages:
        print(json.dumps(measured_pages(int(given.pages))))
        return
    lines = ["| store | page | rerun, ms (median) | first run, ms |", "|---|---|--:|--:|"]
    slowest = 0.0
    for sweeps in (50, 1):
        name = f"{sweeps} sweeps of {RUNS // sweeps} runs" if sweeps > 1 else f"one sweep of {RUNS:,} runs"
        found = child(sweeps)
        for page, (first, again) in found["pages"].items():
            lines.append(f"| {name} | {page} | {again:.0f} | {first:.0f} |")
            slowest = max(slowest, again)
        lines.append(f"| {name} | *web process, all pages open: {found['peak_mb']:.0f} MB at most* | | |")
    table = "\n".join(lines)
    print(table)
    print(f"slowest rerun: {slowest:.0f} ms (aim {LIMIT_MS}), limit of the process {LIMIT_MB} MB")
    if given.write:
        from bench.measure import machine, write_block

        write_block("page_rerun", f"{table}\n\n{machine()}", ROOT / "bench" / "README.md")


def child(sweeps: int) -> dict[str, Any]:
    """What a fresh process measures on a store of its own."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "WERANK_HOME": home, "WERANK_STORE": f"sqlite:///{home}/store.sqlite"}
        fill(open_store(environment["WERANK_STORE"]), sweeps)
        command = [sys.executable, "-m", "bench.page_rerun", "--pages", str(sweeps)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def fill(store: Store, sweeps: int) -> None:
    """`RUNS` finished runs in so many sweeps; the newest sweep has histories and spectra."""
    strengths = (*experiment("toy_ssl").default_strengths, 3.0, 10.0)
    seeds = RUNS // sweeps // len(strengths)
    for number in range(sweeps):
        config = ToySSLConfig(augmentation_strength=0.1 + number / 100)
        spec = SweepSpec(experiment="toy_ssl", config=config, strengths=strengths, seeds=seeds, name=f"sweep {number}")
        submit(store, spec)
        while claimed := queue.claim(store, "bench", lease_seconds=3600):
            queue.started_on(store, claimed, "cpu")
            record(store, claimed, range(0, 601, 30) if number == sweeps - 1 else (600,))
            queue.finish(store, claimed, RunState.FINISHED, seconds=10.0)
    store.close()


def record(store: Store, claimed: Claim, steps: range | tuple[int, ...]) -> None:
    """Numbers that look like a sweep's: they rise with the strength and differ between seeds."""
    sink, rng = StoreSink(store, claimed), np.random.default_rng(0)
    strengths = np.array([config["strength"] for config in claimed.configs])
    trend = 1 + strengths / (strengths + 0.1)
    for step in steps:
        values = {name: _values(name, trend, rng) for name in NAMES}
        decay = np.exp(-np.arange(WIDTH)[None] / (10 * trend[:, None]))
        arrays = {("weight_spectrum", layer): decay * layer for layer in range(1, DEPTH + 1)}
        few = len(claimed.run_ids) <= 40
        sink.write(step, values, {**arrays, ("representation_spectrum", 0): decay} if few else {})


def _values(name: str, trend: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    per_layer = MetricKey.parse(name).known.per_layer
    layers = DEPTH - (name == "layer_alignment")
    shape = (len(trend), layers) if per_layer else (len(trend),)
    return (trend[:, None] if per_layer else trend) * (0.4 + 0.02 * rng.normal(size=shape))


def measured_pages(sweeps: int) -> dict[str, Any]:
    """First and median rerun of every page in milliseconds, and the process's peak memory in MB."""
    with _known_navigation():
        pages = dict(_cases())
        found = {name: _timed(run) for name, run in pages.items()}
    assert "torch" not in sys.modules
    return {"pages": found, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


@contextmanager
def _known_navigation() -> Iterator[None]:
    """A server learns once that app.py calls `st.navigation`; AppTest forgets it before every run."""
    from streamlit.runtime.pages_manager import PagesManager

    made = PagesManager.__init__

    def make(self: PagesManager, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        PagesManager.uses_pages_directory = False

    with mock.patch.object(PagesManager, "__init__", make):
        yield


def _cases() -> Iterator[tuple[str, Callable[[], "AppTest"]]]:
    yield "overview", _opened("app.py")
    for panel in ("Spectra", "Training", "Rank against accuracy", "Runs", "Settings"):
        yield f"toy, {panel}", _opened("pages/toy.py", toy_details=panel)
    yield "runs", _opened("pages/runs.py")
    yield "compare", _opened("pages/compare.py", compare_items=_two_items())


def _two_items() -> list[str]:
    from pages.components import cached

    newest = list(cached.sweeps()["sweep_id"][:2])
    return newest if len(newest) > 1 else [f"{newest[0]}@0", f"{newest[0]}@0.1"]


def _opened(script: str, **query: str | list[str]) -> Callable[[], "AppTest"]:
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(ROOT / script), default_timeout=120)
    for name, value in query.items():
        at.query_params[name] = value
    return at.run


def _timed(run: Callable[[], "AppTest"]) -> tuple[float, float]:
    seconds = []
    for _ in range(1 + RERUNS):
        started = time.perf_counter()
        at = run()
        seconds.append(time.perf_counter() - started)
        assert not at.exception, at.exception
    return 1000 * seconds[0], 1000 * statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
