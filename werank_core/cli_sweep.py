"""`sweep EXPERIMENT`: options made from the config class, submitted, and watched until the end."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, make_dataclass
from dataclasses import field as option
from typing import Annotated, Any, ClassVar, get_origin

import pandas as pd
import tyro
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from werank_core.cli_data import fetch_shown
from werank_core.config import choices, trait
from werank_core.datasets.identity import identified_sweep, missing_download
from werank_core.experiments import EXPERIMENTS, Experiment, Preset
from werank_core.jobs.places import Places
from werank_core.jobs.supervisor import ensure_supervisor
from werank_core.settings import Settings
from werank_core.store import Store, StoreError, StoreMissing, StoreUnavailable, queries
from werank_core.store.errors import READ_ONLY
from werank_core.store.patience import Patience
from werank_core.store.runs import submit, sweep_identity
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import MetricKey, RunState
from werank_core.vocabulary.spelling import spelled

_MADE_BY_THE_SWEEP = ("strength", "model_seed", "data_seed")
_SWEEP_FIELDS = ("strengths", "second_axis", "second_values", "seeds", "first_seed", "vary_data", "name")
_POLL_SECONDS = 0.25
_LOOK_AFTER_SUPERVISOR_SECONDS = 5.0
_MOST_STARTS = 8
_STORE_SECONDS = 600.0
_MISSING_SECONDS = 5.0


class CommandError(Exception):
    """An argument is wrong; the message names it, its value and what is allowed.

    Args:
        message: one sentence.
        code: the exit code: 2 when it could never be right, 1 when it does not fit what is there.
    """

    def __init__(self, message: str, *, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class SweepArguments:
    """What every experiment's sweep command has; the classes made from it add the experiment's own options."""

    experiment: ClassVar[str] = ""
    preset: Annotated[str, tyro.conf.arg(help="Start from this preset; other options change it.")] = ""
    detach: Annotated[bool, tyro.conf.arg(help="Do not wait for the end.")] = False
    download: Annotated[bool, tyro.conf.arg(help="Fetch the data first where they are not there yet.")] = False


def arguments_class(of: Experiment, given: Sequence[str]) -> type[SweepArguments]:
    """The options of one experiment's sweep: the sweep's fields and its config's, with the chosen preset's values.

    Values stay text: the schema that checks the form and the record checks them here too, and says so in its words.

    Raises:
        CommandError: when there is no such preset.
    """
    base = _base(of, given if list(given[:2]) == ["sweep", of.name] else ())
    starts = of.sweep_fields(base)
    shared = [
        _option(name, info, starts.get(name, info.default))
        for name, info in SweepSpec.model_fields.items()
        if name in _SWEEP_FIELDS
    ]
    own = [
        _option(name, info, getattr(base.config, name))
        for name, info in of.config_class.model_fields.items()
        if name not in {*_MADE_BY_THE_SWEEP, *of.config_class.identity_fields()}
    ]
    namespace = {"experiment": of.name, "__doc__": of.question}
    return make_dataclass(f"{of.name}_sweep", [*shared, *own], bases=(SweepArguments,), namespace=namespace)


def _base(of: Experiment, given: Sequence[str]) -> Preset:
    """The chosen preset, or one of the defaults; read before the rest, whose defaults it decides."""
    name = ""
    for word, following in zip(given, [*given[1:], ""], strict=False):
        if word.startswith("--preset"):
            name = word.partition("=")[2] or following
    if not name:
        return Preset("", of.config_class())
    if name not in of.presets:
        raise CommandError(f"preset = {name!r}: should be {' or '.join(map(repr, of.presets))}.")
    return of.presets[name]


def _option(name: str, info: FieldInfo, value: Any) -> tuple[str, Any, Any]:
    """A dataclass field for one schema field: help, unit and allowed values come from the schema."""
    unit = f" [{trait(info, 'unit')}]" if trait(info, "unit") else ""
    arg = tyro.conf.arg(help=f"{info.description or ''}{unit}", metavar=_allowed(info))
    if info.annotation is bool:
        return name, Annotated[bool, tyro.conf.arg(help=info.description)], option(default=value)
    if get_origin(info.annotation) is tuple:
        return name, Annotated[tuple[str, ...], arg], option(default=tuple(map(_text, value)))
    return name, Annotated[str, arg], option(default=_text(value))


def _text(value: Any) -> str:
    return (
        ""
        if value is None
        else f"{value:g}"
        if isinstance(value, float) and value == float(f"{value:g}")
        else str(value)
    )


def _allowed(info: FieldInfo) -> str:
    """What the field accepts, as help shows it: `{a,b}`, `1..32`, `>=0`."""
    if allowed := choices(info):
        return "{" + ",".join(map(str, allowed)) + "}"
    bounds = {
        sign: getattr(item, sign) for item in info.metadata for sign in ("ge", "gt", "le", "lt") if hasattr(item, sign)
    }
    words = [
        f"{symbol}{_text(bounds[sign])}"
        for sign, symbol in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if sign in bounds
    ]
    return " ".join(words) or "VALUE"


def spec_from(arguments: SweepArguments) -> SweepSpec:
    """The sweep these arguments ask for.

    Raises:
        ValidationError: when a value is not allowed.
    """
    of = EXPERIMENTS[arguments.experiment]
    skipped = {*_MADE_BY_THE_SWEEP, *of.config_class.identity_fields()}
    own = [name for name in of.config_class.model_fields if name not in skipped]
    config = of.config_class.model_validate(_given(arguments, of.config_class.model_fields, own))
    shared = _given(arguments, SweepSpec.model_fields, _SWEEP_FIELDS)
    return SweepSpec.model_validate({"experiment": of.name, "config": config, **shared})


def _given(arguments: SweepArguments, infos: Mapping[str, FieldInfo], names: Iterable[str]) -> dict[str, Any]:
    """The values of these options; an empty text stands for "none" where the schema has that."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: None if value == "" and infos[name].default is None else value for name, value in values.items()}


