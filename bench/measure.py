"""How every bench measures: alternate the candidates, take medians, print a table, write it where it is quoted."""

import platform
import re
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent


def alternated(candidates: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, list[float]]:
    """Seconds of every call, candidates in turn: a machine whose speed drifts slows them all. One warm-up each."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over rounds of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Processor, cores, library: what a number is worth nothing without."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    names = re.findall(r"model name\s*:\s*(.+)", _cpuinfo())
    processor = names[0] if names else platform.machine()
    return f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}{gpu}"


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def write_block(name: str, text: str, file: Path = ROOT / "README.md") -> None:
    """Replace what stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` in a Markdown file."""
    pattern = re.compile(rf"(<!-- bench:{name} -->\n).*?(<!-- /bench:{name} -->)", re.DOTALL)
    old = file.read_text()
    if pattern.search(old):
        file.write_text(pattern.sub(lambda match: match[1] + text.strip() + "\n" + match[2], old))
