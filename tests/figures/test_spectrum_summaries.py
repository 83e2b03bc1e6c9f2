"""Ranks of drawn spectra: those of the functions that define the metrics, which the web process may not import."""

import numpy as np
import pytest
import torch

from werank_core.figures import spectrum_summaries
from werank_core.metrics import rank

SPECTRA = np.array([[3.0, 2.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0], [5.0, 0.04, 0.06, 0.0], [1e-8, 1e-9, 0.0, 0.0]])


def test_ranks_of_a_spectrum_are_the_recorded_ones() -> None:
    exact = torch.from_numpy(SPECTRA)
    np.testing.assert_allclose(spectrum_summaries.effective_rank(SPECTRA), rank.effective_rank(exact), rtol=1e-12)
    np.testing.assert_array_equal(spectrum_summaries.numerical_rank(SPECTRA), rank.numerical_rank(exact))


@pytest.mark.parametrize("tolerance", [1e-3, 0.1])
def test_so_are_those_at_another_tolerance(tolerance: float) -> None:
    measured = rank.numerical_rank(torch.from_numpy(SPECTRA), tolerance)
    np.testing.assert_array_equal(spectrum_summaries.numerical_rank(SPECTRA, tolerance), measured)
