"""Details that only rank collapse has: ranks at a tolerance, certificate, closed forms, both knobs, compression."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from pages.components import cached
from pages.components.answer import Choice
from pages.components.charts import Chart, show_chart, strength_chart, theme
from pages.components.details import chosen_layer
from pages.components.run_table import show_runs
from werank_core.config import RankCollapseConfig
from werank_core.figures import collapse_frames as frames
from werank_core.figures.alt_text import map_alt_text
from werank_core.figures.ceilings import SIZES, ceiling_notes
from werank_core.figures.compression import plot_compression, summarize_compression
from werank_core.figures.maps import plot_maps
from werank_core.figures.summaries import distinct, distinct_seconds, summarize_grid, summarize_strength
from werank_core.figures.theory_range import COSINE, RANK, theory_sentences

MAPS = ("test/accuracy", "train/effective_rank", "train/relative_tcv", "distance_to_rank")
TOLERANCES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)


def _states(choice: Choice) -> dict[str, str]:
    runs = cached.runs([choice.sweep_id])
    return dict(zip(runs["run_id"], runs["state"], strict=True))


def show_theory_range(choice: Choice) -> None:
    """In words: where the stationary theory applies, beside the smallest λ at which a layer has rank K."""
    config = choice.spec.config
    assert isinstance(config, RankCollapseConfig)
    frame = cached.counted_metrics(choice.sweep_id, (COSINE, RANK))
    theory = theory_sentences(frame, config.target_rank, choice.second_title) if config.coupled else ()
    if told := [*theory, *_why_residuals_stay(choice)]:
        st.caption("  \n".join(told))


def show_ranks(choice: Choice) -> None:
    """Numerical rank per layer against λ, from the stored spectra, at a tolerance that is a control."""
    tolerance = st.select_slider(
        "Tolerance: singular values above this share of the largest count", TOLERANCES, value=1e-2,
        key=f"{choice.prefix}_tolerance", format_func=lambda value: f"{value:g}", bind="query-params",
    )  # fmt: skip
    spectra = choice.rows(cached.arrays(choice.sweep_id, "weight_spectrum"))
    points = frames.ranks_at_tolerance(spectra, float(tolerance), _states(choice))
    points = points[points["layer"] > 0] if len(points) else points
    _show_strengths(choice, points, ("weight_numerical_rank",), "ranks", "Ranks")


def _show_strengths(
    choice: Choice, points: pd.DataFrame, metrics: tuple[str, ...], name: str, called: str, **options: Any
) -> None:
    """Metrics that a panel made, against λ."""
    summary = summarize_strength(points, metrics, expected_seeds=choice.spec.seeds)
    chart = strength_chart(summary, points, metrics, choice.experiment.strength_label, theme=theme(), **options)
    scope = (choice.sweep_id, metrics, choice.second_value)
    show_chart(chart, f"{choice.prefix}_{name}", called=called, scope=scope)


def show_certificate(choice: Choice) -> None:
    """Distance to rank K below its two bounds and ‖W‖_F, layer by layer, and how tight the informative bounds are."""
    counts = frames.certificate_counts(choice.rows(cached.history(choice.sweep_id, frames.CERTIFICATE)))
    st.caption(" ".join([frames.certificate_sentence(counts), *_why_residuals_stay(choice)]))
    if counts.exceeded:
        st.error(f"{counts.exceeded} of them are exceeded beyond rounding, which cannot be: these records are broken.")
    newest = choice.rows(cached.counted_metrics(choice.sweep_id, frames.CERTIFICATE))
    layers = sorted({int(layer) for layer in newest.loc[newest["metric"] == "distance_to_rank", "layer"]})
    if not layers:
        return
    layer = chosen_layer(choice, layers)
    points = frames.certificate_points(newest[newest["layer"] == layer])
    _show_strengths(choice, points, frames.CERTIFICATE_ROWS, "certificate", "Certificates")
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
    target = np.stack([np.asarray(values, float) for values in targets["values"]]).mean(0)
    strengths = distinct(products["strength"])
    shown = config.replaced(**{axis: choice.second_value}) if axis and choice.second_value is not None else config
    points = frames.product_singular_values(choice.rows(products), _states(choice))
    theory = frames.closed_form_values(target, strengths, shown.depth, shown.narrowest)
    name = "product_singular_value"
    _show_strengths(choice, points, (name,), name, "Singular values of the product", theory=theory)
    if axis == "depth":
        points = frames.product_ranks(products, targets, _states(choice))
        configs = [config.replaced(depth=value) for value in distinct_seconds(products["second_value"])]
        theory = frames.closed_form_ranks(target, strengths, {c.depth: c.narrowest for c in configs})
        options = {"theory": theory, "second_axis_label": "depth"}
        _show_strengths(choice, points, ("product_rank",), "product_rank", "Ranks of the product", **options)
    st.caption("The closed form is drawn for the mean target spectrum of the seeds; each seed has its own.")


def show_both_knobs(choice: Choice) -> None:
    """Weight decay against WERank as linked maps; a click on a cell lists its runs."""
    st.caption(
        "Weight decay lowers rank, WERank raises it. Both at once is this project's synthesis, neither paper's claim."
    )
    if choice.spec.second_axis != "werank_strength":
        st.info("Needs a grid: start from the preset *Both knobs*, whose second axis is the WERank strength.")
        return
    frame = _layers_averaged(cached.counted_metrics(choice.sweep_id, (*MAPS, *SIZES)))
    grids = {name: summarize_grid(frame, name) for name in MAPS}
    label = choice.experiment.strength_label
    figure = plot_maps(
        grids, strength_label=label, second_label=choice.second_title, theme=theme(), notes=ceiling_notes(frame)
    )
    alt = " ".join(map_alt_text(grid, name, label, choice.second_title) for name, grid in grids.items())
    table = pd.concat([grid.assign(metric=name) for name, grid in grids.items()], ignore_index=True)
    points = show_chart(
        Chart(figure, alt, table), f"{choice.prefix}_maps", called="Maps", selectable=True, scope=(choice.sweep_id,)
    )
    cells = [point["customdata"] for point in points if point.get("customdata")]
    if cells:
        runs = cached.runs([choice.sweep_id])
        near = np.isclose(runs["strength"], cells[0][0]) & (runs["second_value"] == cells[0][1])
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
    summary = summarize_compression(choice.rows(cached.arrays(choice.sweep_id, "truncation_curve")))
    figure = plot_compression(summary, strength_label=choice.experiment.strength_label, theme=theme())
    alt = "Test accuracy after truncation against the share of weights kept, one line a weight decay"
    scope = (choice.sweep_id, choice.second_value)
    show_chart(Chart(figure, alt, summary), f"{choice.prefix}_compression", called="Compression", scope=scope)
