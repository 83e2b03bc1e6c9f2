"""The loop around a task: when it records, and the memory that it keeps."""

import platform
import subprocess
import sys

import pytest

from werank_core.training.loop import record_steps

FAULTS = """
import resource, sys
import torch
from werank_core.training.loop import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def work():
    parts = [torch.ones(2**22) for _ in range(4)]  # 16 MB each
for _ in range(2):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_not_faulted_in_again() -> None:
    def faults(mode: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, check=True).stdout)

    assert faults("keep") < 100 < 5_000 < faults("give back")


def test_records_are_evenly_spaced_with_both_ends() -> None:
    assert record_steps(10, 5) == {0, 2, 4, 6, 8, 10}
    assert record_steps(3, 50) == {0, 1, 2, 3}
    assert record_steps(1, 1) == {0, 1}
