"""Tables of numbers: name in the vocabulary -> the function that defines the metric and computes what is recorded.

They stand beside their functions (`rank`, `collapse`, `stationarity`). An experiment measures a statistic on rows and
layers of its choice; which numbers are made of it the table says, so that one more entry is recorded everywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Statistic = TypeVar("Statistic")


def numbers(table: Mapping[str, Callable[[Statistic], Tensor]], statistic: Statistic) -> dict[str, Tensor]:
    """Every number of a table, (...) each."""
    return {name: number(statistic) for name, number in table.items()}


def layer_numbers(table: Mapping[str, Callable[[Statistic], Tensor]], layers: Sequence[Statistic]) -> dict[str, Tensor]:
    """Every number of a table for every layer, (..., L) each."""
    return {name: torch.stack([number(layer) for layer in layers], -1) for name, number in table.items()}
