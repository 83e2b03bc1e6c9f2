"""The command line: the browser's actions on the same store, every option made from the same schema."""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import pandas as pd
import tyro
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from tyro.extras import SubcommandApp

from werank_core.cli_dashboard import dashboard
from werank_core.cli_data import data_app
from werank_core.cli_sweep import CommandError, SweepArguments, arguments_class, run_sweep
from werank_core.config import explain
from werank_core.datasets.errors import DataError
from werank_core.experiments import EXPERIMENTS
from werank_core.jobs.supervisor import Ending, ensure_supervisor, serve
from werank_core.settings import SettingsError, settings
from werank_core.store import Store, StoreError, open_store, queries, runs
from werank_core.vocabulary import METRICS, MetricKey

State = Literal["queued", "running", "finished", "failed", "diverged", "cancelled"]
Ids = tyro.conf.Positional[tuple[str, ...]]

_MOST_RUNS = 1_000_000
_TABLE = ("run_id", "experiment", "state", "strength", "second_value", "seed", "step", "seconds", "differs", "error")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 the store or a run is in trouble, 2 an argument is wrong."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        result = _app(given).cli(
            prog="python -m werank_core",
            description="WERank Lab: strength sweeps, trained in the background.",
            args=given,
            use_underscores=True,
            config=(tyro.conf.OmitArgPrefixes,),
        )
        return run_sweep(result, _store(), settings()) if isinstance(result, SweepArguments) else int(result)
    except ValidationError as error:
        return _refused(explain(error), 2)
    except CommandError as error:
        return _refused([str(error)], error.code)
    except SettingsError as error:
        return _refused([str(error)], 2)
    except (StoreError, DataError) as error:
        return _refused([str(error)], 1)
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def run() -> NoReturn:
    """The program `werank`."""
    raise SystemExit(main())


def _refused(sentences: Iterable[str], code: int) -> int:
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    return code


def _app(given: Sequence[str]) -> SubcommandApp:
    sweeps = SubcommandApp()
    for experiment in EXPERIMENTS.values():
        options: Callable[..., Any] = arguments_class(experiment, given)
        sweeps.command(name=experiment.name)(options)
    app = SubcommandApp()
    app.command(sweeps, name="sweep", help="Run a strength sweep of an experiment.")
    app.command(data_app(), name="data", help="Fetch public data sets, add your own, list and remove them.")
    app.command(name="dashboard")(dashboard)
    app.command(name="worker")(worker)
    app.command(name="runs")(list_runs)
    app.command(name="cancel")(cancel)
    app.command(name="retry")(retry)
    app.command(name="export")(export)
    return app


def _store() -> Store:
    return open_store(settings().store_url, read_only=settings().demo)


def worker(detached: bool = False) -> int:
    """Supervise this machine's jobs until Ctrl+C.

    Args:
        detached: End after some idle minutes, as the one does that the dashboard starts.
    """
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: asked.append(received))
    ending = serve(settings(), stopped=lambda: bool(asked), forever=not detached, say=_say)
    if ending is Ending.OUTDATED:
        os.execv(sys.executable, [sys.executable, "-m", "werank_core", "worker", *["--detached"] * detached])
    if ending is Ending.BUSY and not detached:
        _say(f"{ending}: nothing to do here.")
    return 0


def _say(sentence: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), sentence, flush=True)


