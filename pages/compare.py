"""Compare: what changes between two to six sweeps or strengths, and is the difference larger than the noise?"""

import streamlit as st

from pages.components import cached
from pages.components.charts import show_figure, theme
from pages.components.comparison import differences, differing_settings, items, overlaid
from pages.components.layout import explained_errors, show_heading
from werank_core.experiments import EXPERIMENTS
from werank_core.figures.alt_text import strength_alt_text
from werank_core.figures.strength import plot_strength
from werank_core.figures.summaries import summarize_strength

HOW_TO_READ = """
Add whole sweeps, or single strengths of them. Differences are taken against the **first** one, seed by seed where both
have the same seeds (then n counts pairs), else as two independent groups (Welch). The interval is Student-t at 95%;
the effect size is the mean difference over its standard deviation.
"""
MOST = 6

with explained_errors():
    show_heading(
        "What changes between these runs, and is it more than noise?",
        "Put two to six sweeps or strengths side by side: only what differs, curves on one axis, paired differences.",
        HOW_TO_READ,
    )
    available = items(cached.sweeps())
    if not available:
        st.info(
            "Nothing to compare yet: run a sweep first, on an experiment's page or with the example on the overview."
        )
        st.stop()
    keys = st.multiselect(
        "Compare", list(available), format_func=lambda key: available[key].label, max_selections=MOST,
        key="compare_items", bind="query-params", placeholder="Add sweeps or strengths; the first is the reference",
    )  # fmt: skip
    chosen = [available[key] for key in keys]
    if len(chosen) < 2:
        st.caption("Choose at least two.")
        st.stop()

    st.subheader("What differs in configuration", anchor=False)
    settings = differing_settings(chosen)
    if settings.empty:
        st.caption("Nothing: the same configuration.")
    else:
        st.dataframe(settings, hide_index=True, alt="Settings that differ between the compared items")

    headline = EXPERIMENTS[cached.sweep_spec(chosen[0].sweep_id).experiment].headline
    label = EXPERIMENTS[cached.sweep_spec(chosen[0].sweep_id).experiment].strength_label
    frame = overlaid(chosen)
    summary = summarize_strength(frame, headline)
    figure = plot_strength(summary, frame, headline, strength_label=label, theme=theme())
    show_figure(figure, "compare_strength", alt=strength_alt_text(summary, headline, label), table=summary)

    st.subheader("Differences from the first", anchor=False)
    table = differences(chosen, headline)
    st.dataframe(table, hide_index=True, alt="Metric differences with 95% intervals")
    st.download_button("CSV", table.to_csv(index=False), "differences.csv", "text/csv", on_click="ignore")
