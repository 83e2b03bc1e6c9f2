"""How a figure is shown: in the viewer's theme, with alternative text, as a table on request, and as files."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from werank_core.figures.style import Theme


def theme() -> Theme:
    """The viewer's theme."""
    return "dark" if st.context.theme.type == "dark" else "light"


@dataclass(frozen=True)
class Chart:
    """A figure with what it says in words and in numbers."""

    figure: go.Figure
    alt: str
    table: pd.DataFrame | None = None


def show_chart(chart: Chart, key: str, *, selectable: bool = False) -> list[dict[str, Any]]:
    """As `show_figure`."""
    return show_figure(chart.figure, key, alt=chart.alt, table=chart.table, selectable=selectable)


def show_figure(
    figure: go.Figure,
    key: str,
    *,
    alt: str,
    table: pd.DataFrame | None = None,
    selectable: bool = False,
) -> list[dict[str, Any]]:
    """Draw a figure; returns the points a person has selected in it.

    SVG comes from the chart's own toolbar; the numbers behind it stand in a table and a CSV file below.
    """
    config = {"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": key}}
    options: dict[str, Any] = {"on_select": "rerun", "selection_mode": "points"} if selectable else {}
    event = st.plotly_chart(figure, key=key, theme=None, config=config, alt=alt, **options)
    if table is not None and not table.empty:
        st.fragment(_show_table)(table, key)
    return list(event["selection"]["points"]) if selectable else []


def _show_table(table: pd.DataFrame, key: str) -> None:
    """Opening it runs this fragment alone; closed, nothing is sent to the browser."""
    opener = st.popover(
        "Numbers", type="tertiary", icon=":material/table_rows:", key=f"{key}_numbers", on_change="rerun"
    )
    if opener.open:
        with opener:
            st.dataframe(_telling(table), hide_index=True, alt=f"The numbers behind {key}")
            show_csv(table, f"{key}.csv", f"{key}_csv")


def _telling(table: pd.DataFrame) -> pd.DataFrame:
    """The table without columns that say nothing: empty, or layer 0 everywhere."""
    blank = table.isna() | (table == "")
    dull = [name for name in table if blank[name].all() or (name == "layer" and (table[name] == 0).all())]
    return table.drop(columns=dull)


def show_csv(table: pd.DataFrame, file_name: str, key: str) -> None:
    """A button that downloads a table, written out only when it is pressed."""
    st.download_button("CSV", lambda: table.to_csv(index=False), file_name, "text/csv", key=key, on_click="ignore")
