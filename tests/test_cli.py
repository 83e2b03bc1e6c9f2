"""The command line: same schema, same store, errors in one line."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from werank_core import cli, cli_sweep, settings
from werank_core.cli import main
from werank_core.cli_sweep import duration
from werank_core.experiments import EXPERIMENTS
from werank_core.settings import Settings
from werank_core.store import Store, open_store, queries, queue
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


def finish_all(store: Store, outcome: RunState = RunState.FINISHED) -> None:
    """Train nothing: record known numbers for every waiting job."""
    while claimed := queue.claim(store, "test"):
        queue.started_on(store, claimed, "cpu")
        values = np.arange(len(claimed.run_ids)) + 1.0
        for step in (0, 10):
            sizes = {"test/measured_rows": 0 * values + 34, "test/representation_width": 0 * values + 64}
            record = {"test/loss": values, "test/effective_rank": values + step, **sizes}
            StoreSink(store, claimed).write(step, record, {})
        queue.finish(store, claimed, outcome, seconds=1.0)


def one_sweep(store: Store) -> pd.Series:
    table = queries.sweeps(store)
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--depth", "99"], ["depth = '99'", "less than or equal to 32"]),
        (["--depth", "two"], ["depth = 'two'", "valid integer"]),
        (["--objective", "simclr"], ["objective = 'simclr'", "'infonce', 'byol', 'vicreg' or 'barlow_twins'"]),
        (["--seeds", "0"], ["seeds = '0'", "greater than or equal to 1"]),
        (["--strengths", "0.1", "x"], ["strengths.1 = 'x'", "valid number"]),
        (["--strengths", "-1"], ["strength", "not negative"]),
        (["--second_axis", "depht", "--second_values", "1"], ["second_axis = 'depht'", "depth"]),
        (["--second_axis", "depth"], ["second_axis and second_values belong together"]),
        (["--second_axis", "depth", "--second_values", "1", "99"], ["depth", "99"]),
        (["--preset", "nothing"], ["preset = 'nothing'", "'over_parametrised'"]),
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
            if name not in ("strength", "model_seed", "data_seed"):
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
    assert spec.config == EXPERIMENTS["toy_ssl"].config_class(objective="vicreg", depth=2, steps=10, bias=True)
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
    assert "effective rank, test rows, of at most 34 " in said
    assert "strength" in said
    assert main(SMALL) == 0
    assert "about 1 s" in capsys.readouterr().err
    assert main([*SMALL, "--first_seed", "5", "--detach"]) == 0


def test_a_failed_run_is_told_by_the_exit_code(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_sweep, "ensure_supervisor", lambda _: finish_all(store, RunState.FAILED))
    assert main(SMALL) == 1


def test_ctrl_c_leaves_it_running_and_says_how_to_stop_it(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_sweep.time, "sleep", interrupt)
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


def test_export_writes_what_was_measured(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--detach"])
    finish_all(store)
    sweep_id = one_sweep(store)["sweep_id"]
    expected = queries.final_metrics(store, sweep_ids=[sweep_id])
    readers = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}
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
    assert main(["export", sweep_id, "--out", str(tmp_path / "no" / "such" / "x.csv")]) == 2
    assert "cannot be written" in capsys.readouterr().err


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
    assert main(["runs"]) == 2
    assert "slots = '0'" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