def run_sweep(arguments: SweepArguments, store: Store, settings: Settings) -> int:
    """Submit the sweep, and watch it unless told not to; the exit code is 1 when a run failed."""
    if settings.demo:
        raise StoreError(READ_ONLY)
    spec = spec_from(arguments)
    if arguments.download and (missing := missing_download(spec.config, settings.data_folder)):
        fetch_shown(missing, settings)
    spec = identified_sweep(spec, settings.data_folder)
    _check_name(store, spec)
    console = Console(stderr=True)
    cost = queries.predicted_seconds(store, spec, settings.slots)
    price = "first run here: time unknown" if cost is None else f"about {duration(cost)}"
    console.print(f"{spec.num_runs:,} runs of {spec.experiment}, {price}", highlight=False)
    done = submit(store, spec, slots=settings.slots)
    console.print(f"sweep {done.sweep_id}: {done.new_runs} to train, {done.reused_runs} already there", highlight=False)
    if queries.progress(store, done.sweep_id).active:
        ensure_supervisor(settings)
    if arguments.detach:
        print(done.sweep_id)
        return 0
    try:
        _watch(store, settings, done.sweep_id, console)
    except KeyboardInterrupt:
        console.print("It goes on in the background. To stop it:", highlight=False)
        console.print(f"  python -m werank_core cancel {done.sweep_id}", highlight=False)
        return 130
    return Patience(_STORE_SECONDS).ask(lambda: _report(store, spec, done.sweep_id))


def _check_name(store: Store, spec: SweepSpec) -> None:
    """A sweep is what it trains: the same one under another name would come out under its old name."""
    sweep_id = sweep_identity(spec)
    name = queries.sweep_name(store, sweep_id)
    if spec.name and name not in (None, spec.name):
        raise CommandError(
            f"name = {spec.name!r}: this very sweep is there already, as {name!r} ({sweep_id}); leave the name out.",
            code=1,
        )


