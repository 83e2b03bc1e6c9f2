"""The registry of experiments: adding one here, with a config class, a trainer and a page, adds it everywhere."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from werank_core import __version__
from werank_core.config import TOY_PRESETS, ExperimentConfig, ToySSLConfig


@dataclass(frozen=True)
class Preset:
    """A named starting point of an experiment's form."""

    title: str
    config: ExperimentConfig


@dataclass(frozen=True)
class Experiment:
    """What the rest of the house needs to know about one experiment.

    `trainer` is "module:function", resolved by the worker alone. Runs of one batch may differ in `batch_varies`
    (besides strength and seeds) and must agree in everything else; at most `max_batch` of them train as one model.
    """

    name: str
    title: str
    question: str
    config_class: type[ExperimentConfig]
    trainer: str
    strength_label: str
    headline: tuple[str, ...]
    batch_varies: frozenset[str]
    max_batch: int
    default_strengths: tuple[float, ...]
    default_seeds: int
    presets: Mapping[str, Preset]

    @property
    def stackable(self) -> frozenset[str]:
        """Every field in which runs of one batch may differ."""
        return self.batch_varies | {"strength", "model_seed", "data_seed"}


EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="toy_ssl",
            title="Toy SSL",
            question="Does WERank keep the rank of a self-supervised encoder?",
            config_class=ToySSLConfig,
            trainer="werank_core.training.toy_ssl:train",
            strength_label="strength α",
            headline=("effective_rank", "relative_tcv", "accuracy"),
            batch_varies=frozenset({"augmentation_strength", "learning_rate", "weight_decay"}),
            max_batch=16,
            default_strengths=(0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            default_seeds=5,
            presets={key: Preset(title, config) for key, (title, config) in TOY_PRESETS.items()},
        ),
    )
}

# The rooms whose code decides a recorded number.
_NUMERIC_ROOMS = ("training", "models", "datasets", "metrics", "regularizers.py", "objectives.py", "augmentations.py")


def experiment(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        KeyError: with one sentence that lists the known names.
    """
    if name not in EXPERIMENTS:
        raise KeyError(f"unknown experiment {name!r}; known are {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]


@cache
def code_version() -> str:
    """Package version and a hash of the code that decides numbers: runs of different versions are never merged."""
    root = Path(__file__).parent
    rooms = [root / room for room in _NUMERIC_ROOMS]
    files = sorted(f for room in rooms for f in (room.rglob("*.py") if room.is_dir() else [room]) if f.exists())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
