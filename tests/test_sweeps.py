"""From a sweep to runs to batches."""

import pytest
from pydantic import ValidationError

from werank_core.config import ToySSLConfig, explain
from werank_core.sweeps import SweepSpec, batches, shape_key


def spec(**fields: object) -> SweepSpec:
    return SweepSpec.model_validate(
        {"experiment": "toy_ssl", "config": {}, "strengths": (0.1, 1.0), "seeds": 3, **fields}
    )


def toy_configs(made: SweepSpec) -> list[ToySSLConfig]:
    return [run.config for run in made.runs() if isinstance(run.config, ToySSLConfig)]


def problems(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        spec(**fields)
    return " ".join(explain(caught.value))


def test_the_baseline_is_always_there_and_strengths_are_sorted() -> None:
    assert spec(strengths=(1, 0.1, 1)).strengths == (0.0, 0.1, 1.0)


def test_runs_are_the_whole_grid_seed_by_seed() -> None:
    grid = spec(second_axis="depth", second_values=(1, 2))
    runs = grid.runs()
    assert len(runs) == 3 * 2 * 3
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert len({run.id for run in runs}) == len(runs)
    assert {config.depth for config in toy_configs(grid)} == {1, 2}


def test_runs_of_one_seed_share_their_seeds_across_strengths() -> None:
    first = [run.config for run in spec().runs()[:3]]
    assert {(c.model_seed, c.data_seed) for c in first} == {(0, 0)}
    assert {c.data_seed for c in (run.config for run in spec(vary_data=False).runs())} == {0}


def test_overlapping_sweeps_share_run_ids() -> None:
    small, large = ({run.id for run in spec(seeds=n).runs()} for n in (2, 4))
    assert small < large


def test_batches_agree_in_shape_and_respect_the_cap() -> None:
    runs = spec(second_axis="depth", second_values=(1, 2), seeds=5).runs()
    made = batches(runs, 4)
    assert sum(len(batch) for batch in made) == len(runs)
    assert all(len(batch) <= 4 and len(set(batch.column("depth"))) == 1 for batch in made)
    assert len(batches(spec(second_axis="augmentation_strength", second_values=(0.1, 1.0)).runs(), 100)) == 1


def test_batches_are_even_so_that_slots_end_together() -> None:
    assert [len(batch) for batch in batches(spec(seeds=7).runs(), 16)] == [11, 10]


def test_small_sweeps_use_every_slot_while_stacking_pays() -> None:
    assert [len(batch) for batch in batches(spec(seeds=4).runs(), slots=2)] == [6, 6]
    assert [len(batch) for batch in batches(spec(seeds=2).runs(), slots=4)] == [6]
    assert [len(batch) for batch in batches(spec(seeds=14).runs(), 20, slots=2)] == [11, 11, 10, 10]


def test_limits_and_nonsense_are_named() -> None:
    assert "at most 5,000" in problems(seeds=200, second_axis="depth", second_values=tuple(range(1, 33)))
    assert "second_axis = 'dataset'" in problems(second_axis="dataset", second_values=("digits",))
    assert "second_values: encoder = '1': should be 'linear' or 'relu'" in problems(
        second_axis="encoder", second_values=(1.0,)
    )
    assert "second_values: 'deep' is not a number" in problems(second_axis="depth", second_values=("deep",))
    assert "twice" in problems(second_axis="encoder", second_values=("relu", "relu"))
    assert "second_values: 1.5 is not a whole number" in problems(second_axis="depth", second_values=(1.5,))
    assert "depth = 99" in problems(second_axis="depth", second_values=(99,))
    assert "belong together" in problems(second_values=(1.0,))
    assert "unknown experiment" in problems(experiment="toy")
    assert "config.depth = 0" in problems(config={"depth": 0})
    assert "finite and not negative" in problems(strengths=(-1.0,))
    assert "finite and not negative" in problems(strengths=(float("inf"),))
    assert "twice" in problems(second_axis="depth", second_values=(2, 2))


@pytest.mark.parametrize(("axis", "values"), [("temperature", (0.1,)), ("encoder", ("linear", "relu"))])
def test_a_spec_survives_json(axis: str, values: tuple[float | str, ...]) -> None:
    original = spec(config=ToySSLConfig(objective="vicreg"), second_axis=axis, second_values=values)
    assert SweepSpec.model_validate_json(original.model_dump_json()) == original


def test_a_choice_as_second_axis_trains_each_of_its_values() -> None:
    grid = spec(second_axis="gram", second_values=("smaller", "input"), config={"penalty": "werank"}, seeds=1)
    assert [config.gram for config in toy_configs(grid) if config.strength] == ["smaller"] * 2 + ["input"] * 2
    assert len(batches(grid.runs(), 100)) == 2


@pytest.mark.parametrize("typed", [("linear", "ReLU"), ("Linear", "RELU"), (" linear", "relu ")])
def test_a_choice_may_be_typed_as_the_form_spells_it(typed: tuple[str, ...]) -> None:
    assert spec(second_axis="encoder", second_values=typed).second_values == ("linear", "relu")
    assert spec(second_axis="objective", second_values=("Barlow Twins",)).second_values == ("barlow_twins",)


def test_cost_is_keyed_on_shape_and_not_on_length_or_strength() -> None:
    from werank_core.experiments import experiment

    toy = experiment("toy_ssl")
    assert shape_key(toy, ToySSLConfig()) == shape_key(toy, ToySSLConfig(steps=9, strength=1.0, model_seed=4))
    assert shape_key(toy, ToySSLConfig()) != shape_key(toy, ToySSLConfig(width=32))
