"""Catalogues: an entry that is added is a choice everywhere, its settings only where it is chosen."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from werank_core.cli import main
from werank_core.config import choices, trait
from werank_core.config.choices import Catalogue, Settings
from werank_core.config.objectives import OBJECTIVES, Objective
from werank_core.config.schema import ExperimentConfig, setting
from werank_core.experiments import EXPERIMENTS
from werank_core.jobs.worker import trainer
from werank_core.names import made_name
from werank_core.objectives import LOSSES, of_embeddings
from werank_core.sweeps import SweepSpec, batches
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.vocabulary.spelling import SPELLED


class PullSettings(Settings):
    """Of the objective that this test adds."""

    pull_weight: float = setting(2.0, "Weight of the pull.", group="objective", gt=0, le=10)


def pull(view_1: Tensor, view_2: Tensor, *, pull_weight: float) -> Tensor:
    """λ mean‖z − z'‖² + mean (‖z‖² − 1)²."""
    apart = (view_1 - view_2).square().mean((-2, -1))
    return pull_weight * apart + (view_1.square().sum(-1) - 1).square().mean(-1)


@pytest.fixture
def pulling() -> Iterator[None]:
    """An objective through the public registries, taken back afterwards."""
    OBJECTIVES.add(Objective("pull", "Pull", PullSettings))
    LOSSES["pull"] = of_embeddings(pull)
    yield
    del LOSSES["pull"], SPELLED["pull"]
    OBJECTIVES.remove("pull")


SMALL: dict[str, dict[str, object]] = {
    "toy_ssl": {"dataset": "mixture", "num_samples": 200, "width": 8, "depth": 2, "steps": 2, "records": 1},
    "graph": {"num_nodes": 60, "num_classes": 3, "hidden_width": 8, "output_width": 6, "head_width": 8, "epochs": 2,
              "warmup_epochs": 1, "records": 1, "num_splits": 1},
}  # fmt: skip


def records_of(experiment: str, tmp_path: Path, **changes: object) -> MemorySink:
    spec = SweepSpec.model_validate(
        {"experiment": experiment, "config": SMALL[experiment] | changes, "strengths": (0.1,), "seeds": 1}
    )
    (batch,) = batches(spec.runs(), 9)
    sink = MemorySink()
    assert trainer(experiment)(batch, Recorder(sink), Workplace(data_folder=tmp_path))
    return sink


@pytest.mark.usefixtures("pulling")
@pytest.mark.parametrize("experiment", SMALL)
def test_an_added_objective_is_a_choice_everywhere(
    experiment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_class = EXPERIMENTS[experiment].config_class
    assert "pull" in choices(config_class.model_fields["objective"])
    assert trait(config_class.model_fields["pull_weight"], "when") == {"objective": ("pull",)}
    config = config_class.model_validate(SMALL[experiment] | {"objective": "pull", "pull_weight": 3})
    assert config.settings_of("objective") == {"pull_weight": 3.0}
    assert "temperature" not in config.effective()
    assert "pull_weight" not in config_class.model_validate(SMALL[experiment]).effective()
    plain = SweepSpec.model_validate({"experiment": experiment, "config": {"objective": "pull"}, "strengths": (0.1,)})
    assert "Pull" in made_name(plain)
    with pytest.raises(SystemExit):
        main(["sweep", experiment, "--help"])
    said = capsys.readouterr().out
    assert "--pull_weight" in said
    assert "pull" in said
    sink = records_of(experiment, tmp_path, objective="pull")
    rows = {"toy_ssl": "test", "graph": "all"}[experiment]
    assert all(torch.isfinite(torch.as_tensor(record[f"{rows}/objective"])).all() for record in sink.values)


@pytest.mark.parametrize("experiment", SMALL)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_in_every_experiment_with_two_views(
    objective: str, experiment: str, tmp_path: Path
) -> None:
    first, *_, last = records_of(experiment, tmp_path, objective=objective).values
    rows = {"toy_ssl": "test", "graph": "all"}[experiment]
    values = [float(torch.as_tensor(record[f"{rows}/objective"])[0]) for record in (first, last)]
    assert values[0] != values[1]
    assert all(map(torch.isfinite, map(torch.tensor, values)))


def test_a_name_or_a_setting_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="objective 'infonce' exists already"):
        OBJECTIVES.add(Objective("infonce", "InfoNCE"))

    class Other(Settings):
        temperature: float = setting(7.0, "Something else.", group="objective")

    with pytest.raises(ValueError, match="temperature of 'other' is another setting than that of 'infonce'"):
        OBJECTIVES.add(Objective("other", "Other", Other))
    assert "other" not in OBJECTIVES


def test_defaults_of_a_config_are_its_own() -> None:
    fruit = Catalogue("fruit", Objective("apple", "Apple", PullSettings), Objective("pear", "Pear"))

    @fruit.choices(pull_weight=5.0)
    class Basket(ExperimentConfig):
        """A config that chooses a fruit."""

        fruit: str = setting("apple", "Which.", group="objective")

    assert Basket().settings_of("fruit") == {"pull_weight": 5.0}
    assert Basket.model_validate({"fruit": "pear"}).settings_of("fruit") == {}
    with pytest.raises(ValidationError, match="'apple' or 'pear'"):
        Basket.model_validate({"fruit": "plum"})
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        Basket.model_validate({"pull_weight": 11})
    del SPELLED["apple"], SPELLED["pear"]
