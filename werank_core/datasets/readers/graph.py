"""A graph out of whatever files somebody has: every file is asked what it says, and the whole is checked."""

from collections.abc import Sequence
from pathlib import Path

from werank_core.datasets.errors import DataError, GraphError
from werank_core.datasets.readers.features import FeatureChoice
from werank_core.datasets.readers.files import Brought, Kind, kind_of, plain_text, unpacked
from werank_core.datasets.readers.graph_arrays import arrays_part
from werank_core.datasets.readers.graph_checks import ReadGraph, sound_graph
from werank_core.datasets.readers.graph_tables import table_parts
from werank_core.datasets.readers.parts import Part, merged
from werank_core.datasets.readers.planetoid import planetoid_part
from werank_core.datasets.readers.tables import read_table


def read_graph(
    name: str,
    files: Sequence[Brought],
    folder: Path,
    *,
    features: FeatureChoice = "given",
    drop_small_classes: bool = False,
) -> ReadGraph:
    """The graph in these files.

    Args: folder, where unpacked and decoded files may lie; the rest as in `sound_graph`.
    Raises: GraphError: one sentence.
    """
    try:
        part = graph_part([unpacked(file, folder) for file in files], folder)
        return sound_graph(name, part, features=features, drop_small_classes=drop_small_classes)
    except GraphError:
        raise
    except DataError as error:
        raise GraphError(str(error)) from error


def graph_part(files: Sequence[Brought], folder: Path) -> Part:
    """What all files together say."""
    if not files:
        raise GraphError("there is no file.")
    kinds: dict[Kind, list[Brought]] = {"planetoid": [], "arrays": [], "network": [], "table": []}
    for file in files:
        kinds[kind_of(file)].append(file)
    parts = [arrays_part(file) for file in kinds["arrays"]]
    parts += table_parts([read_table(plain_text(file, folder)) for file in kinds["table"]])
    if kinds["planetoid"]:
        parts.append(_raw_planetoid(kinds["planetoid"]))
    return merged(parts + _network_parts(kinds["network"], folder, parts))


def _raw_planetoid(files: Sequence[Brought]) -> Part:
    named = [part for file in files if (part := file.planetoid_part)]
    data_sets = sorted({data_set for data_set, _ in named})
    if len(data_sets) > 1:
        raise GraphError(f"the raw files are of {' and '.join(data_sets)}: give those of one data set.")
    return planetoid_part({part: file.path for (_, part), file in zip(named, files, strict=True)}, named[0][0])


def _network_parts(files: Sequence[Brought], folder: Path, others: Sequence[Part]) -> list[Part]:
    """Links of network files; attributes of their nodes count where no other file brings nodes."""
    if not files:
        return []
    # NetworkX takes a moment to import, and most graphs come as tables or arrays
    from werank_core.datasets.readers.graph_networkx import network_part

    nodes_elsewhere = any(part.labels is not None or part.features is not None for part in others)
    return [network_part(file, folder, with_nodes=not nodes_elsewhere) for file in files]
