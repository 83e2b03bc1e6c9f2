"""WERank Lab in the browser: page config and navigation; `streamlit run app.py`."""

import streamlit as st

from pages.components.layout import configure_page

configure_page()

PAGES = {
    "Explore": [
        st.Page("pages/overview.py", title="Overview", url_path="overview", default=True),
        st.Page("pages/compare.py", title="Compare", url_path="compare"),
    ],
    "Experiments": [
        st.Page("pages/toy.py", title="Toy SSL", url_path="toy"),
        st.Page("pages/graph.py", title="Graphs", url_path="graph"),
        st.Page("pages/rank_collapse.py", title="Rank collapse", url_path="rank_collapse"),
    ],
    "Lab": [
        st.Page("pages/runs.py", title="Runs", url_path="runs"),
    ],
}

st.navigation(PAGES).run()
