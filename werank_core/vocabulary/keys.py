"""The key of a recorded number: which metric, on which rows, of which layer."""

from dataclasses import dataclass
from typing import Self

from werank_core.vocabulary.metrics import Metric, metric

ROWS = {"train": "training rows", "test": "test rows", "all": "all rows"}
"""What a split says: which rows a number was computed on, and nothing else."""


@dataclass(frozen=True)
class MetricKey:
    """One recorded number: which metric, on which rows ("" where it is of none), of which layer (0: of none).

    Its text is "split/metric", or "metric" without a split; layers are a column of their own, never part of the text.
    """

    metric: str
    split: str = ""
    layer: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key written as "split/metric" or "metric"."""
        split, _, name = text.rpartition("/")
        return cls(name, split)

    def __str__(self) -> str:
        return f"{self.split}/{self.metric}" if self.split else self.metric

    @property
    def known(self) -> Metric:
        """What the vocabulary says of the metric."""
        return metric(self.metric)

    @property
    def label(self) -> str:
        """As tables and cards name it: "effective rank, test rows"."""
        return ", ".join(filter(None, [self.known.label, ROWS.get(self.split, self.split)]))
