"""A BGRL step on Cora: plain PyTorch Geometric against the trainer, same weights and masks, in turn in one process.

Run with `python -m bench.graph_step [FOLDER]`: FOLDER holds PyTorch Geometric's raw files (Cora/raw/...); without one,
the data folder's Cora. The last line is `ratio: X` for the 512-256 encoder; nothing is asserted.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from bench.measure import alternated, machine, median_ratio
from bench.plain_bgrl import PlainBGRL
from werank_core.config.graph import GraphConfig
from werank_core.datasets.graphs import download_graph
from werank_core.models.precision import fast_float32
from werank_core.settings import settings
from werank_core.streams import Purpose, seeded_generator
from werank_core.sweeps import Run, RunBatch
from werank_core.training.graph import GraphSSL
from werank_core.training.optim import cosine_factor
from werank_core.training.run_blocks import PerRun
from werank_core.training.ssl_losses import target_decay

SIZES = {"512-256": (512, 256, 512), "128-64": (128, 64, 128)}
ROUNDS = 9


def config(widths: tuple[int, int, int], strength: float, bfloat16: bool = False) -> GraphConfig:
    """Cora with the settings of the paper's schedule."""
    hidden, output, head = widths
    sizes = {"hidden_width": hidden, "output_width": output, "head_width": head, "bfloat16": bfloat16}
    return GraphConfig(
        dataset="cora", strength=strength, epochs=10_000, warmup_epochs=1_000, learning_rate=5e-4, num_splits=1, **sizes
    )


def our_task(chosen: GraphConfig, root: Path) -> GraphSSL:
    """The trainer's task for one run."""
    return GraphSSL(RunBatch("graph", (Run("graph", chosen),)), root)


def plain_twin(task: GraphSSL, chosen: GraphConfig) -> PlainBGRL:
    """The plain implementation with the task's graph and weights."""
    data = task.data[0]
    features = data.graph.features
    x = features if isinstance(features, Tensor) else features.dense()
    plain = PlainBGRL(
        Data(x=x, edge_index=data.edge_index), chosen.widths, chosen.head_width, chosen.strength, chosen.weight_decay
    )
    ours = {name: p[0].detach() for name, p in task.model.parameters.items()}
    target = _under("target.", {name: t[0] for name, t in task.engine.frozen.items()})
    with torch.no_grad():
        for network, weights in ((plain.online, _under("encoder.", ours)), (plain.target, target)):
            for layer, weight in enumerate(network.weights()):
                weight.copy_(weights[f"convolutions.{layer}.weight"])
        linears = [part for part in plain.predictor if isinstance(part, nn.Linear)]
        for name, linear in zip(("first", "second"), linears, strict=True):
            linear.weight.copy_(ours[f"head.{name}.weight"])
            linear.bias.copy_(ours[f"head.{name}.bias"])
    return plain


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


class Twins:
    """The trainer and its plain twin, which draw the same masks step by step."""

    def __init__(self, chosen: GraphConfig, root: Path) -> None:
        self.config, self.task = chosen, our_task(chosen, root)
        self.plain = plain_twin(self.task, chosen)
        self._plain_generator = seeded_generator(Purpose.TRAINING, chosen.model_seed)
        self._steps = [0, 0]

    def ours(self) -> float:
        """One step of the trainer; returns its loss."""
        self.task.advance(self._steps[0])
        self._steps[0] += 1
        return float(self.task.last_losses["loss"][0])

    def theirs(self) -> float:
        """One plain step on the same masks; returns its loss."""
        step, chosen = self._steps[1], self.config
        self._steps[1] += 1
        rate = chosen.learning_rate * cosine_factor(step, chosen.epochs, chosen.warmup_epochs)
        return self.plain.step(self._masks(), rate, target_decay(chosen)(step))

    def _masks(self) -> list[tuple[Tensor, Tensor]]:
        """Kept edges, in the order of the edge list, and kept columns, from the draws that the trainer makes."""
        data, masks = self.task.data[0], []
        pattern = data.graph.propagation
        place = torch.zeros(data.num_nodes**2, dtype=torch.int32)
        place[pattern.rows * data.num_nodes + pattern.pattern.indices] = torch.arange(
            pattern.num_entries, dtype=torch.int32
        )
        source, target = data.edge_index
        for drop_edge, drop_feature in self.config.drop_rates:
            edges = torch.rand(pattern.num_entries, generator=self._plain_generator) >= drop_edge
            columns = torch.rand(data.graph.features.shape[1], generator=self._plain_generator) >= drop_feature
            masks.append((edges[place[target * data.num_nodes + source].long()], columns))
        return masks


def main() -> None:
    """Measure and print a table."""
    raw = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) if raw else settings().data_folder
        if raw:
            download_graph("cora", root, raw=raw)
        print(machine())
        ratios = {name: measured(name, widths, root) for name, widths in SIZES.items()}
        if torch.cuda.is_available():
            stacked("cuda", root)
    print(f"ratio: {ratios['512-256']:.2f}")


def measured(name: str, widths: tuple[int, int, int], root: Path) -> float:
    """Ratio of plain over ours with WERank; prints everything measured for one encoder."""
    twins = Twins(config(widths, 0.1), root)
    bare = our_task(config(widths, 0.0), root)
    bare.engine.run_losses = [PerRun(loss.without_penalty()) for loss in bare.losses.values()]
    short = our_task(config(widths, 0.1, bfloat16=True), root)
    ours = {
        "ours": twins.ours,
        "ours without WERank": lambda: bare.advance(1),
        "ours, bfloat16": lambda: short.advance(1),
    }
    seconds = alternated({"plain": twins.theirs} | {key: in_fast_float32(call) for key, call in ours.items()}, ROUNDS)
    for key, values in seconds.items():
        print(f"{name:8} {key:22} {1e3 * median(values):7.1f} ms  {median_ratio(seconds['plain'], values):6.2f} x")
    cost = median_ratio(seconds["ours"], seconds["ours without WERank"]) - 1
    print(f"{name:8} WERank adds {cost:.1%} to a step")
    return median_ratio(seconds["plain"], seconds["ours"])


def stacked(device: str, root: Path, counts: tuple[int, ...] = (1, 4, 8, 16)) -> None:
    """Milliseconds per run and step where R runs of one seed are one stacked model; prints a line for every R."""
    for name, widths in SIZES.items():
        tasks = {}
        for count in counts:
            runs = tuple(Run("graph", config(widths, 0.01 * (1 + r))) for r in range(count))
            tasks[count] = GraphSSL(RunBatch("graph", runs), root, device, block=count)
        seconds = alternated(
            {str(count): partial(_finished_step, task, device) for count, task in tasks.items()}, ROUNDS
        )
        for count in counts:
            print(
                f"{name:8} {device}, R = {count:2d}: {1e3 * median(seconds[str(count)]) / count:7.2f} ms a run and step"
            )


def _finished_step(task: GraphSSL, device: str) -> None:
    task.advance(1)
    if device == "cuda":
        torch.cuda.synchronize()


def in_fast_float32(call: Callable[[], object]) -> Callable[[], object]:
    """The call as the trainer makes it; the plain side keeps PyTorch's default."""

    def inside() -> object:
        with fast_float32():
            return call()

    return inside


if __name__ == "__main__":
    main()
