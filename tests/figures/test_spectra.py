import numpy as np
import pandas as pd
import pytest

from tests.figures.frames import array_frame
from werank_core.figures.formats import format_value
from werank_core.figures.spectra import plot_spectra
from werank_core.figures.spectrum_summaries import effective_rank, summarize_spectra


def lines_of(traces):  # type: ignore[no-untyped-def]
    return [t for t in traces if t.name is not None]


def moving(figure, frame):  # type: ignore[no-untyped-def]
    """The frame's data of the traces that are lines."""
    return [data for trace, data in zip(figure.data, frame.data, strict=True) if trace.name is not None]


def test_one_log_panel_per_layer_and_one_line_per_strength() -> None:
    figure = plot_spectra(summarize_spectra(array_frame()))
    lines = lines_of(figure.data)
    assert len(lines) == 2 * 2
    assert (figure.layout.yaxis.type, figure.layout.yaxis2.type) == ("log", "log")
    assert [t.yaxis for t in lines] == ["y", "y", "y2", "y2"]
    assert all(list(t.x) == [1, 2, 3, 4, 5, 6] for t in lines)


def test_the_printed_rank_is_that_of_the_drawn_values_at_every_stop() -> None:
    figure = plot_spectra(summarize_spectra(array_frame(steps=(0, 50, 100))))
    assert [frame.name for frame in figure.frames] == ["0", "50", "100"]
    for frame in figure.frames:
        beside = [a.text for a in frame.layout.annotations if "effective" in a.text]
        for line, printed in zip(moving(figure, frame), (text for text in beside for _ in range(2)), strict=True):
            assert f"<b>{format_value(effective_rank(np.array(line.y)))}</b>" in printed


def test_slider_starts_at_the_last_step_and_frames_line_up_with_the_traces() -> None:
    figure = plot_spectra(summarize_spectra(array_frame()))
    (slider,) = figure.layout.sliders
    assert (slider.active, [step.label for step in slider.steps]) == (1, ["0", "100"])
    assert all(len(frame.data) == len(figure.data) for frame in figure.frames)
    np.testing.assert_allclose(lines_of(figure.data)[0].y, moving(figure, figure.frames[-1])[0].y)


def test_over_strengths_the_lines_are_steps() -> None:
    figure = plot_spectra(
        summarize_spectra(array_frame(steps=(0, 50, 100))), over="strength", strength_label="strength α"
    )
    assert len(lines_of(figure.data)) == 2 * 3
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "0.1"]


def test_one_step_has_no_slider() -> None:
    figure = plot_spectra(summarize_spectra(array_frame(steps=(100,))))
    assert not figure.layout.sliders
    assert not figure.frames


def test_theory_is_drawn_behind_at_every_stop() -> None:
    theory = {(1, 0.1): [3.0, 2.0, 1.0]}
    figure = plot_spectra(summarize_spectra(array_frame()), theory=theory)
    drawn = [t for t in figure.data[:2] if t.line.width == 7 and len(t.y)]
    assert [list(t.y) for t in drawn] == [[3.0, 2.0, 1.0]]
    assert "closed form" in figure.layout.title.text


def test_zeros_are_left_out_of_the_line_only() -> None:
    arrays = array_frame(steps=(100,), layers=(1,))
    arrays["values"] = [np.array([2.0, 1.0, 0.0], dtype="float32")] * len(arrays)
    figure = plot_spectra(summarize_spectra(arrays))
    assert list(lines_of(figure.data)[0].y) == [2.0, 1.0, None]


def test_numerical_rank_is_written_when_asked() -> None:
    arrays = array_frame(steps=(100,), layers=(1,))
    texts = [
        plot_spectra(summarize_spectra(arrays, tolerance=t), numerical=True).layout.annotations[1].text
        for t in (1e-9, 0.9)
    ]
    assert " / 6" in texts[0]
    assert " / 1" in texts[1]


@pytest.mark.parametrize("many", [2, 5])
def test_bands_only_where_they_stay_readable(many: int) -> None:
    arrays = array_frame(strengths=[0.0, 0.01, 0.02, 0.05, 0.1][:many])
    figure = plot_spectra(summarize_spectra(arrays))
    assert len([t for t in figure.data if t.fill == "tonexty"]) == (2 * many if many <= 3 else 0)


@pytest.mark.parametrize("summary", [pd.DataFrame(), summarize_spectra(array_frame().iloc[:0])])
def test_nothing_stored_says_so(summary: pd.DataFrame) -> None:
    figure = plot_spectra(summary, theme="dark")
    assert not figure.data
    assert "No spectra yet" in figure.layout.annotations[0].text


def test_one_seed_and_all_zero_spectra() -> None:
    assert lines_of(plot_spectra(summarize_spectra(array_frame(seeds=1))).data)
    arrays = array_frame(steps=(0,))
    arrays["values"] = [np.zeros(4, dtype="float32")] * len(arrays)
    assert not plot_spectra(summarize_spectra(arrays)).data


def test_a_long_training_is_thinned_to_its_ends_and_even_steps_between() -> None:
    arrays = array_frame(strengths=(0.0,), seeds=1, steps=range(0, 1000, 10), layers=(1,))
    figure = plot_spectra(summarize_spectra(arrays))
    names = [int(frame.name) for frame in figure.frames]
    assert len(names) == 24
    assert (names[0], names[-1]) == (0, 990)
    assert max(np.diff(names)) <= 50
