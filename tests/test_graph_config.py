"""The graph experiment's config: its presets, what identifies a run, and what it refuses."""

import pytest
from pydantic import ValidationError

from werank_core.config import explain
from werank_core.config.graph import GRAPH_PRESETS, GraphConfig

# Thakoor et al. 2022, appendix: layers, learning rate, drop edge 1/2, drop feature 1/2.
PUBLISHED = {
    "wikics": ((512, 256), 5e-4, (0.2, 0.3), (0.2, 0.1)),
    "amazon_computers": ((256, 128), 5e-4, (0.5, 0.4), (0.2, 0.1)),
    "amazon_photo": ((256, 128), 1e-4, (0.4, 0.1), (0.1, 0.2)),
    "coauthor_cs": ((512, 256), 1e-5, (0.3, 0.2), (0.3, 0.4)),
    "coauthor_physics": ((256, 128), 1e-5, (0.4, 0.1), (0.1, 0.4)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_presets_carry_the_published_settings(name: str) -> None:
    config = GRAPH_PRESETS[name][1]
    widths, rate, (edge_1, edge_2), (feature_1, feature_2) = PUBLISHED[name]
    assert (config.dataset, config.widths, config.learning_rate) == (name, widths, rate)
    assert config.drop_rates == ((edge_1, feature_1), (edge_2, feature_2))
    assert (config.num_steps, config.warmup_epochs, config.head_width, config.weight_decay) == (
        10_000,
        1_000,
        512,
        1e-5,
    )
    assert config.classifier == "one_vs_rest"
    # WikiCS brings splits along, which the authors' code uses as they are: C on its validation nodes
    assert (config.splits, config.probe_protocol) == (("own", "holdout") if name == "wikics" else ("random", "bgrl"))


def test_default_needs_no_download() -> None:
    assert GRAPH_PRESETS["block_model"][1] == GraphConfig()
    assert GraphConfig().dataset == "block_model"


def test_scale_multiplies_all_rates() -> None:
    config = GraphConfig(augmentation_scale=0.5, drop_edge_rate_1=0.2, drop_feature_rate_2=0.6)
    assert config.drop_rates == ((0.1, 0.15), (0.2, 0.3))
    assert GraphConfig(augmentation_scale=0).drop_rates == ((0, 0), (0, 0))


def test_identity_ignores_the_machine_and_what_has_no_effect() -> None:
    base = GraphConfig()
    assert base.digest() == base.replaced(memory_share=0.1, temperature=9.0, own_graph="x").digest()
    assert base.digest() != base.replaced(epochs=201).digest()
    assert base.digest() != base.replaced(num_nodes=999).digest()
    assert base.digest() != base.replaced(probe_protocol="bgrl").digest()
    assert base.probe_protocol == GRAPH_PRESETS["cora"][1].probe_protocol == "holdout"
    cora = base.replaced(dataset="cora")
    assert cora.digest() == cora.replaced(num_nodes=999, homophily=0.1).digest()


def test_epochs_are_the_steps_and_scale_can_be_an_axis() -> None:
    assert GraphConfig(epochs=77).num_steps == 77
    assert {"augmentation_scale", "output_width", "homophily"} <= set(GraphConfig.second_axes())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"alpha_schedule": "explicit", "alpha_weights": (1.0,)}, "alpha_weights has 1 values; depth = 2 needs 2"),
        ({"alpha_schedule": "explicit", "alpha_weights": (1.0, -1.0)}, "must not be negative"),
        ({"head_width": 0}, "bgrl needs a predictor"),
        ({"dataset": "own"}, "own_graph is empty"),
        ({"warmup_epochs": 201}, "warmup_epochs = 201 must be at most epochs = 200"),
        ({"splits": "own"}, "block_model brings none along"),
        (
            {"dataset": "cora", "splits": "own", "probe_protocol": "bgrl"},
            "probe_protocol = 'bgrl' draws its own splits: choose holdout, or random as the splits",
        ),
        ({"probe_protocol": "5-fold"}, "probe_protocol = '5-fold'"),
        ({"drop_edge_rate_1": 1.0}, "drop_edge_rate_1 = 1.0: should be less than 1"),
        ({"dataset": "corra"}, "dataset = 'corra'"),
    ],
)
def test_what_does_not_fit_is_explained(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GraphConfig(**changes)
    assert sentence in " ".join(explain(caught.value))


def test_widths_follow_depth() -> None:
    assert GraphConfig(depth=3, hidden_width=7, output_width=5).widths == (7, 7, 5)
    assert GraphConfig(depth=1, output_width=5).widths == (5,)


def test_records_of_earlier_versions_stay_readable() -> None:
    """They hold `download`, which decided nothing; what nobody knows is still refused."""
    assert GraphConfig.model_validate({"download": True, "epochs": 77}) == GraphConfig(epochs=77)
    with pytest.raises(ValidationError, match="downlaod"):
        GraphConfig.model_validate({"downlaod": True})


def test_the_content_of_data_counts_where_no_seed_makes_them() -> None:
    cora = GraphConfig(dataset="cora")
    assert cora.digest() != cora.replaced(data_digest="0" * 16).digest()
    assert GraphConfig().digest() == GraphConfig(data_digest="0" * 16).digest()


def test_classes_of_the_block_model_are_large_enough_to_be_split() -> None:
    assert GraphConfig(num_nodes=60, num_classes=20).num_classes == 20
    with pytest.raises(ValidationError, match="num_nodes = 60 is too few for num_classes = 21: a class needs 3 nodes"):
        GraphConfig(num_nodes=60, num_classes=21)
