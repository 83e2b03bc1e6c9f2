"""The penalty's parts and weights, and objectives by the settings of a config."""

import torch

from werank_core import objectives
from werank_core.config import GraphConfig, ToySSLConfig
from werank_core.config.objectives import OBJECTIVES
from werank_core.objectives import LOSSES, Views, settings_read
from werank_core.regularizers import soft_orthogonality_penalty
from werank_core.training.ssl_losses import objective_of, penalty_of

ENCODER = [torch.randn(3, 4, 5), torch.randn(3, 4, 4)]
HEAD = [torch.randn(3, 4, 4)]


def test_the_penalty_is_weighted_over_the_encoder_and_plain_over_the_head() -> None:
    config = ToySSLConfig(
        depth=2, penalty="soft_orthogonality", alpha_schedule="explicit", alpha_weights=(0.5, 2.0), gram="input"
    )
    first, second, head = (soft_orthogonality_penalty(w, "input") for w in (*ENCODER, *HEAD))
    torch.testing.assert_close(penalty_of(config, ENCODER, HEAD), 0.5 * first + 2 * second)
    with_head = config.replaced(penalize_head=True)
    torch.testing.assert_close(penalty_of(with_head, ENCODER, HEAD), 0.5 * first + 2 * second + head)
    torch.testing.assert_close(penalty_of(with_head, ENCODER, []), 0.5 * first + 2 * second)
    alone = penalty_of(with_head, [w[1] for w in ENCODER], [w[1] for w in HEAD])
    torch.testing.assert_close(alone, penalty_of(with_head, ENCODER, HEAD)[1])


def test_an_objective_reads_its_own_settings() -> None:
    one, two = torch.randn(2, 3, 16, 5)
    toy, graph = ToySSLConfig(), GraphConfig()
    cases = [
        (
            toy.replaced(temperature=0.7, normalize=False, symmetric=False),
            objectives.infonce(one, two, 0.7, normalize=False, symmetric=False),
        ),
        (graph.replaced(objective="grace", temperature=0.7), objectives.grace(one, two, 0.7)),
        (
            toy.replaced(objective="vicreg", invariance_weight=1, variance_weight=2, covariance_weight=3),
            objectives.vicreg(one, two, invariance_weight=1, variance_weight=2, covariance_weight=3),
        ),
        (
            graph.replaced(objective="barlow_twins", redundancy_weight=0.3),
            objectives.barlow_twins(one, two, redundancy_weight=0.3),
        ),
    ]
    for config, expected in cases:
        torch.testing.assert_close(objective_of(config)(Views((one, two))), expected)


def test_every_objective_of_a_config_has_a_loss_and_every_setting_it_reads() -> None:
    assert list(LOSSES) == list(OBJECTIVES)
    for name, loss in LOSSES.items():
        given = {"view_1", "view_2", "views", "predictions", "targets", "chunk"}
        assert settings_read(loss) - given <= OBJECTIVES[name].settings.model_fields.keys()
