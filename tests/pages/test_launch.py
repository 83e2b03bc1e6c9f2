"""The form and the button: what a person types is checked before anything is queued, and queued exactly once."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import OpenPage, button_named, checked, words
from tests.pages.stores import finished_cleanly
from werank_core.settings import Settings
from werank_core.store import Store, queries
from werank_core.sweeps import SweepSpec


def opened(open_page: OpenPage, **query: Any) -> AppTest:
    """The toy page with its form open."""
    at = open_page("pages/toy.py", **query)
    return checked(at.toggle(key="toy_form_open").set_value(True).run())


def small(at: AppTest) -> AppTest:
    """Three strengths, two seeds, few steps."""
    at.text_input(key="toy_field_steps").set_value("40")
    at.text_input(key="toy_field_seeds").set_value("2")
    at.text_input(key="toy_field_strengths").set_value("0.1, 1")
    return checked(at.run())


def below(at: AppTest, key: str) -> list[str]:
    """The errors in the place of this field."""
    (place,) = [c for c in at.get("column") if key in [getattr(w, "key", None) for w in c.children.values()]]
    return [str(error.value) for error in place.error]


def run_button(at: AppTest) -> Any:
    return button_named(at, "Run sweep")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("depth", "0", "Depth: 0 is too small. Allowed: 1 to 32."),
        ("depth", "2.5", "Depth: 2.5 is not a whole number. Allowed: 1 to 32."),
        ("depth", "", "Depth is empty. Give a whole number 1 to 32."),
        ("width", "9999", "Width: 9999 is too large. Allowed: 1 to 2,048."),
        ("width", "9" * 400, f"Width: '{'9' * 59}… is too large. Allowed: 1 to 2,048."),
        ("learning_rate", "1e400", "Learning rate: '1e400' is not a finite number. Allowed: above 0, at most 10."),
        ("learning_rate", "nan", "Learning rate: 'nan' is not a finite number. Allowed: above 0, at most 10."),
        ("seeds", "0", "Seeds: 0 is too small. Allowed: 1 to 200."),
        ("strengths", "", "Strengths α is empty. Give one or more numbers, separated by commas."),
        ("strengths", "0.1 1", "Strengths α: '0.1 1' is not a number. Separate numbers by commas."),
        ("strengths", "0.1, inf", "Strengths α: every strength must be finite and not negative."),
        ("strengths", "-1", "Strengths α: every strength must be finite and not negative."),
    ],
)
def test_what_is_not_allowed_is_said_at_the_field_and_nothing_typed_is_lost(
    open_page: OpenPage, store: Store, started: list[Settings], field: str, value: str, sentence: str
) -> None:
    at = opened(open_page)
    checked(at.text_input(key=f"toy_field_{field}").set_value(value).run())
    assert [error.value for error in at.error] == [sentence]
    assert at.text_input(key=f"toy_field_{field}").value == value
    assert below(at, f"toy_field_{field}") == [sentence]
    assert run_button(at).disabled
    assert "Correct the settings under " in words(at)
    assert queries.sweeps(store).empty
    assert started == []


def test_text_that_is_no_number_is_named_and_survives_closing_the_form(open_page: OpenPage) -> None:
    at = opened(open_page)
    checked(at.text_input(key="toy_field_strengths").set_value("0.1, much").run())
    assert "'much'" in at.error[0].value
    checked(at.toggle(key="toy_form_open").set_value(False).run())
    assert "'much'" in at.error[0].value
    checked(at.toggle(key="toy_form_open").set_value(True).run())
    assert at.text_input(key="toy_field_strengths").value == "0.1, much"


def test_fields_that_do_not_fit_together_are_explained(open_page: OpenPage) -> None:
    at = opened(open_page, toy_preset="Mixture")
    checked(at.text_input(key="toy_field_dimension").set_value("4").run())
    (error,) = at.error
    assert error.value == "Signal dimension = 8 must be at most Dimension = 4."
    assert below(at, "toy_field_signal_dimension") == [error.value]


def test_a_change_is_marked_at_once_and_counted(open_page: OpenPage) -> None:
    at = opened(open_page)
    assert at.toggle(key="toy_form_open").label == "All settings"
    checked(at.text_input(key="toy_field_depth").set_value("2").run())
    assert "●" in at.text_input(key="toy_field_depth").label
    assert at.toggle(key="toy_form_open").label == "All settings (1 changed)"


def test_another_preset_resets_the_form(open_page: OpenPage) -> None:
    at = opened(open_page)
    checked(at.text_input(key="toy_field_depth").set_value("2").run())
    checked(at.segmented_control(key="toy_preset").set_value("over_parametrised").run())
    assert at.text_input(key="toy_field_steps").value == "10000"
    assert at.selectbox(key="toy_field_dataset").value == "gaussian"
    checked(at.segmented_control(key="toy_preset").set_value("digits").run())
    assert at.text_input(key="toy_field_depth").value == "4"
    assert at.toggle(key="toy_form_open").label == "All settings"


def test_fields_without_effect_are_not_drawn(open_page: OpenPage) -> None:
    at = opened(open_page)
    drawn = {str(box.key) for box in at.text_input}
    assert "toy_field_temperature" in drawn
    assert "toy_field_invariance_weight" not in drawn
    checked(at.selectbox(key="toy_field_objective").set_value("vicreg").run())
    drawn = {str(box.key) for box in at.text_input}
    assert "toy_field_temperature" not in drawn
    assert "toy_field_invariance_weight" in drawn


def test_the_button_submits_exactly_the_runs_it_announces(
    open_page: OpenPage, store: Store, started: list[Settings]
) -> None:
    at = small(opened(open_page))
    assert "6 runs, first run here: time unknown" in words(at)
    checked(run_button(at).click().run())
    (sweep,) = queries.sweeps(store).to_dict("records")
    assert (sweep["num_runs"], sweep["queued"]) == (6, 6)
    spec = queries.sweep_spec(store, sweep["sweep_id"])
    assert (spec.strengths, spec.seeds, spec.config.num_steps) == ((0.0, 0.1, 1.0), 2, 40)
    assert started
    assert at.session_state["toy_sweep"] == sweep["sweep_id"]
    assert button_named(at, "Cancel")


def test_submitting_twice_trains_nothing_twice(open_page: OpenPage, store: Store) -> None:
    at = small(opened(open_page))
    checked(run_button(at).click().run())
    jobs = queries.machine(store).queued_jobs
    checked(run_button(at).click().run())
    assert len(queries.sweeps(store)) == 1
    assert len(queries.runs(store)) == 6
    assert queries.machine(store).queued_jobs == jobs


def test_a_sweep_that_is_trained_already_starts_nobody(
    open_page: OpenPage, store: Store, started: list[Settings]
) -> None:
    finished_cleanly(store, seeds=2)
    at = opened(open_page)
    for field, value in {"records": "4", "depth": "2", "width": "8"}.items():
        at.text_input(key=f"toy_field_{field}").set_value(value)
    small(at)
    checked(run_button(at).click().run())
    assert queries.machine(store).queued_jobs == 0
    assert len(queries.runs(store)) == 6
    assert started == []


def test_a_second_axis_multiplies_the_runs(open_page: OpenPage, store: Store) -> None:
    at = small(opened(open_page))
    checked(at.selectbox(key="toy_field_second_axis").set_value("depth").run())
    assert at.error[0].value == "Second axis and Values of the second axis belong together: give both or neither."
    checked(at.text_input(key="toy_field_second_values").set_value("1, 2").run())
    assert "12 runs" in words(at)
    checked(run_button(at).click().run())
    runs = queries.runs(store)
    assert sorted(runs["second_value"].unique()) == [1, 2]
    assert len(runs) == 12


def test_a_bad_second_value_names_the_field(open_page: OpenPage) -> None:
    at = small(opened(open_page))
    at.selectbox(key="toy_field_second_axis").set_value("depth")
    checked(at.text_input(key="toy_field_second_values").set_value("1, 99").run())
    sentence = "Values of the second axis: 99 is too large. Allowed: 1 to 32."
    assert below(at, "toy_field_second_values") == [at.error[0].value] == [sentence]


def test_the_cost_is_predicted_from_step_times_measured_here(open_page: OpenPage, store: Store) -> None:
    finished_cleanly(store, seeds=2)
    at = opened(open_page)
    for field, value in {"depth": "2", "width": "8"}.items():
        at.text_input(key=f"toy_field_{field}").set_value(value)
    small(at)
    spec = SweepSpec.model_validate(
        {
            "experiment": "toy_ssl",
            "config": {"steps": 40, "depth": 2, "width": 8},
            "strengths": (0.1, 1.0),
            "seeds": 2,
        }
    )
    assert queries.predicted_seconds(store, spec) == pytest.approx(2.0)
    assert "6 runs, about " in words(at)


def test_cancel_keeps_what_finished(open_page: OpenPage, store: Store) -> None:
    at = small(opened(open_page))
    checked(run_button(at).click().run())
    checked(button_named(at, "Cancel").click().run())
    assert queries.sweeps(store)["cancelled"].tolist() == [6]
    assert "Nothing is running here." in words(at)
    assert not [button for button in at.button if button.label == "Cancel"]


def test_very_small_strengths_come_through_the_form_unchanged(open_page: OpenPage) -> None:
    at = opened(open_page)
    checked(at.text_input(key="toy_field_strengths").set_value("1e-05, 0.3").run())
    checked(at.toggle(key="toy_form_open").set_value(False).run())
    checked(at.toggle(key="toy_form_open").set_value(True).run())
    assert at.text_input(key="toy_field_strengths").value == "1e-05, 0.3"
    assert not at.error
    assert "15 runs" in words(at)
