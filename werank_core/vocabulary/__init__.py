"""The words of the product: run states, metrics with their definitions, and the keys they are recorded under."""

from werank_core.vocabulary.keys import ROWS, MetricKey
from werank_core.vocabulary.metrics import (
    CLUSTER_METRICS,
    KMEANS,
    METRICS,
    PROBE_METRICS,
    VARIATION_METRICS,
    Metric,
    metric,
)
from werank_core.vocabulary.states import RunState

__all__ = [
    "CLUSTER_METRICS",
    "KMEANS",
    "METRICS",
    "PROBE_METRICS",
    "ROWS",
    "VARIATION_METRICS",
    "Metric",
    "MetricKey",
    "RunState",
    "metric",
]
