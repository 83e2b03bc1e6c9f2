"""From files to kept data and a report: what runs in the process that reads."""

from pathlib import Path

from werank_core.datasets.facts import graph_facts, image_facts
from werank_core.datasets.image_files import LabelledImages
from werank_core.datasets.own_data import check_new_name, keep_own_graph, keep_own_images, own_path
from werank_core.datasets.readers.files import Brought, shown_name
from werank_core.datasets.readers.graph import read_graph
from werank_core.datasets.readers.images import read_images
from werank_core.datasets.readers.process import Report, Request


def keep(request: Request, folder: Path) -> Report:
    """Read what was brought and keep it under its name.

    Args: folder, for files that are unpacked or decoded on the way.
    Raises: DataError: one sentence.
    """
    root = Path(request.root)
    check_new_name(request.kind, request.name, root)
    path = own_path(request.kind, request.name, root)
    before = path.exists()
    files = [Brought(shown_name(name), Path(where)) for name, where in request.files]
    keeper = _keep_graph if request.kind == "graph" else _keep_images
    return keeper(request, files, folder, before)


def _keep_graph(request: Request, files: list[Brought], folder: Path, before: bool) -> Report:
    found = read_graph(
        request.name, files, folder, features=request.features, drop_small_classes=request.drop_small_classes
    )
    facts = graph_facts(keep_own_graph(found.graph, Path(request.root)))
    summary = (
        f"{facts.num_nodes:,} nodes, {facts.num_edges // 2:,} edges, {facts.num_features:,} features, "
        f"{facts.num_classes} classes"
    )
    return Report("graph", request.name, summary, tuple(found.notes), facts.digest, before)


def _keep_images(request: Request, files: list[Brought], folder: Path, before: bool) -> Report:
    found = read_images(files, folder, drop_small_classes=request.drop_small_classes)
    kept = LabelledImages(found.images, found.labels, found.shape)
    facts = image_facts(keep_own_images(request.name, kept, Path(request.root)))
    summary = f"{facts.num_images:,} images, {facts.num_classes} classes"
    return Report("images", request.name, summary, tuple(found.notes), facts.digest, before)
