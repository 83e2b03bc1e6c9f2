"""The same ring in every format that people have: each is read as that ring, and what was left out is said."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy import sparse
from scipy.io import mmwrite

from tests.datasets.readers.brought import (
    FEATURES,
    LABELS,
    NODES,
    SOURCE,
    TARGET,
    Arrays,
    Files,
    adjacency,
    arrays,
    csr_parts,
    edge_text,
    is_the_ring,
    node_text,
    read,
)
from tests.datasets.test_graphs import tiny_planetoid
from werank_core.datasets.errors import GraphError

BOTH = np.concatenate([[SOURCE, TARGET], [TARGET, SOURCE]], axis=1)


def saved(matrix: object) -> bytes:
    """As `scipy.sparse.save_npz` writes it."""
    file = io.BytesIO()
    sparse.save_npz(file, matrix)
    return file.getvalue()


def zipped(member: str) -> bytes:
    """A zip archive that holds one other file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, b"content")
    return file.getvalue()


def single(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def benchmark(separator: str) -> dict[str, np.ndarray]:
    """The layout of gnn-benchmark (Shchur et al. 2018), names of nodes and classes included."""
    found: dict[str, np.ndarray] = {}
    for stem, matrix in (("adj", sparse.csr_matrix(adjacency())), ("attr", sparse.csr_matrix(FEATURES))):
        stem = stem if separator == "_" else f"{stem}_matrix"
        found |= {f"{stem}{separator}{part}": getattr(matrix, part) for part in ("data", "indices", "indptr", "shape")}
    return {**found, "labels": LABELS.astype(np.int8), "class_names": np.array(list("abc"), dtype=object)}


LAYOUTS: dict[str, Arrays] = {
    "ours": arrays(),
    "ours with sparse features": arrays(
        features=None,
        **{f"features_{p}": getattr(sparse.csr_array(FEATURES), p) for p in ("data", "indices", "indptr", "shape")},
    ),
    "pyg": {"edge_index": BOTH, "x": FEATURES, "y": LABELS},
    "pyg, links as rows": {"edge_index": BOTH.T, "x": FEATURES, "y": LABELS[:, None]},
    "pyg, each link once": {"edge_index": np.stack([SOURCE, TARGET]), "x": FEATURES, "y": LABELS},
    "edges counted from 1": {"edges": BOTH.T + 1, "features": FEATURES, "labels": LABELS},
    "two lists of ends": {"src": SOURCE, "dst": TARGET, "feat": FEATURES, "label": LABELS},
    "dense": {"adj": adjacency(), "features": FEATURES, "labels": LABELS},
    "dense, capitals, one-hot": {"A": adjacency().astype(bool), "X": FEATURES.astype("f4"), "Y": np.eye(3)[LABELS]},
    "gnn-benchmark": benchmark("_"),
    "gnn-benchmark, older": benchmark("."),
    "whole numbers kept as floats": arrays(**{name: part.astype(float) for name, part in csr_parts().items()}),
    "labels as text": arrays(labels=np.array(list("abc"))[LABELS]),
    "labels as bytes": arrays(labels=np.array([b"a", b"b", b"c"])[LABELS]),
    "labels as floats": arrays(labels=LABELS.astype(float)),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_of_arrays_is_the_same_graph(tmp_path: Path, layout: Arrays) -> None:
    assert is_the_ring(read(tmp_path, {"graph.npz": layout}).graph)


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array])
def test_scipy_s_own_files_side_by_side(tmp_path: Path, convert: Callable[[np.ndarray], object]) -> None:
    files: dict[str, bytes] = {"adj.npz": saved(convert(adjacency())), "x.npz": saved(convert(FEATURES))}
    assert is_the_ring(read(tmp_path, {**files, "labels.npy": single(LABELS)}).graph)
    with pytest.raises(GraphError, match="no classes: add a table of nodes with a column label"):
        read(tmp_path, {"adj.npz": files["adj.npz"]})


def test_single_arrays_by_their_names_or_shapes(tmp_path: Path) -> None:
    files: dict[str, bytes] = {
        "adj.npy": single(adjacency()),
        "features.npy": single(FEATURES),
        "y.npy": single(LABELS),
    }
    assert is_the_ring(read(tmp_path, files).graph)
    unnamed = dict(zip(("first.npy", "second.npy", "third.npy"), files.values(), strict=True))
    assert is_the_ring(read(tmp_path, unnamed).graph)


