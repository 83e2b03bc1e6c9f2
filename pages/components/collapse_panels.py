"""Details that only rank collapse has: ranks at a tolerance, certificate, closed forms, both knobs, compression."""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.answer import Choice
from pages.components.charts import show_figure, theme
from pages.components.run_table import show_runs
from werank_core.config import RankCollapseConfig
from werank_core.figures import collapse_frames as frames
from werank_core.figures.alt_text import map_alt_text, strength_alt_text
from werank_core.figures.compression import plot_compression, summarize_compression
from werank_core.figures.formats import format_strength
from werank_core.figures.maps import plot_maps
from werank_core.figures.strength import plot_layers_strength, plot_strength
from werank_core.figures.summaries import distinct, summarize_grid, summarize_strength

MAPS = ("test/accuracy", "train/effective_rank", "train/relative_tcv", "distance_to_rank")
TOLERANCES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)


def _states(choice: Choice) -> dict[str, str]:
    return dict(zip(choice.frame["run_id"], choice.frame["state"], strict=True)) if len(choice.frame) else {}


def show_ranks(choice: Choice) -> None:
    """Numerical rank per layer against λ, from the stored spectra, at a tolerance that is a control."""
    tolerance = st.select_slider(
        "Tolerance: singular values above this share of the largest count", TOLERANCES, value=1e-2,
        key=f"{choice.prefix}_tolerance", format_func=lambda value: f"{value:g}",
    )  # fmt: skip
    spectra = cached.arrays(choice.sweep_id, "weight_spectrum")
    points = frames.ranks_at_tolerance(spectra, float(tolerance), _states(choice))
    _show_layers(choice, points, ("weight_numerical_rank",), "ranks")


def _show_layers(choice: Choice, points: pd.DataFrame, metrics: tuple[str, ...], name: str) -> None:
    summary = summarize_strength(points, metrics, expected_seeds=choice.spec.seeds)
    label = choice.experiment.strength_label
    figure = plot_layers_strength(summary, points, metrics, strength_label=label, theme=theme())
    show_figure(figure, f"{choice.prefix}_{name}", alt=strength_alt_text(summary, metrics, label), table=summary)


def show_certificate(choice: Choice) -> None:
    """Distance to rank K below its two bounds and ‖W‖_F, layer by layer, and how tight the informative bounds are."""
    counts = frames.certificate_counts(cached.history(choice.sweep_id, frames.CERTIFICATE))
    st.caption(" ".join([frames.certificate_sentence(counts), *_why_residuals_stay(choice)]))
    if counts.exceeded:
        st.error(f"{counts.exceeded} of them are exceeded beyond rounding, which cannot be: these records are broken.")
    newest = cached.counted_metrics(choice.sweep_id, frames.CERTIFICATE)
    layers = sorted(set(newest.loc[newest["metric"] == "distance_to_rank", "layer"]))
    if not layers:
        return
    layer = st.segmented_control("Layer", layers, default=layers[0], required=True, key=f"{choice.prefix}_bound_layer")
    points = newest[newest["layer"] == layer]
    seconds = distinct(choice.frame["second_value"].dropna())
    if seconds:
        axis = str(choice.spec.second_axis).replace("_", " ")
        second = st.segmented_control(
            axis,
            seconds,
            default=seconds[0],
            required=True,
            key=f"{choice.prefix}_bound_second",
            format_func=format_strength,
        )
        points = points[points["second_value"] == second].assign(second_value=math.nan)
    points, rows = frames.certificate_points(points), frames.CERTIFICATE_ROWS
    summary = summarize_strength(points, rows, expected_seeds=choice.spec.seeds)
    label = choice.experiment.strength_label
    figure = plot_strength(summary, points, rows, strength_label=label, theme=theme())
    alt = strength_alt_text(summary, rows, label)
    show_figure(figure, f"{choice.prefix}_certificate", alt=alt, table=summary)
    st.caption("Tightness is drawn where the certificate is informative; at λ = 0 it is undefined.")


def _why_residuals_stay(choice: Choice) -> Iterator[str]:
    """Sentences on what keeps λW + ∇L₀ away from 0 in this sweep."""
    config = choice.spec.config
    assert isinstance(config, RankCollapseConfig)
    if not config.coupled:
        yield (
            "AdamW decays the weights apart from the loss: the certificate holds, but its residual λW + ∇L₀ does not "
            "go to 0, so that it stays wide."
        )
    if config.werank_strength or choice.spec.second_axis == "werank_strength":
        yield "WERank is in the loss and not in the residual λW + ∇L₀, which it keeps away from 0."


