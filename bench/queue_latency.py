"""How quickly the queue answers: a cold and a warm start to the first recorded result, and a cancel.

Run with `python -m bench.queue_latency`; prints seconds and asserts nothing.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from werank_core.config import ToySSLConfig
from werank_core.jobs.supervisor import ensure_supervisor
from werank_core.settings import Settings
from werank_core.store import open_store, queries
from werank_core.store.runs import request_cancel, submit
from werank_core.sweeps import SweepSpec


def main() -> None:
    """Start a supervisor on a store in a temporary folder and time it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store="", home=Path(folder))
        store = open_store(settings.store_url)

        def first_result(width: int) -> str:
            config = ToySSLConfig(width=width, steps=1_000_000, records=1)
            spec = SweepSpec(experiment="toy_ssl", config=config, strengths=(0.1,), seeds=1)
            sweep_id = submit(store, spec).sweep_id
            ensure_supervisor(settings)
            started = time.perf_counter()
            wait_for(lambda: queries.progress(store, sweep_id).devices)
            running = time.perf_counter() - started
            wait_for(lambda: not queries.final_metrics(store, sweep_ids=[sweep_id]).empty)
            print(f"  training after {running:.2f} s, first result after {time.perf_counter() - started:.2f} s")
            return sweep_id

        print("cold start:")
        sweeps = [first_result(32)]
        for _ in range(3):
            print("warm start:")
            request_cancel(store, sweep_id=sweeps[-1])
            wait_for(lambda: not queries.machine(store).running_jobs)
            sweeps.append(first_result(32 + len(sweeps)))
        started = time.perf_counter()
        request_cancel(store, sweep_id=sweeps[-1])
        print(f"cancelled after {time.perf_counter() - started:.3f} s")
        wait_for(lambda: not queries.machine(store).running_jobs)
        print(f"its worker gone after {time.perf_counter() - started:.2f} s")
        end(settings)


def wait_for(what: Callable[[], object]) -> None:
    """Poll until it is so."""
    while not what():
        time.sleep(0.01)


def end(settings: Settings) -> None:
    """End the supervisor; tell what it costs while idle."""
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("WERANK_HOME") == str(settings.home)
            if ours and process.cmdline()[1:4] == ["-m", "werank_core", "worker"]:
                print(f"idle supervisor: {process.cpu_percent(3.0):.1f}% of a core, {memory(process):.0f} MB")
                process.terminate()
                process.wait(20)
        except psutil.Error:
            continue


def memory(process: psutil.Process) -> float:
    """Resident megabytes of the process and its children."""
    return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 1e6


if __name__ == "__main__":
    main()
