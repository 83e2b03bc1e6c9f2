"""Graphs in the formats that NetworkX reads (GML, GraphML, GEXF, Pajek, adjacency lists) and in Matrix Market."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import mmread

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.files import Brought, Text, plain_text
from werank_core.datasets.readers.node_tables import nodes_part
from werank_core.datasets.readers.parts import Edges, Part, text_ids
from werank_core.datasets.readers.tables import IDS, Table, bare

_READERS: dict[str, Callable[[str], Any]] = {
    ".gml": lambda path: nx.read_gml(path, label="id"),
    ".graphml": nx.read_graphml,
    ".gexf": nx.read_gexf,
    ".net": nx.read_pajek,
    ".paj": nx.read_pajek,
    ".pajek": nx.read_pajek,
    ".adjlist": nx.read_adjlist,
    ".edgelist": nx.read_edgelist,
    ".json": lambda path: _node_link_graph(Path(path)),
}


def _node_link_graph(path: Path) -> Any:
    """NetworkX's and D3's JSON: nodes with an id, and links (or edges) with source and target."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return nx.node_link_graph(found, edges="links" if "links" in found else "edges")


# Newman's GML files keep the class of a node under "value".
_LEAST_LABELS = ("value",)


def network_part(file: Brought, folder: Path, *, with_nodes: bool) -> Part:
    """Links and, if asked for, what the attributes of the nodes say.

    Raises: GraphError: what the format's reader says is wrong, in one sentence.
    """
    if file.ending == ".mtx":
        return _matrix_market_part(file)
    xml = file.ending in (".graphml", ".gexf")
    text = Text(file.name, file.path) if xml else plain_text(file, folder)
    try:
        graph = _READERS[file.ending](str(text.path))
    except MemoryError:
        raise
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), "")[:160] or type(error).__name__
        raise GraphError(f"{file.name} cannot be read as {file.ending.lstrip('.')} ({said}).") from error
    links = list(graph.edges(data="weight"))
    if not links:
        raise GraphError(f"{file.name} has no edges.")
    part = _attributes_part(graph, text) if with_nodes else Part(file=text.name, notes=text.notes)
    edges = Edges(text_ids([a for a, _, _ in links]), text_ids([b for _, b, _ in links]), file=file.name)
    if any(weight is not None for _, _, weight in links):
        edges.weights = pd.to_numeric(pd.Series([w for _, _, w in links]), errors="coerce").fillna(1.0).to_numpy(float)
    part.edges = edges
    if with_nodes:
        part.node_ids, part.num_nodes = text_ids(list(graph.nodes)), graph.number_of_nodes()
    elif any(attributes for _, attributes in graph.nodes(data=True)):
        part.notes.append(f"{file.name}: attributes of its nodes are not used, another file brings the nodes.")
    return part


def _attributes_part(graph: Any, text: Text) -> Part:
    rows = [
        {key: value for key, value in attributes.items() if not isinstance(value, dict | list)}
        for _, attributes in graph.nodes(data=True)
    ]
    frame = pd.DataFrame(rows, index=range(len(rows)))
    # the id is the node itself, which some formats repeat; Pajek adds where and how to draw it
    drawn = ("x", "y", "shape") if text.name.lower().endswith((".net", ".paj", ".pajek")) else ()
    frame = frame.drop(columns=[name for name in frame.columns if bare(name) in IDS or name in drawn])
    if frame.empty or not len(frame.columns):
        return Part(file=text.name, notes=text.notes)
    names = [str(name) for name in frame.columns]
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = frame[name].map(lambda value: str(value).strip() or None, na_action="ignore").astype("str")
    table = Table(text.name, names, True, frame.set_axis(range(len(names)), axis=1), notes=text.notes)
    return nodes_part(table, least_labels=_LEAST_LABELS, skip_words=True)


def _matrix_market_part(file: Brought) -> Part:
    try:
        found = mmread(str(file.path))
    except MemoryError:
        raise
    except Exception as error:
        raise GraphError(f"{file.name} cannot be read as Matrix Market ({str(error)[:160]}).") from error
    matrix = sparse.coo_array(found)
    if matrix.shape[0] != matrix.shape[1]:
        return Part(features=sparse.csr_array(matrix), file=file.name)
    row, col = (np.asarray(ends, dtype=np.int64) for ends in (matrix.row, matrix.col))
    return Part(edges=Edges(row, col, matrix.data, file=file.name), num_nodes=int(matrix.shape[0]), file=file.name)
