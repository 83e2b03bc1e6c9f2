"""Stores as a person finds them: a sweep at work, a finished one with what went wrong, written without training."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from werank_core.config import ToySSLConfig
from werank_core.store import Store, queue
from werank_core.store.claims import Claim
from werank_core.store.recorder import StoreSink
from werank_core.store.runs import request_cancel, retry, submit
from werank_core.sweeps import SweepSpec
from werank_core.vocabulary import MetricKey, RunState

STEPS, RECORDS, DEPTH, SEEDS = 40, 4, 2, 3
STRENGTHS = (0.0, 0.1, 1.0)
ERROR = "The worker died 3 times while it trained this batch: out of memory, or a crash; see the log."
TRACEBACK = "Traceback (most recent call last):\n  MemoryError: no room"


def small_spec(**changes: Any) -> SweepSpec:
    """A sweep of 3 strengths x 3 seeds; what is no field of a sweep is one of its config."""
    fields = {key: changes.pop(key) for key in list(changes) if key in SweepSpec.model_fields}
    config = ToySSLConfig(**{"steps": STEPS, "records": RECORDS, "depth": DEPTH, "width": 8, **changes})
    return SweepSpec(
        **{"experiment": "toy_ssl", "config": config, "strengths": STRENGTHS, "seeds": SEEDS, "name": "small", **fields}
    )


def running_sweep(store: Store) -> str:
    """A sweep whose first job has two records and whose others wait: partly drawn already."""
    sweep_id = submit(store, small_spec(name="at work")).sweep_id
    claimed = claimed_job(store)
    queue.started_on(store, claimed, "cpu")
    write_records(store, claimed, steps=(0, 10))
    return sweep_id


def finished_sweep(store: Store, **changes: Any) -> str:
    """A sweep that is over; at strength 1 one run diverged and one failed, with error, traceback and log."""
    sweep_id = submit(store, small_spec(**changes)).sweep_id
    claimed = claimed_job(store)
    queue.started_on(store, claimed, "cpu")
    unlucky = _runs_at(claimed, strength=1.0)
    request_cancel(store, run_ids=unlucky[1:2])
    write_records(store, claimed, diverging=unlucky[2:3])
    queue.finish(store, claimed, RunState.FINISHED, seconds=2.0, log="step 40")
    _fail(store, unlucky[1:2])
    return sweep_id


def finished_cleanly(store: Store, **changes: Any) -> str:
    """A sweep without accidents."""
    sweep_id = submit(store, small_spec(**changes)).sweep_id
    while claimed := queue.claim(store, "test"):
        queue.started_on(store, claimed, "cpu")
        write_records(store, claimed)
        queue.finish(store, claimed, RunState.FINISHED, seconds=2.0)
    return sweep_id


def claimed_job(store: Store) -> Claim:
    """The oldest waiting job, claimed by hand."""
    claimed = queue.claim(store, "test", lease_seconds=3600)
    assert claimed is not None
    return claimed


def write_records(
    store: Store,
    claimed: Claim,
    steps: Sequence[int] = (0, 10, 20, 30, 40),
    diverging: Sequence[str] = (),
) -> None:
    """What a trainer would have recorded: metrics and spectra; the loss of `diverging` runs ends at step 20."""
    sink = StoreSink(store, claimed)
    lost = np.isin(claimed.run_ids, list(diverging))
    for step in steps:
        values = {name: metric_values(name, claimed, step) for name in recorded_names()}
        values["test/loss"] = np.where(lost & (step >= 20), math.nan, values["test/loss"])
        sink.write(step, values, spectra(claimed, step))


def recorded_names() -> list[str]:
    """Every metric that the toy experiment draws, by key."""
    of_rows = [
        "loss", "objective", "effective_rank", "rankme", "covariance_effective_rank", "stable_rank", "alpha_req",
        "relative_tcv", "nc1_quotient", "cdnv", "nc2_equiangular", "accuracy", "response_sensitivity",
    ]  # fmt: skip
    of_weights = ["weight_effective_rank", "weight_stable_rank", "layer_alignment", "product_of_spectral_norms"]
    return [*(str(MetricKey(name, "test")) for name in of_rows), *of_weights]


def metric_values(name: str, claimed: Claim, step: int) -> np.ndarray:
    """A value that rises with the strength and the step and differs between seeds, `(R,)` or `(R, DEPTH)`."""
    strengths = np.array([config["strength"] for config in claimed.configs])
    seeds = np.array([config["model_seed"] for config in claimed.configs])
    known = MetricKey.parse(name).known
    scale = 0.5 if known.span == (0.0, 1.0) else 4.0
    flat = scale * (1 + 0.4 * strengths / (strengths + 0.1) + 0.02 * seeds + 0.001 * step)
    if not known.per_layer:
        return flat
    layers = DEPTH - 1 if name == "layer_alignment" else DEPTH
    return flat[:, None] + np.arange(layers)


def spectra(claimed: Claim, step: int) -> dict[tuple[str, int], np.ndarray]:
    """Decaying singular values, flatter where the penalty is stronger, `(R, 8)` each."""
    strengths = np.array([config["strength"] for config in claimed.configs])[:, None]
    values = np.exp(-np.arange(8)[None] * (0.6 - 0.3 * strengths / (strengths + 0.1)) * (1 + step / 80))
    weights = {("weight_spectrum", layer): values * layer for layer in range(1, DEPTH + 1)}
    return {**weights, ("representation_spectrum", 0): values, ("embedding_spectrum", 0): values / 2}


def _runs_at(claimed: Claim, strength: float) -> list[str]:
    pairs = zip(claimed.run_ids, claimed.configs, strict=True)
    return [run_id for run_id, config in pairs if config["strength"] == strength]


def _fail(store: Store, run_ids: Sequence[str]) -> None:
    assert retry(store, run_ids) == len(run_ids)
    again = claimed_job(store)
    queue.finish(store, again, RunState.FAILED, ERROR, traceback=TRACEBACK, seconds=1.0, log="killed")
