"""Imported once by the forkserver, so that a job starts in milliseconds: torch and every trainer's module."""

import contextlib
import importlib

from werank_core.experiments import EXPERIMENTS

for _experiment in EXPERIMENTS.values():
    # A trainer that cannot be imported fails its own jobs, with the reason on their rows, and nobody else's.
    with contextlib.suppress(Exception):
        importlib.import_module(_experiment.trainer.partition(":")[0])
