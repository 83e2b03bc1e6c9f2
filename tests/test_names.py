"""Made names: short, what differs from the nearest preset, nothing that an axis overrules; typed names: one line."""

import pytest

from werank_core.experiments import EXPERIMENTS
from werank_core.names import MOST_CHARACTERS, distinctions, made_name, nearest_preset, one_line
from werank_core.sweeps import SweepSpec


def spec(experiment: str = "toy_ssl", /, **fields: object) -> SweepSpec:
    shared = {name: fields.pop(name) for name in list(fields) if name in SweepSpec.model_fields}
    return SweepSpec.model_validate({"experiment": experiment, "config": fields, "strengths": (0.1,), **shared})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_preset_as_it_is_has_its_title(name: str) -> None:
    of = EXPERIMENTS[name]
    for key, preset in of.presets.items():
        asked = SweepSpec.model_validate({"experiment": name, "config": preset.config, **of.sweep_fields(preset)})
        assert nearest_preset(asked) == key
        assert made_name(asked) == preset.title


def test_what_differs_is_said_in_few_words() -> None:
    assert made_name(spec(encoder="relu", augmentation_strength=1)) == "Digits · noise 1, ReLU"
    assert made_name(spec(normalize=False)) == "Digits · normalise off"
    assert made_name(spec("rank_collapse", dataset="cifar10", model="cnn", depth=3)) == "CIFAR-10 · CNN, depth 3"
    assert made_name(spec("graph", dataset="own", own_graph="friends")) == "friends"


def test_what_data_hold_tells_sweeps_apart_only_where_nothing_else_does() -> None:
    drawn, own = spec("graph"), spec("graph", dataset="own", own_graph="friends", data_digest="8f96040a1810c300")
    here, there = distinctions([drawn, own])
    assert here.startswith("block model, nodes 600")
    assert there == "your graph friends"
    other = spec("graph", dataset="own", own_graph="friends", data_digest="0123456789abcdef")
    assert distinctions([own, other]) == ["data 8f9604", "data 012345"]
    deeper = spec("graph", dataset="own", own_graph="friends", data_digest="0123456789abcdef", depth=3)
    assert distinctions([own, deeper]) == ["depth 2", "depth 3"]


def test_settings_without_effect_are_not_named() -> None:
    assert made_name(spec(objective="vicreg", temperature=9)) == "Digits · VICReg"


def test_an_axis_is_named_and_what_it_overrules_left_out() -> None:
    axis = {"second_axis": "depth", "second_values": (1, 2)}
    assert made_name(spec(depth=3, encoder="relu", **axis)) == "Digits over depth · ReLU"
    both = EXPERIMENTS["rank_collapse"].presets["both_knobs"]
    asked = {"experiment": "rank_collapse", "config": both.config, "strengths": (0.1,)}
    assert made_name(SweepSpec.model_validate(asked)) == "Both knobs · WERank α 0.01"


def test_a_long_name_ends_with_how_much_is_left_out() -> None:
    many = {"encoder": "relu", "depth": 2, "width": 128, "bias": True, "objective": "byol", "batch_size": 32,
            "learning_rate": 0.01, "steps": 40, "records": 3}  # fmt: skip
    name = made_name(spec(**many))
    told, _, more = name.partition(", …and ")
    assert len(told) <= MOST_CHARACTERS
    assert int(more.split()[0]) == len(many) - (told.count(",") + 1)


def test_a_typed_name_becomes_one_line_without_what_no_database_stores() -> None:
    assert one_line("  two\n\nlines\x00\ttab\ud800 ") == "two lines tab"
    assert one_line("rank ↑ 中文 👩\N{ZERO WIDTH JOINER}🔬") == "rank ↑ 中文 👩\N{ZERO WIDTH JOINER}🔬"
    assert one_line("safe\N{RIGHT-TO-LEFT OVERRIDE}gpj") == "safe gpj"
    assert spec(name="\x00\n").name == spec(name="\N{ZERO WIDTH JOINER} \N{ZERO WIDTH NON-JOINER}").name == ""
    with pytest.raises(ValueError, match="120"):
        spec(name="x" * 121)
