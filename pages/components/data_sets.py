"""Data that a page needs: whether they are on this machine, fetching them, and how one's own get here."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.forms import keep_value
from pages.components.plain import plain
from werank_core.config import ExperimentConfig
from werank_core.datasets import fetching
from werank_core.datasets.errors import DataError
from werank_core.datasets.facts import GraphFacts
from werank_core.datasets.identity import data_facts, data_name, identified_sweep, is_replaced, missing_download
from werank_core.datasets.own_data import own_names
from werank_core.datasets.readers.process import Report, Request, Wanted, add_own_data
from werank_core.jobs.fetching import start_fetch
from werank_core.settings import settings
from werank_core.sweeps import SweepSpec

POLL_SECONDS = 1.0
LARGEST_UPLOAD_MB = 100
_KEPT_AFTER_A_REFUSAL = 20_000_000
"""Bytes of files that stay in the uploader when they are refused, so that a choice can be changed; more are let go."""

_FORMATS = {
    "graph": "An **edge list and a node table** (CSV, TSV, TXT; any delimiter), **one .npz** (PyG names, CSR or dense "
    "adjacency, gnn-benchmark), SciPy matrices, **GML, GraphML, GEXF, Pajek**, the eight raw files of **Planetoid**, "
    "each also as .gz. Nodes without a label (-1 or an empty cell) are trained on and left out of the scores.",
    "images": "**One .npz** with `images` (N, height, width), with channels first or last, and `labels`; or a table "
    "with a column `label` and one column a pixel.",
}
_WHAT = {"graph": "graph", "images": "images"}


# -- is it there? ------------------------------------------------------------------------------------------------------


def checked_data(spec: SweepSpec, prefix: str) -> SweepSpec | None:
    """The sweep with the identity of its data; None where they cannot be had, and then one sentence and what to do."""
    root = settings().data_folder
    missing = missing_download(spec.config, root)
    if missing is not None:
        _show_fetch(missing, prefix)
        return None
    try:
        spec = identified_sweep(spec.model_copy(update={"config": spec.config.without_identity()}), root)
        facts = data_facts(spec.config, root)
    except DataError as error:
        st.error(_sentence(error), icon=":material/error:")
        return None
    if isinstance(facts, GraphFacts) and facts.num_unlabelled:
        st.caption(plain(unlabelled_note(facts, data_name(spec.config))))
    return spec


def unlabelled_note(facts: GraphFacts, name: str) -> str:
    """What becomes of nodes without a label."""
    count = facts.num_unlabelled
    nodes, are = ("1 node", "it is") if count == 1 else (f"{count:,} nodes", "they are")
    rest = f"{are} trained on and left out of probe and class metrics"
    return f"{name}: {nodes} of {facts.num_nodes:,} without a label; {rest}."


def show_data_note(config: ExperimentConfig) -> None:
    """Below a sweep whose data are no longer those under their name: whose runs these are."""
    if is_replaced(config, settings().data_folder):
        st.warning(
            plain(f"{_begin(data_name(config))} was replaced after this sweep: older runs belong to the old data."),
            icon=":material/history:",
        )


def _show_fetch(name: str, prefix: str) -> None:
    """Fetch, watch, try again: the process is another one, so this only looks."""
    state = fetching.fetch_state(name, settings().data_folder)
    if state.state == "fetching":
        st.fragment(_draw_fetching, run_every=POLL_SECONDS)(name)
        return
    title = fetching.title_of(name)
    with st.container(horizontal=True, vertical_alignment="center"):
        if state.state == "failed":
            st.error(plain(state.sentence), icon=":material/error:")
        else:
            st.warning(plain(f"{title} is not on this machine yet."))
        label = "Try again" if state.state == "failed" else f"Fetch {title}"
        if st.button(label, key=f"{prefix}_fetch", disabled=settings().demo):
            try:
                start_fetch(name, settings())
            except DataError as error:
                st.error(_sentence(error), icon=":material/error:")
                return
            st.rerun()


def _draw_fetching(name: str) -> None:
    state = fetching.fetch_state(name, settings().data_folder)
    if state.state != "fetching":
        st.rerun()
    st.info(plain(state.sentence or f"{fetching.title_of(name)} is being fetched."), icon=":material/downloading:")


def _sentence(error: DataError) -> str:
    return plain(_begin(str(error)))


def _begin(text: str) -> str:
    """With a capital at the beginning, unless it is the name of a file."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