TABLES: dict[str, Files] = {
    "csv": {"e.csv": edge_text(), "n.csv": node_text()},
    "tabs": {"e.tsv": edge_text("\t"), "n.tsv": node_text(delimiter="\t")},
    "semicolons": {"e.csv": edge_text(";"), "n.csv": node_text(delimiter=";")},
    "semicolons and decimal commas": {"e.csv": edge_text(";"), "n.csv": node_text(delimiter=";").replace(".", ",")},
    "blanks after commas": {"e.csv": edge_text(", "), "n.csv": node_text(delimiter=", ")},
    "CRLF": {"e.csv": edge_text().replace("\n", "\r\n"), "n.csv": node_text().replace("\n", "\r\n")},
    "Excel's first line": {"e.csv": "sep=;\n" + edge_text(";"), "n.csv": "sep=;\n" + node_text(delimiter=";")},
    "byte order mark": {"e.csv": "\ufeff" + edge_text(), "n.csv": "\ufeff" + node_text()},
    "UTF-16": {"e.csv": edge_text().encode("utf-16"), "n.csv": node_text().encode("utf-16")},
    "gzip": {"e.csv.gz": gzip.compress(edge_text().encode()), "n.csv.gz": gzip.compress(node_text().encode())},
    "edges without a header": {"edges.txt": edge_text(" ", ""), "n.csv": node_text()},
    "SNAP": {"graph.txt": "# Undirected\n# FromNodeId\tToNodeId\n" + edge_text("\t", ""), "n.csv": node_text()},
    "KONECT": {"out.ring": "% sym unweighted\n" + edge_text(" ", ""), "n.csv": node_text()},
    "NetworkX's edge list": {
        "ring.edgelist": "".join(f"{a} {b} {{}}\n" for a, b in zip(SOURCE, TARGET, strict=True)), "n.csv": node_text(),
    },
    "from 1": {"e.csv": edge_text(first=1), "n.csv": node_text()},
    "from and to": {"e.csv": edge_text(header="from,to"), "n.csv": node_text()},
    "unknown names of ends": {"links.csv": edge_text(header="citing paper,cited paper"), "n.csv": node_text()},
    "Gephi": {
        "edges.csv": "Source,Target,Type,Id,Label,Weight\n"
        + "".join(f"{a},{b},Undirected,{a},,1.0\n" for a, b in zip(SOURCE, TARGET, strict=True)),
        "nodes.csv": "Id,Label,timeset,modularity_class,f1,f2,f3\n"
        + "".join(f"{i},name {i},,{LABELS[i]},{','.join(map(str, FEATURES[i]))}\n" for i in range(NODES)),
    },
    "LINQS": {
        "ring.cites": edge_text("\t", ""),
        "ring.content": "".join(
            "\t".join([str(i), *map(str, FEATURES[i]), "abc"[LABELS[i]]]) + "\n" for i in range(NODES)
        ),
    },
    "Geom-GCN": {
        "out1_graph_edges.txt": edge_text("\t", "node_id,node_id"),
        "out1_node_feature_label.txt": "node_id\tfeature\tlabel\n"
        + "".join(f"{i}\t{','.join(map(str, FEATURES[i]))}\t{LABELS[i]}\n" for i in range(NODES)),
    },
    "adjacency matrix as a table": {
        "adj.csv": "\n".join(",".join(map(str, row)) for row in adjacency().astype(int)), "n.csv": node_text(),
    },
    "adjacency matrix with ids": {
        "adj.csv": "\n".join(
            [",".join(["", *(f"n{i}" for i in range(NODES))])]
            + [",".join([f"n{i}", *map(str, row)]) for i, row in enumerate(adjacency().astype(int))]
        ),
        "n.csv": "node,label,f1,f2,f3\n"
        + "".join(f"n{i},{LABELS[i]},{','.join(map(str, FEATURES[i]))}\n" for i in range(NODES)),
    },
    "OGB": {
        "edge.csv": edge_text(header=""),
        "node-feat.csv": "".join(",".join(map(str, row)) + "\n" for row in FEATURES.tolist()),
        "node-label.csv": "".join(f"{label}\n" for label in LABELS),
    },
    "labels and features apart": {
        "edges.csv": edge_text(),
        "labels.csv": "node,label\n" + "".join(f"{i},{LABELS[i]}\n" for i in range(NODES)),
        "features.npy": single(FEATURES),
    },
}  # fmt: skip


@pytest.mark.parametrize("files", TABLES.values(), ids=TABLES)
def test_every_kind_of_table_is_the_same_graph(tmp_path: Path, files: Files) -> None:
    assert is_the_ring(read(tmp_path, files).graph)


def ring_network() -> object:
    graph = nx.cycle_graph(NODES)
    for node in graph:
        graph.nodes[node].update(
            {"club": "abc"[LABELS[node]], **{f"f{k}": x for k, x in enumerate(FEATURES[node].tolist())}}
        )
    return graph


@pytest.mark.parametrize(
    ("ending", "write"), [(".gml", nx.write_gml), (".graphml", nx.write_graphml), (".gexf", nx.write_gexf)]
)
def test_networkx_files_bring_nodes_classes_and_features(
    tmp_path: Path, ending: str, write: Callable[[object, Path], None]
) -> None:
    write(ring_network(), tmp_path / "written")
    found = read(tmp_path, {f"ring{ending}": (tmp_path / "written").read_bytes()})
    assert is_the_ring(found.graph)


