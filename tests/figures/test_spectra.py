import numpy as np
import pandas as pd
import pytest

from tests.figures.frames import array_frame
from werank_core.figures.formats import format_value
from werank_core.figures.spectra import plot_spectra
from werank_core.figures.spectrum_summaries import effective_rank, summarize_spectra


def of_layer(arrays: pd.DataFrame, layer: int = 1) -> pd.DataFrame:
    summary = summarize_spectra(arrays)
    return summary[summary["layer"] == layer]


def lines_of(traces):  # type: ignore[no-untyped-def]
    return [t for t in traces if t.name is not None]


def dotted(figure):  # type: ignore[no-untyped-def]
    return [t for t in figure.data if t.line.dash == "dot"]


def moving(figure, frame):  # type: ignore[no-untyped-def]
    """The frame's data of the traces that are lines."""
    return [data for trace, data in zip(figure.data, frame.data, strict=True) if trace.name is not None]


def test_one_layer_on_a_log_axis_and_one_line_a_strength() -> None:
    figure = plot_spectra(of_layer(array_frame()))
    lines = lines_of(figure.data)
    assert len(lines) == 2
    assert figure.layout.yaxis.type == "log"
    assert all(list(t.x) == [1, 2, 3, 4, 5, 6] for t in lines)


def test_the_printed_rank_is_that_of_the_drawn_values_at_every_stop() -> None:
    figure = plot_spectra(of_layer(array_frame(steps=(0, 50, 100))))
    assert [frame.name for frame in figure.frames] == ["0", "50", "100"]
    for frame in figure.frames:
        for line in moving(figure, frame):
            assert line.name.endswith(format_value(effective_rank(np.array(line.y))))


def test_slider_starts_at_the_last_step_above_the_picture_and_frames_line_up_with_the_traces() -> None:
    figure = plot_spectra(of_layer(array_frame()))
    (slider,) = figure.layout.sliders
    assert (slider.active, [step.label for step in slider.steps]) == (1, ["0", "100"])
    assert (slider.y, slider.yanchor) == (1, "bottom")
    assert all(len(frame.data) == len(figure.data) for frame in figure.frames)
    np.testing.assert_allclose(lines_of(figure.data)[0].y, moving(figure, figure.frames[-1])[0].y)


def test_strengths_that_began_alike_share_one_dotted_line_of_the_first_step() -> None:
    arrays = array_frame()
    start = arrays["step"] == 0
    arrays.loc[start, "values"] = pd.Series([np.array([3.0, 2.0, 1.0], "float32")] * start.sum(), arrays.index[start])
    figure = plot_spectra(of_layer(arrays))
    (line,) = dotted(figure)
    assert list(line.y) == [3.0, 2.0, 1.0]
    printed = format_value(effective_rank(np.array([3.0, 2.0, 1.0])))
    assert f"{printed} at step 0" in figure.layout.legend.title.text


def test_strengths_that_began_differently_have_a_dotted_line_each_and_both_ranks() -> None:
    figure = plot_spectra(of_layer(array_frame()))
    first, last = (moving(figure, frame) for frame in figure.frames)
    assert [t.line.color for t in dotted(figure)] == [t.line.color for t in lines_of(figure.data)]
    for line, start, end in zip(dotted(figure), first, last, strict=True):
        np.testing.assert_allclose(line.y, start.y, rtol=1e-4)
        ranks = " → ".join(format_value(effective_rank(np.array(values.y))) for values in (start, end))
        assert end.name.endswith(f": {ranks}")


def test_one_step_has_no_slider() -> None:
    figure = plot_spectra(of_layer(array_frame(steps=(100,))))
    assert not figure.layout.sliders
    assert not figure.frames
    assert not dotted(figure)


def test_zeros_are_left_out_of_the_line_only() -> None:
    arrays = array_frame(steps=(100,), layers=(1,))
    arrays["values"] = [np.array([2.0, 1.0, 0.0], dtype="float32")] * len(arrays)
    figure = plot_spectra(of_layer(arrays))
    assert list(lines_of(figure.data)[0].y) == [2.0, 1.0, None]


@pytest.mark.parametrize("many", [2, 5])
def test_bands_only_where_they_stay_readable(many: int) -> None:
    arrays = array_frame(strengths=[0.0, 0.01, 0.02, 0.05, 0.1][:many])
    figure = plot_spectra(of_layer(arrays))
    assert len([t for t in figure.data if t.fill == "tonexty"]) == (many if many <= 3 else 0)


@pytest.mark.parametrize("summary", [pd.DataFrame(), summarize_spectra(array_frame().iloc[:0])])
def test_nothing_stored_says_so(summary: pd.DataFrame) -> None:
    figure = plot_spectra(summary, theme="dark")
    assert not figure.data
    assert "No spectra yet" in figure.layout.annotations[0].text


def test_one_seed_and_all_zero_spectra() -> None:
    assert lines_of(plot_spectra(of_layer(array_frame(seeds=1))).data)
    arrays = array_frame(steps=(0,))
    arrays["values"] = [np.zeros(4, dtype="float32")] * len(arrays)
    assert not plot_spectra(of_layer(arrays)).data


def test_a_long_training_is_thinned_to_its_ends_and_even_steps_between() -> None:
    arrays = array_frame(strengths=(0.0,), seeds=1, steps=range(0, 1000, 10), layers=(1,))
    figure = plot_spectra(of_layer(arrays))
    names = [int(frame.name) for frame in figure.frames]
    assert len(names) == 24
    assert (names[0], names[-1]) == (0, 990)
    assert max(np.diff(names)) <= 50