def show_closed_form(choice: Choice) -> None:
    """Deep linear networks on white inputs: measured singular values and ranks in front of the closed form."""
    products = cached.arrays(choice.sweep_id, "product_spectrum")
    targets = cached.arrays(choice.sweep_id, "target_spectrum")
    if products.empty or targets.empty:
        st.info("There is a closed form for deep linear networks on whitened inputs: start from the preset *Theory*.")
        return
    config = choice.spec.config
    assert isinstance(config, RankCollapseConfig)
    axis = choice.spec.second_axis
    configs = {value: config.replaced(**{str(axis): value}) for value in distinct(products["second_value"].dropna())}
    target = np.stack([np.asarray(values, float) for values in targets["values"]]).mean(0)
    label = choice.experiment.strength_label
    strengths = distinct(products["strength"])
    if axis == "depth":
        points = frames.product_ranks(products, targets, _states(choice))
        limits = {c.depth: c.narrowest for c in configs.values()}
        _show_theory(choice, points, "product_rank", frames.closed_form_ranks(target, strengths, limits), label)
    if configs:
        value = st.segmented_control(
            str(axis).replace("_", " ").capitalize(), list(configs), default=list(configs)[-1], required=True,
            key=f"{choice.prefix}_depth", format_func=format_strength,
        )  # fmt: skip
        config, products = configs[value], products[products["second_value"] == value]
    points = frames.product_singular_values(products.assign(second_value=math.nan), _states(choice))
    theory = frames.closed_form_values(target, strengths, config.depth, config.narrowest)
    _show_theory(choice, points, "product_singular_value", theory, label)
    st.caption("The closed form is drawn for the mean target spectrum of the seeds; each seed has its own.")


def _show_theory(choice: Choice, points: pd.DataFrame, name: str, theory: pd.DataFrame, label: str) -> None:
    summary = summarize_strength(points, [name], expected_seeds=choice.spec.seeds)
    figure = plot_strength(
        summary, points, [name], strength_label=label, theme=theme(), theory=theory,
        second_axis_label="depth" if choice.spec.second_axis == "depth" else None,
    )  # fmt: skip
    show_figure(figure, f"{choice.prefix}_{name}", alt=strength_alt_text(summary, [name], label), table=summary)


def show_both_knobs(choice: Choice) -> None:
    """Weight decay against WERank as linked maps; a click on a cell lists its runs."""
    st.caption(
        "Weight decay lowers rank, WERank raises it. Both at once is this project's synthesis, neither paper's claim."
    )
    if choice.spec.second_axis != "werank_strength":
        st.info("Needs a grid: start from the preset *Both knobs*, whose second axis is the WERank strength.")
        return
    frame = _layers_averaged(cached.counted_metrics(choice.sweep_id, MAPS))
    grids = {name: summarize_grid(frame, name) for name in MAPS}
    figure = plot_maps(grids, strength_label=choice.experiment.strength_label, second_label="WERank α", theme=theme())
    alt = " ".join(map_alt_text(grid, name, "weight decay λ", "WERank α") for name, grid in grids.items())
    points = show_figure(figure, f"{choice.prefix}_maps", alt=alt, selectable=True)
    cells = [point["customdata"] for point in points if point.get("customdata")]
    if cells:
        runs = cached.runs([choice.sweep_id])
        near = np.isclose(runs["strength"], cells[0][0]) & np.isclose(runs["second_value"], cells[0][1])
        show_runs(runs[near].reset_index(drop=True), f"{choice.prefix}_cell")


def _layers_averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Distance to rank K as one number a run: the mean over its layers."""
    layered = frame[(frame["metric"] == "distance_to_rank") & (frame["layer"] > 0)]
    keys = [c for c in frame.columns if c not in ("layer", "value")]
    mean = layered.groupby(keys, dropna=False, as_index=False)["value"].mean().assign(layer=0)
    whole = frame[frame["layer"] == 0]
    both: pd.DataFrame = pd.concat([whole, mean], ignore_index=True)[list(frame.columns)]
    return both


def show_compression(choice: Choice) -> None:
    """Accuracy after cutting every layer to its numerical rank, against the parameters kept."""
    summary = summarize_compression(cached.arrays(choice.sweep_id, "truncation_curve"))
    figure = plot_compression(summary, strength_label=choice.experiment.strength_label, theme=theme())
    alt = "Test accuracy after truncation against the share of weights kept, one line a weight decay"
    show_figure(figure, f"{choice.prefix}_compression", alt=alt, table=summary)
