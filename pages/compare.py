"""Compare: what changes between two to six sweeps or strengths, and is the difference larger than the noise?"""

import streamlit as st

from pages.components.compare_parts import (
    choose_items,
    compared_experiment,
    show_curves,
    show_differences,
    show_settings,
    show_spectra,
)
from pages.components.layout import explained_errors, show_heading

HOW_TO_READ = """
Add whole sweeps, or single strengths of them. Differences are taken against the **first** one, seed by seed where both
have the same seeds (then n counts pairs), else as two independent groups (Welch). The interval is Student-t at 95%;
the effect size is the mean difference over its standard deviation.
"""

with explained_errors():
    show_heading(
        "What changes between these runs, and is it more than noise?",
        "Put two to six sweeps or strengths side by side: only what differs, curves on one axis, paired differences.",
        HOW_TO_READ,
    )
    chosen = choose_items()
    if len(chosen) > 1:
        experiment = compared_experiment(chosen)
        picture, settings = st.columns([5, 3])
        with picture:
            show_curves(chosen, experiment)
        with settings:
            show_settings(chosen)
        show_differences(chosen, experiment)
        show_spectra(chosen, experiment)
