"""How a figure is shown: in the viewer's theme, with alternative text, as a table on request, and as files."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from werank_core.figures.style import Theme


def theme() -> Theme:
    """The viewer's theme."""
    return "dark" if st.context.theme.type == "dark" else "light"


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
        _show_table(table, key)
    return list(event["selection"]["points"]) if selectable else []


def _show_table(table: pd.DataFrame, key: str) -> None:
    with st.popover("Numbers", type="tertiary", icon=":material/table_rows:"):
        st.dataframe(table, hide_index=True, alt=f"The numbers behind {key}")
        st.download_button(
            "CSV", table.to_csv(index=False), f"{key}.csv", "text/csv", key=f"{key}_csv", on_click="ignore"
        )