def list_runs(
    sweep: str | None = None, state: State | None = None, experiment: str | None = None, limit: str = "40"
) -> int:
    """List runs, newest first.

    Args:
        sweep: Only runs of this sweep.
        state: Only runs in this state.
        experiment: Only runs of this experiment.
        limit: At most so many.
    """
    most = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) <= 7 else 0
    if not 1 <= most <= _MOST_RUNS:
        raise CommandError(f"limit = {limit[:40]!r}: should be a whole number from 1 to {_MOST_RUNS:,}.")
    if experiment is not None and experiment not in EXPERIMENTS:
        raise CommandError(f"experiment = {experiment[:40]!r}: should be {' or '.join(map(repr, EXPERIMENTS))}.")
    store = _store()
    if sweep is not None and queries.sweep_name(store, sweep) is None:
        raise StoreError(f"There is no sweep {sweep!r} in this store.")
    sweeps, states = None if sweep is None else [sweep], [state] if state else None
    frame = queries.runs(store, sweeps, states, experiment, most)
    if frame.empty:
        print("No runs.")
        return 0
    headline = [name for name in frame.columns if MetricKey.parse(name).metric in METRICS]
    shown = frame[[*_TABLE[:-2], *headline, *_TABLE[-2:]]].replace("", None).dropna(axis="columns", how="all")
    table = Table(box=None, header_style="bold")
    for name in shown.columns:
        table.add_column(name.replace("_", " "), no_wrap=True, min_width=16 if name == "run_id" else None)
    for row in shown.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    # Into a file or pipe nothing is cut off.
    Console(width=None if sys.stdout.isatty() else 300).print(table)
    return 0


def _cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def cancel(ids: Ids) -> int:
    """Cancel sweeps or runs; what has finished stays.

    Args:
        ids: Ids of sweeps or runs.
    """
    _check_ids(ids)
    store = _store()
    sweeps, single = queries.known_ids(store, ids)
    count = sum(runs.request_cancel(store, sweep_id=sweep_id) for sweep_id in sweeps)
    count += runs.request_cancel(store, run_ids=single - sweeps)
    print(f"{count} runs cancelled.")
    return _unknown(ids, sweeps | single, "sweep or run")


def _check_ids(ids: Collection[str]) -> None:
    if not ids:
        raise CommandError("ids: name one or more; `runs` lists them.")


def _unknown(ids: Iterable[str], known: Collection[str], what: str) -> int:
    """Say which ids are nobody's; the exit code."""
    sentences = [f"There is no {what} {name!r} in this store." for name in dict.fromkeys(ids) if name not in known]
    return _refused(sentences, 1) if sentences else 0


def retry(ids: Ids) -> int:
    """Queue failed, cancelled and diverged runs again; a batch that failed as a whole goes on from its checkpoint.

    Args:
        ids: Ids of runs.
    """
    _check_ids(ids)
    store = _store()
    count = runs.retry(store, ids)
    if count:
        ensure_supervisor(settings())
    print(f"{count} runs queued.")
    return _unknown(ids, queries.known_ids(store, ids)[1], "run")


def export(sweep_id: tyro.conf.Positional[str], out: Path | None = None, history: bool = False) -> int:
    """Write a sweep's metrics as a tidy table: one row a value.

    Args:
        sweep_id: Id of the sweep.
        out: File to write, .csv, .parquet or .json; CSV on standard output when left out.
        history: Every recorded step instead of the newest values.
    """
    if out is not None:
        _check_target(out)
    store = _store()
    queries.sweep_spec(store, sweep_id)
    frame = queries.final_metrics(store, sweep_ids=[sweep_id])
    if history:
        frame = queries.history(store, list(frame["run_id"].unique()), sweep_id=sweep_id)
    if out is None:
        print(frame.to_csv(index=False), end="")
        return 0
    partial = out.with_name(f".{out.stem}-{os.getpid()}{out.suffix}")
    try:
        _WRITERS[out.suffix](frame, partial)
        os.replace(partial, out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CommandError(f"out = {str(out)!r}: cannot be written: {error.strerror or error}.", code=1) from error
    print(f"{len(frame):,} rows in {out}")
    return 0


def _check_target(out: Path) -> None:
    if out.suffix not in _WRITERS:
        raise CommandError(f"out = {str(out)!r}: should end in .csv, .parquet or .json.")
    if not out.parent.is_dir():
        raise CommandError(f"out = {str(out)!r}: there is no folder {str(out.parent)!r}.", code=1)
    if out.is_dir():
        raise CommandError(f"out = {str(out)!r}: is a folder; name a file.", code=1)


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, out: frame.to_csv(out, index=False),
    ".parquet": lambda frame, out: frame.to_parquet(out, index=False),
    ".json": lambda frame, out: frame.to_json(out, orient="records", double_precision=15, indent=1),
}