def test_node_link_json_as_networkx_and_d3_write_it(tmp_path: Path) -> None:
    graph = ring_network()
    for edges in ("links", "edges"):
        content = json.dumps(nx.node_link_data(graph, edges=edges)).encode()
        assert is_the_ring(read(tmp_path, {"ring.json": content}).graph)


def test_attributes_give_way_to_a_node_table(tmp_path: Path) -> None:
    nx.write_gml(ring_network(), tmp_path / "written")
    content = (tmp_path / "written").read_bytes()
    found = read(tmp_path, {"ring.gml": content, "n.csv": node_text("xyz")})
    assert is_the_ring(found.graph)
    assert any("attributes of its nodes are not used" in note for note in found.notes)


def test_pajek_adjacency_lists_and_matrix_market_bring_links(tmp_path: Path) -> None:
    nx.write_pajek(nx.cycle_graph(NODES), tmp_path / "ring.net")
    nx.write_adjlist(nx.cycle_graph(NODES), tmp_path / "ring.adjlist")
    mmwrite(tmp_path / "ring.mtx", sparse.coo_array(adjacency()))
    for name in ("ring.net", "ring.adjlist", "ring.mtx"):
        assert is_the_ring(read(tmp_path, {name: (tmp_path / name).read_bytes(), "n.csv": node_text()}).graph), name


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"g.npz": b"hello"}, "g.npz is damaged or no NumPy file"),
        ({"g.pt": pickle.dumps([1])}, "g.pt is a pickle, which could run code"),
        ({"g.tar": b"x" * 257 + b"ustar"}, "g.tar is a tar archive"),
        ({"g.xlsx": zipped("xl/workbook.xml")}, "g.xlsx is an Excel file: save each sheet as CSV"),
        ({"g.pt": zipped("archive/data.pkl")}, "g.pt is a PyTorch file, a pickle"),
        ({"g.zip": zipped("edges.csv")}, "'edges.csv' in it, which is no NumPy array"),
        ({"ring.json": b"[1, 2"}, "ring.json cannot be read as json"),
        ({"g.npz": {"arr_0": np.ones((3, 4))}}, r"the files have no edges.* g.npz: not used: arr_0 \(3, 4\)"),
        ({"g.mat": b"MATLAB 5.0 MAT-file"}, "g.mat is a MATLAB file"),
        ({"a.png": b"\x89PNG\r\n"}, "a.png is a picture: put all images into one array"),
        ({"t10k.gz": gzip.compress(b"\0\0\x08\x03" + bytes(12))}, "t10k is an IDX file of MNIST"),
        ({"g.csv": b"<!DOCTYPE html><p>log in"}, "g.csv is a web page"),
        ({"e.csv": "", "n.csv": node_text()}, "e.csv is empty"),
        ({"e.csv": "# nothing\n% at all\n", "n.csv": node_text()}, "e.csv holds comment lines only"),
        ({"e.csv": "source,target\n", "n.csv": node_text()}, "e.csv has no rows"),
        ({"e.csv": edge_text().encode("utf-16")[2:], "n.csv": node_text()}, "UTF-16 without a byte order mark"),
        ({"e.csv.gz": gzip.compress(edge_text().encode())[:-9], "n.csv": node_text()}, "damaged gzip file"),
        ({"ring.gml": "graph [ node [ id 1", "n.csv": node_text()}, "ring.gml cannot be read as gml"),
        ({"a.csv": edge_text(), "b.csv": edge_text(), "n.csv": node_text()}, "a.csv and b.csv both bring edges"),
        ({"e.csv": edge_text()}, "the files have no classes"),
        ({"n.csv": node_text()}, "the files have no edges"),
        (
            {"e.csv": edge_text() + "1,2,3,4\n", "n.csv": node_text()},
            "e.csv: row 14 has 4 columns where 2 are expected",
        ),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, files: Files, sentence: str) -> None:
    with pytest.raises(GraphError, match=sentence) as caught:
        read(tmp_path, files)
    assert len(str(caught.value).splitlines()) == 1


def test_a_small_raw_planetoid_folder_is_read(tmp_path: Path) -> None:
    """500 validation nodes are Cora's; counted off here they reached into the test nodes."""
    tiny_planetoid(tmp_path / "raw", np.eye(60))
    files: Files = {path.name: path.read_bytes() for path in sorted((tmp_path / "raw").iterdir())}
    splits = read(tmp_path, files).graph.own_splits
    assert splits is not None
    rows = [np.flatnonzero(part[0]).tolist() for part in (splits.train, splits.validation, splits.test)]
    assert rows == [list(range(10)), list(range(10, 50)), list(range(50, 60))]
