"""40 runs (8 λ × 5 seeds) of the digits classifier: stacked against a plain PyTorch loop, and what recording costs.

`python -m bench.rank_collapse [--write] [--mixture]`: batch 128 and full batch, with the rate of matrix products beside
the machine's own; `--mixture` also times 1,000 mixture runs (20 steps of each, times 100); `--write` puts the
tables into bench/README.md.
"""

import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from bench.measure import alternated, machine, median_ratio, peak_memory_mb, write_block
from werank_core.config import RANK_COLLAPSE_PRESETS, RankCollapseConfig
from werank_core.datasets.images import load_digits
from werank_core.sweeps import SweepSpec, batches
from werank_core.training.rank_collapse import RankCollapse

DECAYS = (0.0, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
SEEDS = 5
RUNS = len(DECAYS) * SEEDS
RECORD_EVERY = 50
CONFIG = RANK_COLLAPSE_PRESETS["digits"][1]
SIZES = [64, *[CONFIG.width] * (CONFIG.depth - 1), 10]
# forward, and twice as much backward: each weight meets each row three times, a multiply and an add
OPERATIONS_PER_ROW = 6 * sum(a * b for a, b in pairwise(SIZES))


def plain_steps(decay: float, seed: int, batch_size: int, steps: int) -> None:
    """What anyone writes for one run: modules, autograd, torch.optim."""
    torch.manual_seed(seed)
    split = load_digits(seed)
    rows, labels = split.train_rows, split.train_labels
    layers = [m for a, b in pairwise(SIZES) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), CONFIG.learning_rate, momentum=0.9, weight_decay=decay)
    for _ in range(steps):
        chosen = torch.randperm(len(rows))[:batch_size] if batch_size else slice(None)
        loss = F.cross_entropy(model(rows[chosen]), labels[chosen])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def plain_sweep(batch_size: int, steps: int) -> None:
    """All 40 runs, one after another."""
    for seed in range(SEEDS):
        for decay in DECAYS:
            plain_steps(decay, seed, batch_size, steps)


class StackedSweep:
    """The same 40 runs as one stacked batch."""

    def __init__(self, batch_size: int, steps: int) -> None:
        config = CONFIG.replaced(batch_size=batch_size)
        spec = SweepSpec(experiment="rank_collapse", config=config, strengths=DECAYS, seeds=SEEDS)
        self.tasks = [RankCollapse(batch) for batch in batches(spec.runs())]
        self.steps = steps

    def __call__(self) -> None:
        for task in self.tasks:
            for step in range(self.steps):
                task.advance(step)

    def record(self) -> None:
        """Everything once: all layers, spectra, certificate, collapse, accuracies."""
        for task in self.tasks:
            task.measure(0)


def product_rate(rows: int) -> float:
    """Operations per second of 40 stacked products of this network's size, the best of several."""
    left, right = torch.randn(RUNS, rows, 64), torch.randn(RUNS, 64, 64)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2 * RUNS * rows * 64 * 64 / min(times)


def compared(batch_size: int, steps: int) -> tuple[str, str, float]:
    """A table line on training, one on recording, and how many times faster stacked training is."""
    rows = batch_size or 1200
    stacked = StackedSweep(batch_size, steps)
    found = alternated(
        {"plain": lambda: plain_sweep(batch_size, steps), "stacked": stacked, "record": stacked.record}, rounds=5
    )
    plain, fast, record = (sorted(found[name])[2] for name in ("plain", "stacked", "record"))
    ratio = median_ratio(found["plain"], found["stacked"])
    rate, limit = OPERATIONS_PER_ROW * rows * RUNS * steps / fast / 1e9, product_rate(rows) / 1e9
    name = f"batch {batch_size}" if batch_size else "full batch (1,200)"
    per_step = 1e3 / RUNS / steps
    line = f"| {name} | {plain * per_step:.3f} | {fast * per_step:.3f} | {ratio:.1f} | {rate:.0f} of {limit:.0f} |"
    share = record / (fast / steps * RECORD_EVERY)
    return line, f"| {name} | {1e3 * record:.0f} | {1e3 * fast / steps * RECORD_EVERY:.0f} | {share:.0%} |", ratio


def mixture_minutes() -> float:
    """Minutes that 1,000 mixture runs of 2,000 steps and 21 records take, from 20 steps and one record of each."""
    config = RankCollapseConfig(num_samples=500, width=64, depth=4, steps=2_000, records=20)
    decays = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
    noises = tuple(round(0.2 * i, 1) for i in range(10))
    spec = SweepSpec(
        experiment="rank_collapse", config=config, strengths=decays, seeds=10,
        second_axis="cluster_noise", second_values=noises,
    )  # fmt: skip
    assert spec.num_runs == 1_000
    tasks = [RankCollapse(batch) for batch in batches(spec.runs())]
    start = time.perf_counter()
    for task in tasks:
        for step in range(20):
            task.advance(step)
    trained = time.perf_counter()
    for task in tasks:
        task.measure(0)
    return (100 * (trained - start) + 21 * (time.perf_counter() - trained)) / 60


def main() -> None:
    """Print the tables; last line `ratio: X` for batch 128."""
    small, full = compared(128, 50), compared(0, 10)
    lines = ["| 40 runs, digits | plain, ms a run and step | stacked | times faster | GFLOP/s of a bare product's |"]
    lines += ["|---|---|---|---|---|", small[0], full[0], ""]
    lines += ["| everything recorded once | ms for 40 runs | ms for 50 steps | share |", "|---|---|---|---|"]
    lines += [small[1], full[1]]
    if "--mixture" in sys.argv:
        lines.append(f"\n1,000 mixture runs (500 samples, 2,000 steps, 20 records): {mixture_minutes():.0f} minutes.")
    lines.append(f"\n{machine()}; peak memory {peak_memory_mb():.0f} MB.")
    print("\n".join(lines))
    if "--write" in sys.argv:
        write_block("rank_collapse", "\n".join(lines), Path(__file__).parent / "README.md")
    print(f"ratio: {small[2]:.2f}")


if __name__ == "__main__":
    main()
