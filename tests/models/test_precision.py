"""Switches of GPU kernels: explicit inside, put back outside, also after an error."""

from pathlib import Path

import pytest
import torch

from tests.simulated_cuda import simulated
from werank_core.config import ToySSLConfig
from werank_core.models.precision import reproducible_kernels
from werank_core.sweeps import Run, RunBatch
from werank_core.training.recorder import MemorySink, Recorder, Workplace
from werank_core.training.toy_ssl import train


def switches() -> tuple[bool, ...]:
    product, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    reduced = bool(product.allow_bf16_reduced_precision_reduction)
    return product.allow_tf32, reduced, convolution.allow_tf32, convolution.benchmark, convolution.deterministic


WANTED = (False, False, False, False, True)


def test_every_switch_is_set_on_a_gpu_and_put_back_after_an_error() -> None:
    before = switches()
    assert before != WANTED

    def failing() -> None:
        with reproducible_kernels():
            raise KeyError(switches())

    with simulated(), pytest.raises(KeyError) as error:
        failing()
    assert error.value.args == (WANTED,)
    assert switches() == before


def test_without_a_gpu_nothing_changes() -> None:
    before = switches()
    with reproducible_kernels():
        assert switches() == before


def test_every_trainer_runs_inside(tmp_path: Path) -> None:
    seen = []

    class Sink(MemorySink):
        def should_stop(self, step: int) -> bool:
            seen.append(switches())
            return super().should_stop(step)

    config = ToySSLConfig(
        dataset="mixture", num_samples=90, dimension=8, width=4, depth=1, batch_size=16, steps=1, records=1
    )
    with simulated():
        train(RunBatch("toy_ssl", (Run("toy_ssl", config),)), Recorder(Sink()), Workplace("cuda:0", tmp_path))
    assert seen == [WANTED]
