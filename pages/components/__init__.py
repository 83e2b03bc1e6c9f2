"""What the pages are made of: the only rooms besides them that import streamlit."""
