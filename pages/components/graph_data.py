"""Graphs a page can use: whether they are on this machine, and how one's own gets there."""

import tempfile
from pathlib import Path

import streamlit as st

from pages.components.forms import keep_value
from pages.components.plain import plain
from werank_core.config import GraphConfig
from werank_core.datasets.graph_catalogue import CATALOGUE, GraphError, is_downloaded
from werank_core.datasets.graph_data import Graph
from werank_core.datasets.graph_files import graph_from_csv, graph_from_npz, keep_own_graph, own_graph_names
from werank_core.datasets.graph_memory import check_budget, free_bytes, needed_bytes
from werank_core.settings import settings
from werank_core.sweeps import SweepSpec


def graph_is_there(spec: SweepSpec, prefix: str) -> bool:
    """Whether the sweep's graph can be loaded and fits the memory; where not, one sentence and what to do."""
    config = spec.config
    assert isinstance(config, GraphConfig)
    root = settings().data_folder
    if config.dataset == "own" and not _own_graph_is_there(config.own_graph, root):
        return False
    try:
        check_budget(needed_bytes(config, root), free_bytes(), config.memory_share)
    except GraphError as error:
        st.error(plain(f"{str(error)[:1].upper()}{str(error)[1:]}"), icon=":material/error:")
        return False
    if config.dataset not in CATALOGUE or is_downloaded(config.dataset, root) or config.download:
        return True
    title = CATALOGUE[config.dataset].title
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(f"{title} is not on this machine yet. The first job of the sweep can fetch it.")
        if st.button(f"Fetch {title}", key=f"{prefix}_fetch"):
            keep_value(prefix, "download", True)
            st.rerun()
    return False


def _own_graph_is_there(name: str, root: Path) -> bool:
    names = own_graph_names(root)
    if name in names:
        return True
    known = f"uploaded are {', '.join(names)}" if names else "upload one at the bottom of the page"
    st.warning(plain(f"There is no graph of yours called {name!r}: {known}."))
    return False


def show_own_graph(prefix: str) -> None:
    """Upload of a graph: checked before it is kept, never unpickled, never used as a path; one button trains on it."""
    with st.expander("Use your own graph", icon=":material/upload:"):
        st.markdown(
            "One **.npz** file (`indptr` and `indices` of the CSR adjacency, `features`, `labels`), or two **.csv**: "
            "edges with columns `source, target`, and nodes with `label`, feature columns and optionally `node` ids."
        )
        name = st.text_input("Name", key="graph_own_name", max_chars=40, placeholder="letters, digits, _ and -")
        files = st.file_uploader("Files", type=["npz", "csv"], accept_multiple_files=True, key="graph_own_files")
        clean = st.toggle("Remove self-loops and isolated nodes", key="graph_own_clean")
        if st.button("Check and keep", disabled=settings().demo or not (name and files), key="graph_own_keep"):
            _keep(name, {file.name: file.getvalue() for file in files}, prefix, clean=clean)


def _keep(name: str, files: dict[str, bytes], prefix: str, *, clean: bool) -> None:
    try:
        graph = _checked(name, files, clean=clean)
        keep_own_graph(graph, settings().data_folder)
    except GraphError as error:
        st.error(plain(error), icon=":material/error:")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        counts = f"{graph.num_nodes:,} nodes, {graph.num_edges // 2:,} edges, {graph.num_classes} classes"
        st.success(f"{plain(name)} is kept: {counts}.")
        st.button(f"Use {plain(name)}", on_click=_choose, args=(prefix, name), key="graph_own_use")


def _choose(prefix: str, name: str) -> None:
    """Set the form's graph to the uploaded one."""
    keep_value(prefix, "dataset", "own")
    keep_value(prefix, "own_graph", name)


def _checked(name: str, files: dict[str, bytes], *, clean: bool) -> Graph:
    """Read under fixed names: what the browser calls a file never becomes a path."""
    with tempfile.TemporaryDirectory() as folder:
        npz = [content for key, content in files.items() if key.endswith(".npz")]
        if len(npz) == 1 and len(files) == 1:
            path = Path(folder) / "graph.npz"
            path.write_bytes(npz[0])
            return graph_from_npz(name, path, clean=clean)
        tables = {_table_kind(content): content for content in files.values()}
        if set(tables) != {"edges", "nodes"} or len(files) != 2:
            raise GraphError("Give one .npz file, or two .csv files: one with source and target, one with label.")
        for kind, content in tables.items():
            (Path(folder) / f"{kind}.csv").write_bytes(content)
        return graph_from_csv(name, Path(folder) / "edges.csv", Path(folder) / "nodes.csv", clean=clean)


def _table_kind(content: bytes) -> str:
    header = content.split(b"\n", 1)[0].decode("utf-8", "replace").lower()
    return "edges" if "source" in header and "target" in header else "nodes" if "label" in header else "unknown"
