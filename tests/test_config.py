"""Configs: bounds, identity, which fields have an effect, and what an error says."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from werank_core.config import (
    TOY_PRESETS,
    ExperimentConfig,
    GraphConfig,
    RankCollapseConfig,
    ToySSLConfig,
    explain,
    trait,
)
from werank_core.experiments import EXPERIMENTS, code_version, experiment


def problems(**fields: object) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        ToySSLConfig(**fields)
    return list(explain(caught.value))


@pytest.mark.parametrize("config_class", [e.config_class for e in EXPERIMENTS.values()])
def test_every_field_has_a_group_and_a_line_of_help(config_class: type[ExperimentConfig]) -> None:
    for name, field in config_class.model_fields.items():
        assert trait(field, "group"), name
        assert field.description, name
        assert field.description.endswith("."), name


def test_an_error_names_field_value_and_bound() -> None:
    assert problems(depth=0) == ["depth = 0: should be greater than or equal to 1."]
    assert problems(temperature=0.0) == ["temperature = 0.0: should be greater than 0."]
    assert "'vicrag'" in problems(objective="vicrag")[0]
    assert problems(depht=3) == ["depht is not a field of this config."]
    assert problems(learning_rate=float("nan"))[0].startswith("learning_rate = nan")


def test_fields_that_do_not_fit_together_are_named() -> None:
    assert problems(dataset="mixture", dimension=4, signal_dimension=8) == [
        "signal_dimension = 8 must be at most dimension = 4."
    ]
    assert "depth = 4 needs 4" in problems(alpha_schedule="explicit", alpha_weights=(1.0,))[0]


def test_identity_ignores_fields_without_effect() -> None:
    base = ToySSLConfig()
    assert base.digest() == base.replaced(momentum=0.5).digest(), "momentum of Adam has no effect"
    assert base.digest() != base.replaced(learning_rate=0.01).digest()
    assert base.digest() != base.replaced(model_seed=1).digest()
    assert base.digest("a") != base.digest("b")


@pytest.mark.parametrize(
    ("config_class", "fields", "words"),
    [
        (ToySSLConfig, {"dataset": "mixture", "num_samples": 64, "num_classes": 23}, "more than the 22 rows"),
        (ToySSLConfig, {"dataset": "gaussian", "num_classes": 17, "evaluation_rows": 16}, "more than the 16 rows"),
        (
            GraphConfig,
            {"num_classes": 17, "evaluation_rows": 16},
            "evaluation_rows = 16 is fewer than num_classes = 17",
        ),
        (RankCollapseConfig, {"evaluation_rows": 4}, "evaluation_rows = 4 is fewer than the 5 classes"),
        (
            RankCollapseConfig,
            {"clusters": "kmeans", "num_clusters": 9, "evaluation_rows": 8},
            "evaluation_rows = 8 is fewer than num_clusters = 9",
        ),
        (RankCollapseConfig, {"batch_norm": True, "batch_size": 1}, "batch_size = 1: batch_norm needs two"),
    ],
)
def test_what_would_fail_in_training_is_refused(config_class: type, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config_class(**fields)
    assert words in " ".join(explain(caught.value))


def test_negative_zero_is_zero() -> None:
    """It was another run, trained anew."""
    for config_class in (ToySSLConfig, GraphConfig, RankCollapseConfig):
        for value in (-0.0, "-0", "-0.0"):
            config = config_class.model_validate({"strength": value})
            assert math.copysign(1, config.strength) == 1
            assert config.digest() == config_class().digest()
    assert GraphConfig(weight_decay=-0.0).digest() == GraphConfig(weight_decay=0.0).digest()


def test_configs_are_frozen_and_replaced_copies_are_validated() -> None:
    config = ToySSLConfig()
    for name, value in config.model_dump().items():
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, name, value)
    with pytest.raises(ValidationError):
        ToySSLConfig().replaced(depth=-1)


def test_presets_are_the_two_classic_cases_and_real_data_first() -> None:
    assert next(iter(TOY_PRESETS)) == "digits"


def test_the_classic_presets_are_the_toy_tasks_of_their_source() -> None:
    """case_1.py and case_2.py of facebookresearch/directclr, value by value; ours differ in one of them."""
    strong, over = TOY_PRESETS["strong_augmentation"][1], TOY_PRESETS["over_parametrised"][1]
    for config in (strong, over):
        assert (config.dataset, config.dimension, config.width, config.encoder) == ("gaussian", 16, 16, "linear")
        assert (config.objective, *config.settings_of("objective").values()) == (
            "infonce",
            0.1,
            False,
            False,
        )
        assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0, 0)
        assert (config.batch_size, config.steps, 2 * config.num_samples // 3) == (128, 10_000, 10_000)
        assert config.projector_depth == 0
    assert (strong.depth, strong.bias, strong.init, strong.learning_rate) == (1, True, "default", 1e-3)
    assert (strong.augmentation_strength, strong.augmented_fraction) == (1.5, 0.5)
    assert (over.depth, over.bias, over.init, over.learning_rate) == (2, False, "aligned", 1e-2)
    assert (over.augmentation_strength, over.augmented_fraction) == (0.001, 1.0)
    assert TOY_PRESETS["over_parametrised_haar"][1] == over.replaced(init="decaying")
    assert TOY_PRESETS["strong_augmentation_no_bias"][1] == strong.replaced(bias=False)


def test_registry_names_what_it_has() -> None:
    with pytest.raises(KeyError, match="toy_ssl"):
        experiment("toy")
    assert code_version() == code_version()
    assert all(e.focus in e.default_strengths for e in EXPERIMENTS.values())
