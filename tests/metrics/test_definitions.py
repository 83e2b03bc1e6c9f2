"""One meaning for every name: the formula that is shown stands in the docstring of the function that is recorded."""

from collections.abc import Callable

import pytest

from werank_core.metrics import collapse, gradients, rank, sensitivity, stationarity
from werank_core.metrics.dirichlet import dirichlet_energy
from werank_core.metrics.probe import macro_f1
from werank_core.training import collapse_measures, collapse_theory
from werank_core.vocabulary import KMEANS, METRICS

TABLES = (
    rank.REPRESENTATION_NUMBERS,
    rank.CENTRED_NUMBERS,
    rank.EMBEDDING_NUMBERS,
    rank.WEIGHT_NUMBERS,
    collapse.CLUSTER_NUMBERS,
    collapse.CLASS_NUMBERS,
    stationarity.LAYER_NUMBERS,
)
DEFINITIONS: dict[str, Callable[..., object]] = {
    **{name: number for table in TABLES for name, number in table.items()},
    "layer_tcv": collapse.relative_tcv,
    "layer_absolute_tcv": collapse.total_cluster_variation,
    "distance_to_rank": rank.distance_to_rank,
    "weight_norm": rank.distance_to_rank,
    "nc3_self_duality": collapse.nc3_self_duality,
    "nc4_agreement": collapse.nc4_agreement,
    "gradient_rank": gradients.gradient_rank,
    "gradient_alignment": gradients.gradient_alignment,
    "layer_alignment": sensitivity.layer_alignment_score,
    "product_of_spectral_norms": sensitivity.product_of_spectral_norms,
    "response_sensitivity": sensitivity.response_sensitivity,
    "edge_sensitivity": sensitivity.edge_sensitivity,
    "feature_sensitivity": sensitivity.feature_sensitivity,
    "dirichlet_energy": dirichlet_energy,
    "macro_f1": macro_f1,
    "closed_form_error": collapse_theory.closed_form_error,
    "centroid_distance": collapse_theory.centroid_distance,
    "expected_layer_tcv": collapse_theory.expected_layer_tcv,
    "truncated_accuracy": collapse_measures.truncations,
    "kept_parameters": collapse_measures.truncations,
}
OF_THE_RUN = {
    "loss", "objective", "penalty", "accuracy", "untrained_accuracy", "penalty_cost", "step_seconds", "stationary_at",
    "measured_rows", "representation_width", "embedding_width", "product_rank", "product_singular_value",
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_formula_shown_is_the_docstrings(name: str) -> None:
    docstring = " ".join((DEFINITIONS[name].__doc__ or "").split())
    assert METRICS[name].formula in docstring


def test_every_metric_has_a_defining_function_or_is_a_fact_of_the_run() -> None:
    assert {name.removeprefix(KMEANS) for name in METRICS} == DEFINITIONS.keys() | OF_THE_RUN
    assert not DEFINITIONS.keys() & OF_THE_RUN
