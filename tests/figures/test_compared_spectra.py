import numpy as np
import pandas as pd
import pytest

from tests.figures.frames import array_frame
from werank_core.figures.compared_spectra import (
    compared_spectra_alt_text,
    plot_compared_spectra,
    summarize_compared_spectra,
)
from werank_core.figures.formats import format_value


def arrays(**options: object) -> pd.DataFrame:
    return array_frame(steps=(100,), layers=(1,), **options).assign(sweep_id="sweep")  # type: ignore[arg-type]


def entropy_rank(spectrum: np.ndarray) -> float:
    p = spectrum / spectrum.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def test_one_line_a_name_with_the_rank_of_its_mean() -> None:
    compared = {"wide": arrays(strengths=(0.1,)), "narrow": arrays(strengths=(0.0,), size=4)}
    figure = plot_compared_spectra(summarize_compared_spectra(compared))
    lines = [trace for trace in figure.data if trace.name]
    assert [trace.name.split(":")[0] for trace in lines] == ["narrow", "wide"]
    assert [len(trace.x) for trace in lines] == [4, 6]
    for line, rows in zip(lines, reversed(compared.values()), strict=True):
        mean = np.mean(np.stack(list(rows["values"])).astype(float), axis=0)
        np.testing.assert_allclose(line.y, mean, rtol=1e-6)
        assert line.name.endswith(f": {format_value(entropy_rank(mean))}")
    assert len({(trace.line.color, trace.line.dash) for trace in lines}) == 2


def test_runs_of_different_length_are_one_line() -> None:
    mixed = pd.concat([arrays(strengths=(0.1,)), arrays(strengths=(0.1,)).assign(step=50, run_id="late")])
    summary = summarize_compared_spectra({"mixed": mixed})
    assert len(summary) == 6


def test_one_seed_has_no_band_and_zeros_are_not_drawn() -> None:
    single = arrays(strengths=(0.1,), seeds=1)
    single["values"] = [np.array([2.0, 1.0, 0.0], dtype="float32")]
    figure = plot_compared_spectra(summarize_compared_spectra({"one": single}))
    (line,) = figure.data
    assert list(line.y) == [2.0, 1.0]


@pytest.mark.parametrize("compared", [{}, {"none": arrays().iloc[:0]}])
def test_nothing_to_compare_says_so(compared: dict[str, pd.DataFrame]) -> None:
    summary = summarize_compared_spectra(compared)
    figure = plot_compared_spectra(summary, theme="dark")
    assert not figure.data
    assert "No spectra to compare" in figure.layout.annotations[0].text
    assert compared_spectra_alt_text(summary).startswith("An empty chart")


def test_the_words_give_every_rank() -> None:
    summary = summarize_compared_spectra({"a": arrays(strengths=(0.1,)), "b": arrays(strengths=(0.0,))})
    text = compared_spectra_alt_text(summary)
    for rank in summary["effective_rank"].unique():
        assert format_value(rank) in text
