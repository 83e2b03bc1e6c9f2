"""Processes that meet at the same moment: what a queue and a store must stand."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def said_by_all(code: str, arguments: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Run the code once for every tuple of arguments, all let go together; what each wrote after its "ready"."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *own],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for own in arguments
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60) for process in started]
