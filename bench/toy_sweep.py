"""64 runs (8 strengths x 8 seeds) of the 2-layer over-parametrised toy case: stacked against a plain PyTorch loop.

`python -m bench.toy_sweep [--write]`: training steps only, no metrics; `--write` puts the table into the README.
"""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from bench.measure import alternated, machine, median_ratio, peak_memory_mb, write_block
from werank_core.config import TOY_PRESETS
from werank_core.sweeps import SweepSpec, batches
from werank_core.training.toy_ssl import ToySSL

STEPS = 50
STRENGTHS = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
CONFIG = TOY_PRESETS["over_parametrised"][1]


def plain_steps(strength: float, seed: int) -> None:
    """What anyone writes for one run: modules, autograd, torch.optim."""
    torch.manual_seed(seed)
    data = torch.randn(2 * CONFIG.num_samples // 3, CONFIG.dimension)
    layers = [nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=CONFIG.learning_rate)
    identity, temperature = torch.eye(16), CONFIG.settings_of("objective")["temperature"]
    for _ in range(STEPS):
        rows = data[torch.randint(len(data), (CONFIG.batch_size,))]
        view_1 = model(rows + CONFIG.augmentation_strength * torch.randn_like(rows))
        view_2 = model(rows + CONFIG.augmentation_strength * torch.randn_like(rows))
        loss = F.cross_entropy(view_1 @ view_2.T / temperature, torch.arange(len(rows)))
        for layer in layers:
            loss = loss + strength * torch.linalg.matrix_norm(layer.weight.T @ layer.weight - identity)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def plain_sweep() -> None:
    """All 64 runs, one after another."""
    for seed in range(8):
        for strength in STRENGTHS:
            plain_steps(strength, seed)


class StackedSweep:
    """The same 64 runs in stacked batches of a given size."""

    def __init__(self, size: int, runs: int = 64) -> None:
        spec = SweepSpec(experiment="toy_ssl", config=CONFIG, strengths=STRENGTHS, seeds=8)
        self.tasks = [ToySSL(batch) for batch in batches(spec.runs()[:runs], size)]

    def __call__(self) -> None:
        for task in self.tasks:
            for step in range(STEPS):
                task.advance(step)


def main() -> None:
    """Print the table; last line `ratio: X` for the whole sweep as one stacked model."""
    candidates: dict[str, Callable[[], object]] = {"plain": plain_sweep}
    candidates |= {f"R = {size}": StackedSweep(size) for size in (1, 4, 16, 32, 64)}
    seconds = alternated(candidates, rounds=5)
    lines = ["| 64 runs trained as | ms per run and step | times faster |", "|---|---|---|"]
    ratios = {name: median_ratio(seconds["plain"], values) for name, values in seconds.items()}
    for name, values in seconds.items():
        label = "one after another, plain PyTorch" if name == "plain" else f"stacked batches, {name}"
        lines.append(f"| {label} | {1e3 * sorted(values)[len(values) // 2] / 64 / STEPS:.3f} | {ratios[name]:.1f} |")
    lines.append(f"\n{machine()}; peak memory {peak_memory_mb():.0f} MB for all candidates in one process.")
    print("\n".join(lines))
    if "--write" in sys.argv:
        write_block("toy_sweep", "\n".join(lines))
    print(f"ratio: {ratios['R = 64']:.2f}")


if __name__ == "__main__":
    main()
