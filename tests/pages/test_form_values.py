"""What the form holds: a sweep's settings can be loaded, edits survive a reload, and the page says what they are of."""

from typing import Any

import pytest
import sqlalchemy as sa
from streamlit.testing.v1 import AppTest

from pages.components.form_values import MOST_CHARACTERS
from tests.pages.conftest import OpenPage, button_named, checked, words
from tests.pages.stores import finished_cleanly
from werank_core.experiments import EXPERIMENTS
from werank_core.settings import Settings
from werank_core.store import Store, queries
from werank_core.store.names import rename_sweep
from werank_core.store.runs import submit
from werank_core.store.schema import sweep
from werank_core.sweeps import SweepSpec

SAME = "The settings above are those of this sweep."


def typed(at: AppTest, **fields: str) -> AppTest:
    """Type into these fields of the toy form, opened where it is not."""
    if not at.toggle(key="toy_form_open").value:
        checked(at.toggle(key="toy_form_open").set_value(True).run())
    for name, text in fields.items():
        at.text_input(key=f"toy_field_{name}").set_value(text)
    return checked(at.run())


def form_address(at: AppTest) -> dict[str, Any]:
    """What the address says about the form."""
    return {name: value for name, value in at.query_params.items() if "_set_" in name or "_preset" in name}


def submitted(store: Store) -> SweepSpec:
    """The newest sweep's settings."""
    return queries.sweep_spec(store, queries.sweeps(store)["sweep_id"].iloc[0])


SWEEPS: list[dict[str, Any]] = [
    {"experiment": "toy_ssl", "config": {"depth": 2, "objective": "vicreg"}, "strengths": (0.1, 1 / 3), "seeds": 2},
    {"experiment": "toy_ssl", "config": {"dataset": "mixture", "bias": True}, "strengths": (1e-05,), "first_seed": 7},
    {
        "experiment": "toy_ssl",
        "config": {"alpha_schedule": "explicit", "alpha_weights": (1, 0.5, 0, 2), "data_seed": 3},
        "strengths": (0.1,),
        "vary_data": False,
        "second_axis": "learning_rate",
        "second_values": (0.001, 0.01),
        "name": "given by hand",
    },
    {"experiment": "graph", "config": {"dataset": "karate_club", "norm": "none"}, "strengths": (0.1,), "seeds": 1},
    {"experiment": "rank_collapse", "config": {"loss": "squared"}, "strengths": (0.02,), "seeds": 1},
    *({"experiment": name, "config": preset.config, **of.sweep_fields(preset)}
      for name, of in EXPERIMENTS.items() for preset in [*of.presets.values()][:1] + [*of.presets.values()][-1:]
      if name != "graph"),
]  # fmt: skip
PAGES = {"toy_ssl": ("toy", "toy"), "graph": ("graph", "graph"), "rank_collapse": ("rank_collapse", "collapse")}


@pytest.mark.parametrize("asked", SWEEPS, ids=range(len(SWEEPS)))
def test_the_settings_of_a_sweep_are_loaded_whole(open_page: OpenPage, store: Store, asked: dict[str, Any]) -> None:
    spec = SweepSpec.model_validate(asked)
    sweep_id = submit(store, spec).sweep_id
    submit(store, spec.model_copy(update={"seeds": spec.seeds + 1}))
    script, prefix = PAGES[spec.experiment]
    at = open_page(f"pages/{script}.py", **{f"{prefix}_sweep": sweep_id})
    if SAME not in words(at):
        checked(button_named(at, "Use these settings").click().run())
    assert SAME in words(at)
    assert f"No new runs: all {spec.num_runs} are trained or in training." in words(at)
    again = open_page(f"pages/{script}.py", **at.query_params)
    assert SAME in words(again)
    checked(again.button(key=f"{prefix}_run").click().run())
    assert again.session_state[f"{prefix}_sweep"] == sweep_id
    assert len(queries.sweeps(store)) == 2


def test_what_is_loaded_is_marked_as_a_change_from_the_nearest_preset(open_page: OpenPage, store: Store) -> None:
    submit(store, SweepSpec.model_validate(SWEEPS[1]))
    at = open_page("pages/toy.py")
    checked(button_named(at, "Use these settings").click().run())
    assert at.segmented_control(key="toy_preset").value == "mixture"
    assert at.toggle(key="toy_form_open").label == "All settings (6 changed)"
    checked(at.toggle(key="toy_form_open").set_value(True).run())
    marked = {box.label.split(" :blue")[0] for box in (*at.text_input, *at.toggle) if "●" in box.label}
    assert marked == {"Strengths α", "First seed", "Samples (rows)", "Dimension", "Bias", "Width (units)"}
    assert at.text_input(key="toy_field_strengths").value == "0, 1e-05"


