"""The command line: same schema, same store, errors in one line."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from werank_core import cli, cli_sweep, settings
from werank_core.cli import main
from werank_core.cli_sweep import duration
from werank_core.experiments import EXPERIMENTS
from werank_core.settings import Settings
from werank_core.store import Store, StoreUnavailable, open_store, queries, queue, runs
from werank_core.store.recorder import StoreSink
from werank_core.vocabulary import RunState

SMALL = ["sweep", "toy_ssl", "--strengths", "0", "0.1", "--seeds", "2", "--steps", "10"]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store that the commands find, and no supervisor."""
    monkeypatch.setenv("WERANK_HOME", str(tmp_path))
    monkeypatch.delenv("WERANK_STORE", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    for module in (cli, cli_sweep):
        monkeypatch.setattr(module, "ensure_supervisor", lambda _: True)
    settings.settings.cache_clear()
    yield open_store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    settings.settings.cache_clear()


def finish_all(store: Store, outcome: RunState = RunState.FINISHED, error: str = "") -> None:
    """Train nothing: record known numbers for every waiting job."""
    while claimed := queue.claim(store, "test"):
        queue.started_on(store, claimed, "cpu")
        values = np.arange(len(claimed.run_ids)) + 1.0
        for step in (0, 10):
            sizes = {"test/measured_rows": 0 * values + 34, "test/representation_width": 0 * values + 64}
            record = {"test/loss": values, "test/effective_rank": values + step, **sizes}
            StoreSink(store, claimed).write(step, record, {})
        queue.finish(store, claimed, outcome, error, seconds=1.0)


def one_sweep(store: Store) -> pd.Series:
    table = queries.sweeps(store)
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--depth", "99"], ["depth = '99'", "less than or equal to 32"]),
        (["--depth", "two"], ["depth = 'two'", "valid integer"]),
        (
            ["--objective", "simclr"],
            ["objective = 'simclr'", "'vicreg', 'barlow_twins', 'weak_sigreg' or 'sigreg'"],
        ),
        (["--seeds", "0"], ["seeds = '0'", "greater than or equal to 1"]),
        (["--strengths", "0.1", "x"], ["strengths.1 = 'x'", "valid number"]),
        (["--strengths", "x"], ["strengths.0 = 'x'", "valid number"]),
        (["--strengths", ""], ["strengths.0 = ''", "valid number"]),
        (["--strengths"], ["strengths is empty: give one or more values."]),
        (["--strengths", "-1"], ["strength", "not negative"]),
        (["--second_axis", "depht", "--second_values", "1"], ["second_axis = 'depht'", "depth"]),
        (["--second_axis", "depth"], ["second_axis and second_values belong together"]),
        (["--second_axis", "depth", "--second_values", "1", "99"], ["depth", "99"]),
        (["--preset", "nothing"], ["preset = 'nothing'", "'over_parametrised'"]),
        (["--second_axis", "depth", "--second_values", "inf"], ["second_values", "inf", "finite"]),
        (["--second_axis", "depth", "--second_values", "nan"], ["second_values", "nan", "finite"]),
        (["--second_axis", "depth", "--second_values", "9" * 400], ["second_values", "finite"]),
        (["--second_axis", "temperature", "--second_values", "-inf"], ["second_values", "finite"]),
        (["--strengths", "9" * 400], ["strengths", "finite"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_nothing_is_queued(
    store: Store, capsys: pytest.CaptureFixture[str], wrong: list[str], words: list[str]
) -> None:
    assert main([*SMALL, *wrong]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    for word in words:
        assert word in said
    assert queries.runs(store).empty


def test_every_option_of_the_schema_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for experiment in EXPERIMENTS.values():
        with pytest.raises(SystemExit) as caught:
            main(["sweep", experiment.name, "--help"])
        assert caught.value.code == 0
        said = capsys.readouterr().out
        for name, field in experiment.config_class.model_fields.items():
            if name not in {"strength", "model_seed", "data_seed", *experiment.config_class.identity_fields()}:
                assert f"--{name}" in said
                assert (field.description or "").split()[0] in said


def test_detached_queues_exactly_what_was_asked_for(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--objective", "vicreg", "--depth", "2", "--second-axis", "augmentation_strength"]
    assert main([*SMALL, *options, "--second-values", "0.1", "0.3", "--bias", "--detach"]) == 0
    sweep = one_sweep(store)
    said = capsys.readouterr()
    assert said.out.strip() == sweep["sweep_id"]
    assert "8 runs of toy_ssl, first run here: time unknown" in said.err
    spec = queries.sweep_spec(store, sweep["sweep_id"])
    assert (spec.strengths, spec.seeds, spec.second_values) == ((0.0, 0.1), 2, (0.1, 0.3))
    assert spec.config == EXPERIMENTS["toy_ssl"].config_class.model_validate(
        {"objective": "vicreg", "depth": 2, "steps": 10, "bias": True}
    )
    assert (sweep["num_runs"], sweep["queued"]) == (8, 8)


def test_a_preset_is_a_starting_point(store: Store) -> None:
    assert main(["sweep", "toy_ssl", "--preset", "over_parametrised", "--depth", "3", "--seeds", "1", "--detach"]) == 0
    spec = queries.sweep_spec(store, one_sweep(store)["sweep_id"])
    preset = EXPERIMENTS["toy_ssl"].presets["over_parametrised"].config
    assert spec.config == preset.replaced(depth=3)
    assert spec.strengths == EXPERIMENTS["toy_ssl"].default_strengths


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_preset_brings_its_own_grid(experiment: str, store: Store) -> None:
    of = EXPERIMENTS[experiment]
    name, preset = next(iter(of.presets.items()))
    assert main(["sweep", experiment, "--preset", name, "--detach"]) == 0
    spec = queries.sweep_spec(store, one_sweep(store)["sweep_id"])
    assert spec.config == preset.config
    assert {field: getattr(spec, field) for field in of.sweep_fields(preset)} == {
        **of.sweep_fields(preset),
        "strengths": tuple(sorted({0.0, *of.sweep_fields(preset)["strengths"]})),
    }


def test_the_defaults_are_those_of_the_form(store: Store) -> None:
    assert main(["sweep", "toy_ssl", "--detach"]) == 0
    spec = queries.sweep_spec(store, one_sweep(store)["sweep_id"])
    toy = EXPERIMENTS["toy_ssl"]
    assert (spec.config, spec.strengths, spec.seeds) == (toy.config_class(), toy.default_strengths, toy.default_seeds)


def test_waiting_ends_with_a_table_and_the_cost_is_known_next_time(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(_: Settings) -> bool:
        threading.Thread(target=finish_all, args=(store,)).start()
        return True

    monkeypatch.setattr(cli_sweep, "ensure_supervisor", train)
    assert main(SMALL) == 0
    said = capsys.readouterr().out
    assert "4 finished" in said
    assert "effective rank, test rows, at most 34 " in said
    assert "strength" in said
    assert main(SMALL) == 0
    assert "about 1 s" in capsys.readouterr().err
    assert main([*SMALL, "--first_seed", "5", "--detach"]) == 0


def test_a_failed_run_is_told_by_the_exit_code_and_its_reason(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "a class has [1] sample; it cannot be both trained and tested on."
    monkeypatch.setattr(cli_sweep, "ensure_supervisor", lambda _: finish_all(store, RunState.FAILED, reason))
    assert main(SMALL) == 1
    assert f"4 failed: {reason}" in capsys.readouterr().out


def test_ctrl_c_leaves_it_running_and_says_how_to_stop_it(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert main(SMALL) == 130
    said = capsys.readouterr().err
    sweep_id = one_sweep(store)["sweep_id"]
    assert f"python -m werank_core cancel {sweep_id}" in said
    assert set(queries.runs(store)["state"]) == {"queued"}
    assert main(["cancel", sweep_id]) == 0
    assert set(queries.runs(store)["state"]) == {"cancelled"}
    assert "4 runs cancelled" in capsys.readouterr().out


def test_runs_are_listed_filtered_and_tried_again(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.strip() == "No runs."
    main([*SMALL, "--detach"])
    finish_all(store, RunState.FAILED)
    capsys.readouterr()
    ids = list(queries.runs(store)["run_id"])
    assert main(["runs", "--state", "failed", "--sweep", one_sweep(store)["sweep_id"]]) == 0
    said = capsys.readouterr().out
    assert all(run_id in said for run_id in ids)
    assert main(["runs", "--state", "finished"]) == 0
    assert capsys.readouterr().out.strip() == "No runs."
    assert main(["retry", *ids[:3]]) == 0
    assert sorted(queries.runs(store)["state"]) == ["failed", "queued", "queued", "queued"]
    assert main(["cancel", ids[0]]) == 0


@pytest.mark.parametrize("limit", ["1e20", "0", "-3", "9" * 400, "", "ten", "1.5", "\u0663"])
def test_a_wrong_limit_is_one_line(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", f"--limit={limit}"]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("limit = ")
    assert said.endswith("should be a whole number from 1 to 1,000,000.")
    assert len(said) < 150


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["runs", "--experiment", "nothing"], "experiment = 'nothing': should be 'toy_ssl'"),
        (["cancel"], "ids: name one or more"),
        (["retry"], "ids: name one or more"),
    ],
)
def test_an_argument_that_means_nothing_is_no_success(
    capsys: pytest.CaptureFixture[str], command: list[str], words: str
) -> None:
    assert main(command) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "0" * 16, "\udcff", "'; DROP TABLE run; --"])
def test_ids_of_nothing_are_said_to_be_so(store: Store, capsys: pytest.CaptureFixture[str], name: str) -> None:
    for command in (["cancel", name], ["retry", name], ["runs", "--sweep", name], ["export", name]):
        assert main(command) == 1
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_is_known_is_done_and_what_is_not_is_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--detach"])
    run_id = queries.runs(store)["run_id"][0]
    capsys.readouterr()
    assert main(["cancel", run_id, "nothing"]) == 1
    said = capsys.readouterr()
    assert said.out.strip() == "1 runs cancelled."
    assert said.err.strip() == "There is no sweep or run 'nothing' in this store."
    assert main(["cancel", run_id]) == 0
    assert main(["retry", run_id, one_sweep(store)["sweep_id"]]) == 1
    assert sorted(queries.runs(store)["state"]) == ["queued"] * 4


def test_another_name_for_a_sweep_that_is_there_is_refused(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--name", "first", "--detach"]) == 0
    capsys.readouterr()
    assert main([*SMALL, "--name", "second", "--detach"]) == 1
    said = capsys.readouterr().err.strip()
    sweep = one_sweep(store)
    assert said == (
        f"name = 'second': this very sweep is there already, as 'first' ({sweep['sweep_id']}); leave the name out."
    )
    assert main([*SMALL, "--name", "first", "--detach"]) == 0
    assert main([*SMALL, "--detach"]) == 0
    assert main([*SMALL, "--first_seed", "7", "--name", "first", "--detach"]) == 0, "names need not differ"


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a\udcffb", "a\x1bb"])
def test_a_name_is_kept_in_one_line_that_every_store_takes(store: Store, name: str) -> None:
    assert main([*SMALL, "--name", name, "--detach"]) == 0
    assert one_sweep(store)["name"] == "a b"


def test_a_metric_that_is_undefined_everywhere_leaves_its_column_empty(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All representations 0: no effective rank in any run."""

    def train(_: Settings) -> bool:
        while claimed := queue.claim(store, "test"):
            undefined = np.full(len(claimed.run_ids), np.nan)
            accuracy = np.where(np.arange(len(claimed.run_ids)) % 2, 0.5, np.nan)
            values = {"test/effective_rank": undefined, "test/accuracy": accuracy, "test/loss": undefined + np.inf}
            StoreSink(store, claimed).write(10, {**values, "test/loss": np.ones(len(undefined))}, {})
            queue.finish(store, claimed, RunState.FINISHED)
        return True

    monkeypatch.setattr(cli_sweep, "ensure_supervisor", train)
    assert main(SMALL) == 0
    said = capsys.readouterr().out
    assert "4 finished" in said
    assert "effective rank" in said
    assert "nan" not in said


def test_the_summary_says_why_runs_failed(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = ["ValueError: class 3 has one node [red]", "MemoryError: no room"]

    def train(_: Settings) -> bool:
        for reason in reasons:
            claimed = queue.claim(store, "test")
            assert claimed is not None
            queue.finish(store, claimed, RunState.FAILED, reason)
        return True

    monkeypatch.setattr(cli_sweep, "ensure_supervisor", train)
    assert main([*SMALL, "--second_axis", "depth", "--second_values", "1", "2"]) == 1
    said = capsys.readouterr().out
    assert "8 failed" in said
    for reason in reasons:
        assert f"4 failed: {reason}" in said


def test_waiting_goes_on_while_the_store_is_busy(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, progress = [StoreUnavailable("busy")] * 3, queries.progress

    def now(store: Store, sweep_id: str) -> queries.Progress:
        calls.append(1)
        if answers and len(calls) > 1:
            raise answers.pop()
        return progress(store, sweep_id)

    calls: list[int] = []
    monkeypatch.setattr(queries, "progress", now)
    monkeypatch.setattr(cli_sweep, "ensure_supervisor", lambda _: finish_all(store))
    assert main(SMALL) == 0
    assert not answers
    assert "4 finished" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["removed", "replaced", "deleted"])
def test_a_sweep_that_vanishes_while_one_waits_ends_with_an_error(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "store.sqlite"
    other = tmp_path / "other.sqlite"
    open_store(f"sqlite:///{other}").close()

    def vanish(_: Settings) -> bool:
        if how == "deleted":
            runs.delete_runs(store, list(queries.runs(store)["run_id"]))
        elif how == "replaced":
            other.replace(path)
        else:
            for part in ("", "-wal", "-shm"):
                Path(f"{path}{part}").unlink(missing_ok=True)
        return True

    monkeypatch.setattr(cli_sweep, "_MISSING_SECONDS", 0.3)
    monkeypatch.setattr(cli_sweep, "ensure_supervisor", vanish)
    assert main(SMALL) == 1
    said = capsys.readouterr()
    assert "finished" not in said.out
    expected = "the store's file is gone" if how == "removed" else "is not in the store any more"
    assert expected in said.err.strip().splitlines()[-1]


def test_waiting_ends_when_no_worker_stays_alive(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_sweep, "_LOOK_AFTER_SUPERVISOR_SECONDS", 0.0)
    monkeypatch.setattr(cli_sweep, "_POLL_SECONDS", 0.0)
    assert main(SMALL) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("No worker stays alive: see ")
    assert said.endswith("supervisor.log.")


def test_export_writes_what_was_measured(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--detach"])
    finish_all(store)
    sweep_id = one_sweep(store)["sweep_id"]
    expected = queries.final_metrics(store, sweep_ids=[sweep_id])
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        "csv": pd.read_csv,
        "parquet": pd.read_parquet,
        "json": pd.read_json,
    }
    for suffix, read in readers.items():
        out = tmp_path / f"metrics.{suffix}"
        assert main(["export", sweep_id, "--out", str(out)]) == 0
        frame = read(out)
        assert list(frame.columns) == list(queries.TIDY)
        assert np.allclose(frame["value"], expected["value"])
        assert list(frame["run_id"]) == list(expected["run_id"])
    out = tmp_path / "history.csv"
    assert main(["export", sweep_id, "--out", str(out), "--history"]) == 0
    assert set(pd.read_csv(out)["step"]) == {0, 10}
    capsys.readouterr()
    assert main(["export", sweep_id]) == 0
    assert capsys.readouterr().out.startswith(",".join(queries.TIDY))


def test_what_cannot_be_exported_is_one_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--detach"])
    sweep_id = one_sweep(store)["sweep_id"]
    capsys.readouterr()
    assert main(["export", "nothing"]) == 1
    assert "no sweep 'nothing'" in capsys.readouterr().err
    assert main(["export", sweep_id, "--out", "x.xlsx"]) == 2
    assert "should end in .csv, .parquet or .json" in capsys.readouterr().err
    assert main(["export", sweep_id, "--out", str(tmp_path / "no" / "such" / "x.csv")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "folder.csv").mkdir()
    assert main(["export", sweep_id, "--out", str(tmp_path / "folder.csv")]) == 1
    assert "is a folder" in capsys.readouterr().err
    for suffix in ("csv", "parquet", "json"):
        assert main(["export", sweep_id, "--out", f"/proc/x.{suffix}"]) == 1
        said = capsys.readouterr().err.strip()
        assert said.startswith(f"out = '/proc/x.{suffix}': cannot be written: ")
        assert "None" not in said


def test_a_worker_that_cannot_work_is_one_line(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WERANK_STORE", f"sqlite:///{tmp_path / 'store.sqlite'}")
    monkeypatch.setenv("WERANK_HOME", "/proc/lab")
    settings.settings.cache_clear()
    assert main(["worker", "--detached"]) == 1
    assert capsys.readouterr().err.startswith("No jobs can be worked on from /proc/lab/jobs-")
    monkeypatch.delenv("WERANK_STORE")
    settings.settings.cache_clear()
    assert main(["worker"]) == 1
    assert capsys.readouterr().err.strip() == (
        "The store's folder /proc/lab cannot be made: No such file or directory."
    )


def test_a_demo_refuses_in_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WERANK_DEMO", "1")
    settings.settings.cache_clear()
    for command in (SMALL, ["cancel", "0" * 16], ["worker"], ["retry", "0" * 16]):
        assert main(command) == 1
        assert "read-only demo" in capsys.readouterr().err
    assert main(["runs"]) == 0


def test_a_store_in_trouble_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 100)
    monkeypatch.setenv("WERANK_STORE", f"sqlite:///{tmp_path / 'notes.txt'}")
    settings.settings.cache_clear()
    assert main(["runs"]) == 1
    assert "not a database" in capsys.readouterr().err


def test_a_wrong_setting_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WERANK_SLOTS", "0")
    settings.settings.cache_clear()
    for command in (["runs"], ["worker"], SMALL, ["cancel", "0" * 16]):
        assert main(command) == 2
        assert capsys.readouterr().err.strip() == ("slots = '0' (WERANK_SLOTS): should be greater than or equal to 1.")


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