def _watch(store: Store, settings: Settings, sweep_id: str, console: Console) -> None:
    """A progress bar until no run of the sweep is active; a supervisor that dies is replaced.

    Raises:
        StoreError: one sentence, when the sweep is not there any more, the store does not answer for minutes, or no
            supervisor stays alive.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=console) as bar:
        task, looked, starts = bar.add_task("queued", total=1.0, told=""), time.monotonic(), 0
        while (now := _seen(store, sweep_id, lambda word: bar.update(task, description=word))).active:
            word = "training" if now.devices else "queued"
            bar.update(task, completed=now.share, description=word, told=_told(now))
            if time.monotonic() - looked > _LOOK_AFTER_SUPERVISOR_SECONDS:
                with suppress(StoreUnavailable):
                    starts = starts + 1 if ensure_supervisor(settings) else 0
                looked = time.monotonic()
            if starts > _MOST_STARTS:
                raise StoreError(f"No worker stays alive: see {Places.of(settings).supervisor_log}.")
            time.sleep(_POLL_SECONDS)
        bar.update(task, completed=1.0, description="done", told=_told(now))


def _seen(store: Store, sweep_id: str, say: Callable[[str], None]) -> queries.Progress:
    """The sweep's progress; a store that does not answer is waited for, one that is gone not for long."""

    def look() -> queries.Progress:
        try:
            return queries.progress(store, sweep_id)
        except StoreMissing:
            if missing.is_over():
                raise StoreError(f"Sweep {sweep_id} cannot be watched any more: the store's file is gone.") from None
            raise

    missing = Patience(_MISSING_SECONDS)
    now = Patience(_STORE_SECONDS, lambda _: say("waiting for the store")).ask(look)
    if not sum(now.runs.values()):
        raise StoreError(f"Sweep {sweep_id} is not in the store any more: it was deleted, or the store was replaced.")
    return now


def _told(now: queries.Progress) -> str:
    parts = [f"{now.jobs_done}/{now.jobs_total} jobs", f"step {now.step}/{now.num_steps}" if now.devices else ""]
    parts.append(f"{duration(now.eta_seconds)} left" if now.active and now.eta_seconds is not None else "")
    return "  ".join(filter(None, [*parts, " ".join(now.devices)]))


def duration(seconds: float) -> str:
    """Time as a person says it: 25 s, 3 min 20 s, 2 h 5 min."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _report(store: Store, spec: SweepSpec, sweep_id: str) -> int:
    """Print the headline metrics by strength, over finished runs, what did not finish, and why runs failed."""
    # loads what draws figures: not before the end of a sweep
    from werank_core.figures.ceilings import SIZES, ceiling_notes

    names = EXPERIMENTS[spec.experiment].headline
    frame = queries.final_metrics(store, sweep_ids=[sweep_id], metrics=(*names, *SIZES))
    frame = frame[(frame["state"] == RunState.FINISHED) & (frame["layer"] == 0)]
    frame = frame.assign(key=(frame["split"] + "/" + frame["metric"]).str.removeprefix("/"))
    keys = [key for key in ("second_value", "strength") if frame[key].notna().any()]
    console = Console()
    if keys:
        notes = ceiling_notes(frame)
        shown = [MetricKey.parse(name) for name in names if name in set(frame["key"])]
        titles = {str(key): ", ".join(filter(None, [key.label, notes.get(key.metric)])) for key in shown}
        console.print(_headline_table(frame, spec, keys, titles))
    counts = queries.progress(store, sweep_id).runs
    console.print(", ".join(f"{count} {state}" for state, count in counts.items() if count), highlight=False)
    for sentence in _reasons(store, sweep_id):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    deleted = len({item.id for item in spec.runs()}) - sum(counts.values())
    if deleted:
        console.print(f"{deleted} runs were deleted meanwhile.", highlight=False)
    return 1 if counts[RunState.FAILED] or deleted else 0


def _reasons(store: Store, sweep_id: str) -> list[str]:
    """Why runs failed, each reason once."""
    failed = queries.runs(store, [sweep_id], [RunState.FAILED])
    reasons = failed["error"].replace("", "no reason was kept").value_counts()
    return [f"{count} failed: {reason}" for reason, count in reasons.items()]


def _headline_table(frame: pd.DataFrame, spec: SweepSpec, keys: list[str], titles: Mapping[str, str]) -> Table:
    """Means over seeds; a metric that is undefined in every run of a row stays empty."""
    means = frame.groupby([*keys, "key"])["value"].mean().unstack("key")
    counts = frame.groupby(keys)["run_id"].nunique().to_dict()
    heads = {"strength": EXPERIMENTS[spec.experiment].strength_label, "second_value": spec.second_axis or ""}
    table = Table(*(heads[key] for key in keys), *titles.values(), "runs", box=None)
    for index, row in means.iterrows():
        shown = index if isinstance(index, tuple) else (index,)
        values = ("" if math.isnan(row[name]) else f"{row[name]:.3g}" for name in titles)
        table.add_row(*map(spelled, shown), *values, str(counts[index]))
    return table
