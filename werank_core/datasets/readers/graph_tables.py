"""Tables of a graph: which of them hold edges and which nodes, and what an edge list says."""

import re
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
import pandas as pd

from werank_core.datasets.errors import GraphError
from werank_core.datasets.readers.node_tables import nodes_part
from werank_core.datasets.readers.parts import Edges, Part, text_ids
from werank_core.datasets.readers.tables import FEATURES, IDS, LABELS, SOURCES, SPLITS, TARGETS, WEIGHTS, Table, bare

_EDGE_NAMES = re.compile(r"edge|link|cites|adj|graph|relation|net")
_NODE_NAMES = re.compile(r"node|label|feat|content|attr|vert|class")


def table_parts(tables: Sequence[Table]) -> list[Part]:
    """Every table as edges or as nodes.

    Raises: GraphError: which is which cannot be told, or a cell is not what its column says.
    """
    matrices = [_adjacency_part(table) if len(tables) > 1 else None for table in tables]
    tables = [table for table, matrix in zip(tables, matrices, strict=True) if matrix is None]
    parts = [matrix for matrix in matrices if matrix is not None]
    roles = [_role(table) for table in tables] + ["edges"] * len(parts)
    for number, table in enumerate(tables):
        roles[number] = roles[number] or _role_by_elimination(table, roles)
    return parts + [edges_part(t) if role == "edges" else nodes_part(t) for t, role in zip(tables, roles, strict=False)]


def _adjacency_part(table: Table) -> Part | None:
    """A square table of numbers as an adjacency matrix; its first column and header may hold the ids of the nodes."""
    frame, ids = table.frame, None
    if table.named and len(table.columns) == len(frame) + 1:
        ids = text_ids(frame[0])
        if not ids.equals(text_ids(table.columns[1:])):
            return None
        frame = frame.drop(columns=0)
    square = len(frame) == frame.shape[1] > 2 and (not table.named or ids is not None)
    if not square or bare(table.columns[-1]) in LABELS:
        return None
    numbers = frame.apply(pd.to_numeric, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if np.isnan(numbers).any():
        return None
    source, target = numbers.nonzero()
    table.notes.append(f"{table.name}: read as an adjacency matrix of {len(frame):,} nodes.")
    edges = Edges(source, target, numbers[source, target], file=table.name)
    if ids is not None:
        edges.source, edges.target = ids.iloc[source].reset_index(drop=True), ids.iloc[target].reset_index(drop=True)
    return Part(edges, None if ids is not None else len(frame), notes=table.notes, file=table.name)


def _role(table: Table) -> str:
    """ "edges" or "nodes" by names of columns, then by the file's name; "" where neither tells."""
    names = [bare(name) for name in table.columns]
    if table.named:
        twice = len(names) == 2 and names[0] == names[1]
        ends = [name for name in names if name in SOURCES | TARGETS and (len(name) > 1 or len(names) < 4)]
        if twice or (SOURCES & set(ends) and TARGETS & set(ends)):
            return "edges"
        if set(names) & {*LABELS, *SPLITS, *FEATURES}:
            return "nodes"
    if len(names) > 4:
        return "nodes"
    name = PurePath(table.name).stem.casefold() + PurePath(table.name).suffix.casefold()
    found = [role for role, pattern in (("nodes", _NODE_NAMES), ("edges", _EDGE_NAMES)) if pattern.search(name)]
    return "nodes" if len(names) == 1 else found[0] if found else ""


def _role_by_elimination(table: Table, roles: Sequence[str]) -> str:
    if "edges" not in roles and len(table.columns) in (2, 3, 4):
        return "edges"
    if "edges" in roles and "nodes" not in roles:
        return "nodes"
    shown = ", ".join(name or "(no name)" for name in table.columns[:8])
    raise GraphError(
        f"{table.name} could be edges or nodes; its columns are {shown}: call two source and target, or one label."
    )


def edges_part(table: Table) -> Part:
    """The links of an edge list."""
    source, target = (table.find(*sorted(names, key=len, reverse=True)) for names in (SOURCES, TARGETS))
    if source is None or target is None:
        if table.named and table.find(*IDS) is None and source != target:
            absent = "source" if source is None else "target"
            raise GraphError(f"{table.name} has no column {absent!r}; its columns are {', '.join(table.columns[:8])}.")
        if len(table.columns) < 2:
            raise GraphError(f"{table.name} has one column; an edge list has two, source and target.")
        first = 1 if table.named and not table.columns[0] and len(table.columns) > 2 else 0
        source, target = first, first + 1
    frame = table.frame
    for place in (source, target):
        if frame[place].isna().any():
            row = int(np.flatnonzero(frame[place].isna())[0]) + 1
            raise GraphError(f"{table.name}: row {row} has no id in column {table.called(place)}.")
    edges = Edges(text_ids(frame[source]), text_ids(frame[target]), file=table.name)
    if table.guessed:
        edges.first_line = table.columns[source], table.columns[target]
    rest = [place for place in range(len(table.columns)) if place not in (source, target)]
    for place in list(rest):
        name = bare(table.columns[place])
        if name in WEIGHTS:
            weights = pd.to_numeric(frame[place], errors="coerce").to_numpy(np.float64, na_value=np.nan)
            if np.isfinite(weights).all():
                edges.weights = weights
                rest.remove(place)
        elif name == "type" and {*frame[place].dropna().astype("str").str.casefold()} <= {"directed", "undirected"}:
            rest.remove(place)
    unused = [table.called(place) for place in rest if frame[place].notna().any()]
    if unused:
        table.notes.append(f"{table.name}: column{'s' * (len(unused) > 1)} {', '.join(unused[:6])} not used.")
    return Part(edges=edges, notes=table.notes, file=table.name)
