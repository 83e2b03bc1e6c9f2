"""What sweeps are called: the preset they are nearest to, and in few words what differs from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from werank_core.config import ExperimentConfig, title_of
from werank_core.experiments import Preset, experiment
from werank_core.vocabulary.spelling import SPELLED, spelled

if TYPE_CHECKING:
    from werank_core.sweeps import SweepSpec

MOST_CHARACTERS = 60
"""A made name ends here and counts what it leaves out."""

_SEEDS = ("strength", "model_seed", "data_seed")
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
# Choices that say by themselves what they are a choice of.
_SELF_EXPLAINING = ("dataset", "encoder", "objective", "penalty", "optimizer", "model", "activation", "classifier")
_NAMES = ("Gram",)
_OWN = ("own", "own_images")
_SHORT = {"augmentation_strength": "noise"}


def made_name(spec: SweepSpec) -> str:
    """The nearest preset's title and what differs from it: "Digits · ReLU, noise 1", "Mixture over depth"."""
    preset = experiment(spec.experiment).presets[nearest_preset(spec)]
    changed = differing_fields(spec.config, preset.config, without=(spec.second_axis,))
    head = preset.title
    if "dataset" in changed:
        data = str(changed.pop("dataset"))
        own = changed.pop("own_graph", "") or changed.pop("own_images", "")
        head = one_line(own)[:40] or SPELLED.get(data, spelled(data).capitalize())
    elif preset.second_axis not in (None, spec.second_axis):
        changed |= {str(preset.second_axis): getattr(spec.config, str(preset.second_axis))}
    if spec.second_axis not in (None, preset.second_axis):
        head += f" over {short_title(spec.config, str(spec.second_axis))}"
    return shortened([phrase(spec.config, name, value) for name, value in changed.items()], head)


def nearest_preset(spec: SweepSpec) -> str:
    """Name of the preset with the same data, if there is one, from which the fewest settings differ."""

    def distance(preset: Preset) -> tuple[bool, int]:
        changed = differing_fields(spec.config, preset.config, without=(spec.second_axis, preset.second_axis))
        return "dataset" in changed, len(changed) + (preset.second_axis != spec.second_axis)

    presets = experiment(spec.experiment).presets
    return min(presets, key=lambda name: distance(presets[name]))


def differing_fields(
    config: ExperimentConfig, base: ExperimentConfig, without: Iterable[str | None] = ()
) -> dict[str, Any]:
    """The settings that have an effect and another value than in `base`; strength, seeds and digests left out."""
    skipped = {*_SEEDS, *without, *config.identity_fields()}
    theirs = base.model_dump(mode="json")  # without settings that a catalogue got later
    return {n: v for n, v in config.effective().items() if n not in skipped and v != theirs.get(n)}


def distinctions(specs: Sequence[SweepSpec]) -> list[str]:
    """For each of these sweeps, in few words, what it has and not all the others: "depth 2, 10 seeds"."""
    told = [{name: words for name, words in _told(spec).items() if words} for spec in specs]
    names = list(dict.fromkeys(name for settings in told for name in settings))
    differing = [name for name in names if len({settings.get(name) for settings in told}) > 1]
    if "number of strengths" in differing:
        differing.remove("strengths")
    contents = [name for spec in specs for name in spec.config.identity_fields() if name in differing]
    if len(differing) > len(set(contents)):  # what data hold is told where nothing else tells it
        differing = [name for name in differing if name not in contents]
    return [shortened([settings[name] for name in differing if name in settings]) for settings in told]


def _told(spec: SweepSpec) -> dict[str, str]:
    """Every setting of a sweep as a phrase, those without effect left out."""
    own = {n: v for n, v in spec.config.effective().items() if n not in (*_SEEDS, spec.second_axis)}
    axis, contents = spec.second_axis, spec.config.identity_fields()
    if own.get("dataset") in _OWN:
        del own["dataset"]  # its name tells as much
    return {
        **{name: phrase(spec.config, name, str(v)[:6] if name in contents else v) for name, v in own.items()},
        "axis": f"over {short_title(spec.config, axis)} {spelled(spec.second_values)}" if axis else "",
        "number of strengths": f"{len(spec.strengths)} strengths",
        "strengths": f"strengths {spelled(spec.strengths)}",
        "seeds": f"{spec.seeds} seed{'s' * (spec.seeds != 1)}",
        "first seed": f"first seed {spec.first_seed}",
        "data": "new data per seed" if spec.vary_data else f"data of seed {spec.config.data_seed}",
    }


def phrase(config: ExperimentConfig, name: str, value: Any) -> str:
    """One setting as a person would say it: "ReLU", "noise 1", "bias off"."""
    if isinstance(value, bool):
        return short_title(config, name) + ("" if value else " off")
    return spelled(value) if name in _SELF_EXPLAINING else f"{short_title(config, name)} {spelled(value)}"


def short_title(config: ExperimentConfig, name: str) -> str:
    """A setting's title inside a sentence."""
    title = title_of(type(config).model_fields[name], name)
    first = title.split()[0]
    lower = title[1:].islower() and first not in _NAMES
    return _SHORT.get(name) or (title[:1].lower() + title[1:] if lower else title)


def shortened(phrases: Sequence[str], head: str = "") -> str:
    """Phrases after a head, as many as there is room for, and how many are left out."""
    start = f"{head} · " if head else ""
    kept = len(phrases)
    while kept and len(start + ", ".join(phrases[:kept])) > MOST_CHARACTERS:
        kept -= 1
    told = [*phrases[:kept], *([f"…and {len(phrases) - kept} more"] if kept < len(phrases) else [])]
    return start + ", ".join(told) if told else head


def one_line(text: str) -> str:
    """A name without line breaks, control characters and what no database stores."""
    visible = (c if c.isprintable() or c in _JOINERS else " " for c in text)
    line = " ".join("".join(visible).split())
    return line if line.strip(f"{_JOINERS} ") else ""
