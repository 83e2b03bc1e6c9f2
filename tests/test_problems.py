"""What is wrong with settings: the same problems by option name and by label, each at the field it belongs to."""

import pytest
from pydantic import ValidationError

from werank_core.config import GraphConfig, Problem, ToySSLConfig, explain, problems
from werank_core.sweeps import SweepSpec

FIELDS = {**ToySSLConfig.model_fields, **SweepSpec.model_fields}
LABELS = {
    "strengths": "Strengths",
    "second_values": "Values",
    "second_axis": "Axis",
    "seeds": "Seeds",
    "depth": "Depth",
    "learning_rate": "Learning rate",
    "signal_dimension": "Signal dimension",
    "dimension": "Dimension",
    "alpha_weights": "Layer weights",
}


def refused(config: dict[str, object] | None = None, /, **fields: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        SweepSpec.model_validate(
            {"experiment": "toy_ssl", "config": config or {}, "strengths": (0.1,), "seeds": 1} | fields
        )
    return caught.value


def told(error: ValidationError) -> list[Problem]:
    return problems(error, FIELDS, LABELS)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"depth": 0}, "Depth: 0 is too small. Allowed: 1 to 32."),
        ({"depth": 2.5}, "Depth: 2.5 is not a whole number. Allowed: 1 to 32."),
        ({"depth": "two"}, "Depth: 'two' is not a whole number. Allowed: 1 to 32."),
        ({"depth": ""}, "Depth is empty. Give a whole number 1 to 32."),
        ({"depth": None}, "Depth is empty. Give a whole number 1 to 32."),
        ({"depth": 10**200}, f"Depth: 1{'0' * 59}… is too large. Allowed: 1 to 32."),
        ({"learning_rate": "nan"}, "Learning rate: 'nan' is not a finite number. Allowed: above 0, at most 10."),
        ({"learning_rate": "1e400"}, "Learning rate: '1e400' is not a finite number. Allowed: above 0, at most 10."),
        ({"learning_rate": 0.0}, "Learning rate: 0 is too small. Allowed: above 0, at most 10."),
    ],
)
def test_one_value_names_its_label_and_what_is_allowed(config: dict[str, object], sentence: str) -> None:
    (problem,) = told(refused(config))
    assert problem == Problem((next(iter(config)),), sentence)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"strengths": ("0.1", "much")}, "Strengths: 'much' is not a number. Separate numbers by commas."),
        ({"strengths": ()}, "Strengths is empty. Give one or more numbers, separated by commas."),
        ({"strengths": (float("inf"),)}, "Strengths: every strength must be finite and not negative."),
        ({"strengths": (1e5,)}, "Strengths: 100000 is too large. Allowed: 0 to 10,000."),
        ({"seeds": 0}, "Seeds: 0 is too small. Allowed: 1 to 200."),
    ],
)
def test_a_list_is_told_at_the_list(fields: dict[str, object], sentence: str) -> None:
    (problem,) = told(refused(**fields))
    assert problem == Problem((next(iter(fields)),), sentence)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((1.0, 99.0), "Values: 99 is too large. Allowed: 1 to 32."),
        ((2.0, 2.0), "Values: a value is there twice."),
        ((float("inf"),), "Values: every value must be finite."),
        ((float("nan"),), "Values: every value must be finite."),
        ((float("9" * 400),), "Values: every value must be finite."),
        ((1e300,), f"Values: {10**300!r:.60}… is too large. Allowed: 1 to 32."),
        ((1.5,), "Values: 1.5 is not a whole number."),
        ((), "Axis and Values belong together: give both or neither."),
    ],
)
def test_second_values_are_corrected_where_they_stand(values: tuple[float, ...], sentence: str) -> None:
    (problem,) = told(refused(second_axis="depth", second_values=values))
    assert problem.sentence == sentence.replace(f"{10**300!r:.60}", repr(int(1e300))[:60])
    assert "second_values" in problem.fields


@pytest.mark.parametrize(
    ("axis", "values", "sentence"),
    [
        (
            "objective",
            ("byol", "simclr"),
            "Values: simclr is not one of InfoNCE, GRACE, BYOL, BGRL, SimSiam, SwAV, VICReg, Barlow Twins, "
            "Weak-SIGReg, SIGReg.",
        ),
        ("encoder", (1.0,), "Values: 1 is not one of linear, ReLU."),
        ("encoder", ("ReLU", "relu"), "Values: a value is there twice."),
        ("depth", ("deep",), "Values: 'deep' is not a number."),
    ],
)
def test_second_values_of_a_choice_are_told_as_the_form_spells_them(
    axis: str, values: tuple[float | str, ...], sentence: str
) -> None:
    (problem,) = told(refused(second_axis=axis, second_values=values))
    assert problem.sentence == sentence


def test_a_choice_in_a_sentence_is_spelled_as_the_form_does() -> None:
    config = GraphConfig.model_validate({"dataset": "cora"})
    with pytest.raises(ValidationError) as caught:
        config.replaced(splits="own", probe_protocol="bgrl")
    labels = {"splits": "Splits", "probe_protocol": "Probe protocol"}
    told_by_label = [problem.sentence for problem in problems(caught.value, GraphConfig.model_fields, labels)]
    assert not any("'" in sentence or "_" in sentence for sentence in told_by_label), told_by_label
    assert "'" in next(explain(caught.value)), "the command line takes identifiers"


def test_a_strength_that_is_refused_beside_an_axis_is_no_second_value() -> None:
    (problem,) = told(refused(strengths=(1e5,), second_axis="depth", second_values=(1, 2)))
    assert problem.fields == ("strengths",)


def test_fields_that_do_not_fit_together_are_both_named() -> None:
    error = refused({"dataset": "mixture", "dimension": 4})
    (problem,) = told(error)
    assert problem == Problem(("signal_dimension", "dimension"), "Signal dimension = 8 must be at most Dimension = 4.")
    assert list(explain(error)) == ["signal_dimension = 8 must be at most dimension = 4."]


def test_several_problems_are_told_at_once() -> None:
    found = told(refused({"depth": 0, "learning_rate": -1}, seeds=0))
    assert {problem.fields for problem in found} == {("depth",), ("learning_rate",), ("seeds",)}


def test_the_command_line_keeps_option_names() -> None:
    error = refused(second_axis="depth", second_values=(99,))
    assert list(explain(error)) == ["second_values: depth = 99: should be less than or equal to 32."]
    assert len(next(explain(refused({"depth": "9" * 400})))) < 200