# -- one's own ---------------------------------------------------------------------------------------------------------


def show_own_graph(prefix: str) -> None:
    """Upload of a graph: read in a process of its own, never unpickled, never used as a path; one button uses it."""
    _show_own("graph", prefix)


def show_own_images(prefix: str) -> None:
    """The same for images."""
    _show_own("images", prefix)


def _show_own(kind: Wanted, prefix: str) -> None:
    what = _WHAT[kind]
    with st.expander(f"Use your own {what}", icon=":material/upload:"):
        st.markdown(_FORMATS[kind])
        name = st.text_input("Name", key=f"{prefix}_own_name", max_chars=40, placeholder="letters, digits, _ and -")
        files = st.file_uploader(
            "Files", accept_multiple_files=True, key=_uploader_key(prefix), max_upload_size=LARGEST_UPLOAD_MB,
            help="Larger ones: python -m werank_core data add NAME FILES", disabled=settings().demo,
        )  # fmt: skip
        choices: dict[str, Any] = {}
        if kind == "graph":
            words = {"given": "those of the files", "identity": "one column a node", "degree": "one column a degree",
                     "constant": "ones"}  # fmt: skip
            choices["features"] = st.selectbox(
                "Features", list(words), format_func=words.__getitem__, key=f"{prefix}_own_features"
            )
        choices["drop_small_classes"] = st.toggle(
            "Drop classes of fewer than 3", key=f"{prefix}_own_drop", help="Their samples count as without a label."
        )
        ready = bool(name and files) and not settings().demo
        asked = None if ready or settings().demo else "Needs a name and one or more files first."
        if st.button("Check and keep", disabled=not ready, key=f"{prefix}_own_keep", help=asked) and ready:
            with st.spinner("Reading the files"):
                st.session_state[f"{prefix}_own_told"] = _read(kind, name, files, choices)
            if _let_go(files, prefix):
                st.rerun()
        _show_told(prefix)
        if names := own_names(kind, settings().data_folder):
            st.caption(plain(f"Kept here: {', '.join(names)}."))


def _uploader_key(prefix: str) -> str:
    return f"{prefix}_own_files_{st.session_state.get(f'{prefix}_own_round', 0)}"


def _read(kind: Wanted, name: str, files: Sequence[Any], choices: dict[str, Any]) -> Report | str:
    """Read and keep; one sentence where that is not possible. What the browser calls a file never becomes a path."""
    with tempfile.TemporaryDirectory(prefix="werank-upload-") as folder:
        places = []
        for number, file in enumerate(files):
            path = Path(folder) / f"file-{number}"
            path.write_bytes(file.getbuffer())
            places.append((str(file.name), str(path)))
        try:
            return add_own_data(Request(kind, name, tuple(places), str(settings().data_folder.absolute()), **choices))
        except DataError as error:
            return _begin(str(error))


def _let_go(files: Sequence[Any], prefix: str) -> bool:
    """Give the memory of uploaded files back once they are kept, or refused and large; empties the uploader then.

    Streamlit holds uploads until the session ends, unless the person removes them one by one.
    """
    kept = isinstance(st.session_state[f"{prefix}_own_told"], Report)
    if not kept and sum(file.size for file in files) <= _KEPT_AFTER_A_REFUSAL:
        return False
    context = get_script_run_ctx()
    if context is not None and hasattr(context.uploaded_file_mgr, "remove_file"):
        for file in files:
            context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)
    st.session_state[f"{prefix}_own_round"] = st.session_state.get(f"{prefix}_own_round", 0) + 1
    return True


def _show_told(prefix: str) -> None:
    """What came of the last files."""
    told = st.session_state.get(f"{prefix}_own_told")
    if isinstance(told, str):
        st.error(plain(told), icon=":material/error:")
    if not isinstance(told, Report):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.success(plain(f"{told.name} is kept: {told.summary}."))
        st.button(f"Use {plain(told.name)}", on_click=_choose, args=(prefix, told), key=f"{prefix}_own_use")
    notes = [*told.notes, *["It replaces other data; older runs belong to the old one."] * told.replaced]
    st.markdown("\n".join(f"- {plain(note)}" for note in notes))


def _choose(prefix: str, told: Report) -> None:
    """Set the form's data to what was kept."""
    dataset, field = ("own", "own_graph") if told.kind == "graph" else ("own_images", "own_images")
    keep_value(prefix, "dataset", dataset)
    keep_value(prefix, field, told.name)
