import numpy as np
import pandas as pd
import pytest

from tests.figures.frames import tidy_frame, with_state
from werank_core.figures.comparisons import paired_difference
from werank_core.figures.embeddings import Picture, plot_embeddings
from werank_core.figures.maps import plot_maps, summarize_grid_difference
from werank_core.figures.summaries import summarize_grid

SECONDS = (0.25, 0.5, 1.0)


def grids(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {name: summarize_grid(frame, name) for name in ("effective_rank", "accuracy")}


def drawn_values(figure, place: int = 0) -> np.ndarray:  # type: ignore[no-untyped-def]
    layers = [t for t in figure.data if t.type == "heatmap"][2 * place : 2 * place + 2]
    one, other = (np.array(t.z, dtype=float) for t in layers)
    assert not (np.isfinite(one) & np.isfinite(other)).any()
    return np.where(np.isfinite(one), one, other)


def test_cells_hold_the_means_with_the_baseline_set_apart() -> None:
    frame = tidy_frame(seconds=SECONDS)
    figure = plot_maps(grids(frame))
    values = drawn_values(figure)
    assert values.shape == (3, 5)
    assert np.isnan(values[:, 1]).all()
    cell = frame[(frame["metric"] == "effective_rank") & (frame["strength"] == 0.1) & (frame["second_value"] == 0.5)]
    assert values[1, 3] == pytest.approx(cell["value"].mean())
    assert list(figure.layout.xaxis.ticktext) == ["0", "0.01", "0.1", "1"]


def test_every_cell_can_be_picked() -> None:
    figure = plot_maps(grids(tidy_frame(seconds=SECONDS)))
    pickable = [t for t in figure.data if t.type == "scatter"]
    assert [len(t.customdata) for t in pickable] == [12, 12]
    assert {tuple(c) for c in pickable[0].customdata} == {(s, v) for s in (0.0, 0.01, 0.1, 1.0) for v in SECONDS}


def test_maps_are_linked() -> None:
    figure = plot_maps(grids(tidy_frame(seconds=SECONDS)))
    assert (figure.layout.xaxis2.matches, figure.layout.yaxis2.matches) == ("x", "y")
    assert figure.layout.xaxis.domain[1] < figure.layout.xaxis2.domain[0]
    stacked = plot_maps(grids(tidy_frame(seconds=SECONDS)), columns=1)
    assert stacked.layout.yaxis.domain[0] > stacked.layout.yaxis2.domain[1]


def test_missing_seeds_are_written_into_the_cell() -> None:
    frame = with_state(tidy_frame(seconds=SECONDS), "diverged", 0.1, 0)
    figure = plot_maps(grids(frame))
    texts = [text for t in figure.data if t.type == "heatmap" for row in t.text for text in row if "n = 4" in text]
    assert len(texts) == 2 * 3
    assert "diverged runs not in the" in figure.layout.title.text.replace("<br>", " ")


def test_text_is_black_or_white_by_the_colour_under_it() -> None:
    figure = plot_maps(grids(tidy_frame(seconds=SECONDS)))
    white, black = (t for t in figure.data[:2])
    assert (white.textfont.color, black.textfont.color) == ("#FFFFFF", "#000000")
    assert np.nanmax(np.array(white.z, dtype=float)) < np.nanmin(np.array(black.z, dtype=float))


def test_differences_are_paired_and_centred() -> None:
    frame = tidy_frame(seconds=SECONDS)
    grid = summarize_grid_difference(frame, "accuracy")
    row = grid[(grid["strength"] == 0.1) & (grid["second_value"] == 0.5)].iloc[0]
    expected = paired_difference(frame, "accuracy", 0.0, 0.1, second_value=0.5)
    assert (row["mean"], row["low"], row["n"]) == (expected.difference, expected.low, 5)
    figure = plot_maps({"accuracy": grid}, difference=True)
    assert figure.data[0].zmin == -figure.data[0].zmax
    assert any(text.startswith("+") for t in figure.data[:2] for cells in t.text for text in cells)


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame(), tidy_frame(), tidy_frame(seconds=SECONDS).assign(state="diverged")],
    ids=["empty", "no axis", "diverged"],
)
def test_without_a_grid_it_says_what_is_needed(frame: pd.DataFrame) -> None:
    figure = plot_maps(grids(frame), theme="dark")
    assert not figure.data
    assert "second axis" in figure.layout.annotations[0].text.replace("<br>", " ")
    assert plot_maps({}).layout.annotations[0].text


def test_one_cell_and_one_seed() -> None:
    figure = plot_maps(grids(tidy_frame(strengths=(0.0,), seconds=(1.0,), seeds=1)))
    assert drawn_values(figure).shape == (1, 1)


def test_pictures_share_their_colours_and_legend() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pictures = [
        Picture("α = 0", rng.normal(size=(60, 2)), labels),
        Picture("α = 0.1", rng.normal(size=(60, 2)), labels),
    ]
    figure = plot_embeddings(pictures, class_names=["a", "b", "c"])
    assert {t.type for t in figure.data} == {"scattergl"}
    assert sum(len(t.x) for t in figure.data) == 120
    assert [t.name for t in figure.data if t.showlegend] == ["a", "b", "c"]
    for name in "abc":
        assert len({t.marker.color for t in figure.data if t.name == name}) == 1
    assert [a.text for a in figure.layout.annotations] == ["<b>α = 0</b>", "<b>α = 0.1</b>"]


def test_pictures_without_points() -> None:
    nothing = [Picture("α = 0", np.empty((0, 2)), []), Picture("α = 1", [[np.nan, 1.0]], [0])]
    for pictures in ([], nothing):
        figure = plot_embeddings(pictures)
        assert not figure.data
        assert "No picture yet" in figure.layout.annotations[0].text