def test_edits_stand_in_the_address_and_survive_a_reload(open_page: OpenPage, store: Store) -> None:
    at = typed(open_page("pages/toy.py"), depth="2", strengths="0.1, much", seeds="")
    checked(at.selectbox(key="toy_field_objective").set_value("byol").run())
    checked(at.toggle(key="toy_field_bias").set_value(True).run())
    checked(at.text_input(key="toy_field_width").set_value("64.0").run())
    expected = {
        "toy_preset": "digits", "toy_set_depth": "2", "toy_set_strengths": "0.1, much", "toy_set_seeds": "",
        "toy_set_objective": "byol", "toy_set_bias": "on",
    }  # fmt: skip
    assert form_address(at) == expected
    again = typed(open_page("pages/toy.py", **at.query_params))
    assert again.text_input(key="toy_field_strengths").value == "0.1, much"
    assert again.text_input(key="toy_field_depth").value == "2"
    assert again.text_input(key="toy_field_seeds").value == ""
    assert again.selectbox(key="toy_field_objective").value == "byol"
    assert again.toggle(key="toy_field_bias").value
    assert sorted(error.value for error in again.error) == [
        "Seeds is empty. Give a whole number 1 to 200.",
        "Strengths α: 'much' is not a number. Separate numbers by commas.",
    ]
    checked(again.segmented_control(key="toy_preset").set_value("mixture").run())
    assert form_address(again) == {"toy_preset": "mixture"}
    checked(again.segmented_control(key="toy_preset").set_value("digits").run())
    assert form_address(again) == {}


HOSTILE: dict[str, tuple[str, str]] = {
    "depth": ("<b>2</b>", "Depth: '\\<b\\>2\\</b\\>' is not a whole number."),
    "width": ("9" * 400, "is too large"),
    "steps": ("1e400", "Steps: '1e400' is not a whole number."),
    "learning_rate": ("-inf", "Learning rate: '-inf' is not a finite number."),
    "temperature": ("nan", "Temperature: 'nan' is not a finite number."),
    "seeds": ("\x00", "Seeds is empty."),
    "strengths": (",,,", "Strengths α is empty."),
    "first_seed": ("-1", "First seed: -1 is too small. Allowed: 0 to 1,000,000."),
    "second_values": ("1, 2", "Second axis and Values of the second axis belong together"),
    "objective": ("simclr", "The address sets Objective to simclr, which is not one of infonce, grace, byol,"),
    "bias": ("maybe", "The address sets Bias to maybe, which is not one of on, off."),
    "second_axis": ("dataset", "The address sets Second axis to dataset, which is not one of none,"),
    "depht": ("2", "The address sets depht, which is no setting here."),
    "strength": ("2", "The address sets strength, which is no setting here."),
    "![x](http://x.example/y.png)": ("2", "The address sets !\\[x\\](http:\N{WORD JOINER}//x.example/y.png)"),
    "name": ("n" * (MOST_CHARACTERS + 1), "The address sets Name to a text of 2,001 characters, which is left out."),
}


@pytest.mark.parametrize("field", HOSTILE)
def test_what_a_stranger_puts_into_an_address_is_told_and_breaks_nothing(open_page: OpenPage, field: str) -> None:
    text, sentence = HOSTILE[field]
    at = open_page("pages/toy.py", **{f"toy_set_{field}": text})
    told = [element.value for element in (*at.error, *at.warning)]
    assert len(told) == 1
    assert sentence in told[0]
    typed(at)
    assert len(form_address(at).get(f"toy_set_{field}", "")) <= MOST_CHARACTERS


def test_a_name_that_is_too_long_is_told_and_kept(open_page: OpenPage) -> None:
    at = typed(open_page("pages/toy.py", toy_set_name="n" * 150))
    (error,) = at.error
    assert error.value.startswith("Name: 'nnnn")
    assert error.value.endswith("should have at most 120 characters.")
    assert at.text_input(key="toy_field_name").value == "n" * 150


def test_a_setting_without_effect_that_is_wrong_blocks_nothing(open_page: OpenPage, store: Store) -> None:
    at = typed(open_page("pages/toy.py"), temperature="hot")
    assert len(at.error) == 1
    checked(at.selectbox(key="toy_field_objective").set_value("vicreg").run())
    assert not at.error
    assert at.toggle(key="toy_form_open").label == "All settings (1 changed)"
    checked(button_named(at, "Run sweep").click().run())
    assert submitted(store).config.objective == "vicreg"
    checked(at.selectbox(key="toy_field_objective").set_value("infonce").run())
    assert at.text_input(key="toy_field_temperature").value == "hot"


