"""How a figure is shown: in the viewer's theme, with alternative text, as a table on request, and as files."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components.browser import zoomed
from werank_core.figures.alt_text import strength_alt_text
from werank_core.figures.ceilings import within_ceilings
from werank_core.figures.strength import plot_strength
from werank_core.figures.style import Theme
from werank_core.vocabulary import ROWS, MetricKey
from werank_core.vocabulary.spelling import spelled

# What a table calls the columns that the code names otherwise.
_TITLES = {
    "split": "rows", "second_value": "second axis", "n_expected": "seeds asked for", "num_diverged": "diverged",
    "num_failed": "failed", "num_unfinished": "unfinished", "num_undefined": "undefined", "low": "interval from",
    "high": "interval to", "effective_rank": "effective rank", "kept_parameters": "share kept",
    "truncated_accuracy": "accuracy", "series": "line",
}  # fmt: skip


def theme() -> Theme:
    """The viewer's theme."""
    return "dark" if st.context.theme.type == "dark" else "light"


@dataclass(frozen=True)
class Chart:
    """A figure with what it says in words and in numbers."""

    figure: go.Figure
    alt: str
    table: pd.DataFrame | None = None


def strength_chart(
    summary: pd.DataFrame, points: pd.DataFrame, metrics: Sequence[str], label: str, **options: Any
) -> Chart:
    """Metrics against strength with their words and numbers; options as of `plot_strength`."""
    summary = within_ceilings(summary, points)
    figure = plot_strength(summary, points, metrics, strength_label=label, **options)
    return Chart(figure, strength_alt_text(summary, metrics, label), summary)


def show_chart(
    chart: Chart, key: str, *, called: str = "", selectable: bool = False, scope: Sequence[Hashable] = ()
) -> list[dict[str, Any]]:
    """Draw a chart; returns the points a person has selected in it.

    SVG comes from the chart's own toolbar; the numbers behind it stand in a table and a CSV file below.

    Args:
        chart: what to draw.
        key: of the chart, and of what is remembered of it.
        called: what its table is called, as "Curves"; no two charts of a page have the same.
        selectable: whether points can be selected.
        scope: what the chart is of; with it, the ranges a person zooms to are kept when its runs change.
    """
    figure = zoomed(chart.figure, key, scope) if scope else chart.figure
    config = {"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": key}}
    options: dict[str, Any] = {"on_select": "rerun", "selection_mode": "points"} if selectable else {}
    event = st.plotly_chart(figure, key=key, theme=None, config=config, alt=chart.alt, **options)
    if called and chart.table is not None and not chart.table.empty:
        st.fragment(_show_table)(chart.table, key, called)
    return list(event["selection"]["points"]) if selectable else []


def _show_table(table: pd.DataFrame, key: str, called: str) -> None:
    """Opening it runs this fragment alone; closed, nothing is sent to the browser."""
    opener = st.popover(
        f"{called} as a table", type="tertiary", icon=":material/table_rows:", key=f"{key}_numbers", on_change="rerun"
    )
    if opener.open:
        with opener:
            shown = _telling(table)
            config = number_columns(shown) | {
                name: st.column_config.Column(title)
                for name, title in _TITLES.items()
                if name in shown and not pd.api.types.is_float_dtype(shown[name])
            }
            st.dataframe(shown, hide_index=True, alt=f"The numbers behind {called.lower()}", column_config=config)
            show_csv(table, f"{key}.csv", f"{key}_csv")


def _telling(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a person reads it, without columns that say nothing: empty, or layer 0 everywhere."""
    blank = table.isna() | (table == "")
    dull = [name for name in table if blank[name].all() or (name == "layer" and (table[name] == 0).all())]
    told = table.drop(columns=dull)
    words: dict[str, Callable[[Any], Any]] = {
        "metric": lambda name: MetricKey.parse(str(name)).label if str(name) else name,
        "split": lambda split: ROWS.get(split, split),
        "second_value": lambda value: spelled(value) if isinstance(value, str) else value,
    }
    return told.assign(**{name: told[name].map(word) for name, word in words.items() if name in told})


def number_columns(table: pd.DataFrame) -> dict[str, Any]:
    """Every column of real numbers with 3 significant digits, as charts and cards write them."""
    real = [str(name) for name in table if pd.api.types.is_float_dtype(table[name])]
    digits = {"strength": "%.4g", "second_value": "%.4g"}
    return {
        name: st.column_config.NumberColumn(_TITLES.get(name, name), format=digits.get(name, "%.3g")) for name in real
    }


def show_csv(table: pd.DataFrame, file_name: str, key: str) -> None:
    """A button that downloads a table, written out only when it is pressed."""
    st.download_button("CSV", lambda: table.to_csv(index=False), file_name, "text/csv", key=key, on_click="ignore")
