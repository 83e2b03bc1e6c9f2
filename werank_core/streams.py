"""Every random stream of the house: a generator is seeded by what it is for, and by the seeds of a run."""

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Purpose(StrEnum):
    """What a stream is for; its text is part of the seed, so a new text is a new stream."""

    INITIALIZATION = "initialization"
    TRAINING = "batches and views"
    MEASURING = "views of a record"
    DIRECTIONS = "directions of a record"
    DISTURBANCE = "disturbed graph"
    DATA = "drawn data"
    SPLIT = "training and test rows"
    PROBE_SPLITS = "splits of the probe"
    EVALUATION_ROWS = "evaluation rows"


def stream_seed(purpose: Purpose, *seeds: int) -> int:
    """32 bits hashed from purpose and seeds: what PyTorch's CPU generator and scikit-learn take of a seed.

    Seeds 0, 1, 2 of two purposes are unrelated, which sums like 8 · seed + stream are not, and so are seeds that agree
    modulo 2³². Two of n streams draw the same 32 bits with probability n²/2³³: 10⁻⁴ for a thousand.
    Args: seeds, whole numbers.
    """
    return int(_sequence(purpose, seeds).generate_state(1)[0])


def seeded_generator(purpose: Purpose, *seeds: int) -> "torch.Generator":
    """PyTorch's CPU generator at the start of the stream of `stream_seed`."""
    import torch  # here: block models are drawn without it

    return torch.Generator().manual_seed(stream_seed(purpose, *seeds))


def seeded_numpy_generator(purpose: Purpose, *seeds: int) -> np.random.Generator:
    """NumPy's generator for purpose and seeds, 128 bits of them."""
    return np.random.default_rng(_sequence(purpose, seeds))


def _sequence(purpose: Purpose, seeds: tuple[int, ...]) -> np.random.SeedSequence:
    # as text: NumPy cuts numbers into words of 32 bits, so that 2³² and the pair (0, 1) would be one
    return np.random.SeedSequence(tuple(" ".join([purpose, *map(str, seeds)]).encode()))