def test_the_page_says_when_the_picture_is_not_of_the_settings(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store, name="*mine*", objective="byol")
    at = open_page("pages/toy.py")
    (line,) = [caption.value for caption in at.caption if "This picture is of" in caption.value]
    assert line.startswith("This picture is of **\\*mine\\***. The settings above differ: ")
    assert "InfoNCE" in line
    assert "BYOL" in line
    checked(at.segmented_control(key="toy_preset").set_value("mixture").run())
    assert "This picture is of **\\*mine\\***." in words(at)
    typed(at, depth="")
    assert "The settings above have to be corrected first." in words(at)
    checked(button_named(at, "Use these settings").click().run())
    assert SAME in words(at)
    assert not at.error


def test_a_sweep_of_older_code_says_that_running_it_trains_it_anew(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store)
    with store.writing() as connection:
        connection.execute(sa.update(sweep).values(code_version="older"))
    at = open_page("pages/toy.py")
    checked(button_named(at, "Use these settings").click().run())
    assert f"{SAME} It was trained by older code: *Run sweep* trains it anew." in words(at)


def test_only_new_runs_are_announced_and_paid(open_page: OpenPage, store: Store, started: list[Settings]) -> None:
    finished_cleanly(store, seeds=3)
    at = open_page("pages/toy.py")
    checked(button_named(at, "Use these settings").click().run())
    assert "No new runs: all 9 are trained or in training." in words(at)
    typed(at, seeds="5")
    assert "6 of 15 runs are new, about " in words(at)
    typed(at, width="16")
    assert "15 runs, about " in words(at)
    checked(button_named(at, "Run sweep").click().run())
    assert len(queries.runs(store)) == 9 + 15


def test_a_shape_never_trained_is_priced_where_its_experiment_was(open_page: OpenPage, store: Store) -> None:
    assert "40 runs, first run here: time unknown" in words(open_page("pages/toy.py"))
    finished_cleanly(store)
    assert "40 runs, about " in words(open_page("pages/toy.py"))
    assert "first run here: time unknown" in words(open_page("pages/graph.py"))


def test_a_sweep_is_renamed_and_named_back(open_page: OpenPage, store: Store) -> None:
    sweep_id = finished_cleanly(store, name="first")
    at = open_page("pages/toy.py")
    for name, expected in (("  second\n", "second"), ("", "Digits · depth 2, width 8, steps 40, records 4")):
        at.text_input(key=f"toy_rename_{sweep_id}").set_value(name)
        checked(button_named(at, "Keep this name").click().run())
        assert queries.sweeps(store)["name"].tolist() == [expected]
        assert at.selectbox(key="toy_sweep").options[0].startswith(f"{expected} · ")
        assert at.text_input(key=f"toy_rename_{sweep_id}").value == expected


def test_a_name_typed_for_a_sweep_that_exists_renames_it(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store, name="first")
    at = open_page("pages/toy.py")
    checked(button_named(at, "Use these settings").click().run())
    checked(button_named(typed(at, name="second"), "Run sweep").click().run())
    assert queries.sweeps(store)["name"].tolist() == ["second"]


def test_namesakes_are_told_apart_by_what_differs_then_by_time_then_by_id(open_page: OpenPage, store: Store) -> None:
    ids = [finished_cleanly(store, name="same", **changes) for changes in ({}, {"seeds": 2}, {"depth": 3, "seeds": 2})]
    labels = open_page("pages/toy.py").selectbox(key="toy_sweep").options
    assert [label.split(" · ")[0] for label in labels] == [
        "same (depth 3, 2 seeds)", "same (depth 2, 2 seeds)", "same (depth 2, 3 seeds)",
    ]  # fmt: skip
    many = [finished_cleanly(store, name="x", depth=1, steps=number) for number in range(1, 14)]
    labels = open_page("pages/toy.py").selectbox(key="toy_sweep").options
    assert len(set(labels)) == len(many) + len(ids)
    rename_sweep(store, ids[0], "another")
    assert any(label.startswith("another · ") for label in open_page("pages/toy.py").selectbox(key="toy_sweep").options)


def test_the_box_says_nothing_of_the_state_of_the_sweep_whose_strip_does(open_page: OpenPage, store: Store) -> None:
    first, second = (submit(store, SweepSpec.model_validate(SWEEPS[place])).sweep_id for place in (0, 1))
    at = open_page("pages/toy.py", toy_sweep=first)
    labels = dict(zip((second, first), at.selectbox(key="toy_sweep").options, strict=True))
    assert "queued" not in labels[first]
    assert "queued" in labels[second]
