"""The rank collapse experiment's config: what identifies a run, what shares a batch, and what it refuses."""

import pytest
from pydantic import ValidationError

from werank_core.config import RANK_COLLAPSE_PRESETS, RankCollapseConfig, explain
from werank_core.config.rank_collapse import DOWNLOADED
from werank_core.experiments import experiment
from werank_core.sweeps import SweepSpec, batches


def test_the_default_is_the_published_mixture() -> None:
    config = RankCollapseConfig()
    assert (config.depth, config.width, config.num_classes, config.dimension) == (4, 64, 5, 32)
    assert (config.learning_rate, config.momentum, config.schedule, config.steps) == (0.05, 0.9, "cosine", 4_000)
    assert (config.cluster_noise, config.batch_size, config.activation) == (0.1, 0, "relu")
    assert RANK_COLLAPSE_PRESETS["mixture"][1] == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 40, "num_samples": 30}, "num_classes = 40 is more than the 30 training rows"),
        ({"clusters": "kmeans", "num_clusters": 501}, "num_clusters = 501 is more than the 500 training rows"),
        ({"model": "cnn"}, "model = 'cnn' needs images"),
        ({"dataset": "digits", "model": "resnet", "depth": 5}, "depth = 5 must be even"),
        ({"dataset": "digits", "model": "cnn", "depth": 1}, "depth = 1 must be at least 2"),
        ({"optimizer": "adamw", "stop_cosine": 0.99}, "stop_cosine needs λ in the loss"),
        ({"whitened": True, "num_samples": 20}, "num_samples = 20 must be at least dimension = 32"),
        ({"whitened": True, "cluster_noise": 0}, "cluster_noise above 0"),
        ({"imbalance": 0}, "imbalance = 0"),
        ({"activation": "sine"}, "activation = 'sine'"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        RankCollapseConfig().replaced(**changes)
    assert message in " ".join(explain(error.value))


def test_fields_without_effect_do_not_identify_a_run() -> None:
    digits = RankCollapseConfig(dataset="digits")
    assert digits.digest() == digits.replaced(num_classes=7, cluster_noise=2).digest()
    assert digits.digest() != digits.replaced(image_samples=500).digest()
    adam = RankCollapseConfig(optimizer="adam")
    assert adam.digest() == adam.replaced(momentum=0.5).digest()


def test_k_is_that_of_the_clusters() -> None:
    assert RankCollapseConfig().target_rank == 5
    assert RankCollapseConfig(dataset="digits").target_rank == 10
    assert RankCollapseConfig(clusters="kmeans", num_clusters=3).target_rank == 3
    assert [RankCollapseConfig(dataset=name).classes for name in DOWNLOADED] == [10, 10, 10]


def test_the_closed_form_needs_all_of_its_conditions() -> None:
    theory = RANK_COLLAPSE_PRESETS["theory"][1]
    assert theory.closed_form
    for changes in (
        {"activation": "relu"}, {"bias": True}, {"whitened": False}, {"loss": "cross_entropy"}, {"batch_size": 10},
        {"optimizer": "adamw"}, {"werank_strength": 0.1}, {"batch_norm": True},
    ):  # fmt: skip
        assert not theory.replaced(**changes).closed_form, changes


def test_strengths_seeds_noise_and_both_knobs_share_a_batch() -> None:
    collapse = experiment("rank_collapse")
    for axis, values in (("cluster_noise", (0.0, 0.5)), ("werank_strength", (0.0, 0.01, 0.1))):
        spec = SweepSpec(
            experiment=collapse.name, config=RankCollapseConfig(), strengths=collapse.default_strengths, seeds=2,
            second_axis=axis, second_values=values,
        )  # fmt: skip
        assert len(batches(spec.runs(), 1000)) == 1
    assert collapse.default_strengths[0] == 0
    assert collapse.strength_label == "weight decay λ"
