"""`data`: fetch public data sets, add one's own, list what is there, remove it."""

import sys
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.extras import SubcommandApp

from werank_core.datasets import facts, fetching, graph_catalogue, openml
from werank_core.datasets.errors import DataError
from werank_core.datasets.identity import is_fetchable, is_fetched
from werank_core.datasets.own_data import own_file, own_names, remove_own
from werank_core.datasets.readers.process import Report, Request, Wanted, add_own_data
from werank_core.settings import Settings, settings
from werank_core.store.errors import READ_ONLY

Files = tyro.conf.Positional[tuple[Path, ...]]
Name = tyro.conf.Positional[str]
_IMAGE_WORDS = ("image", "pixel", "x_train", "train_images")


def data_app() -> SubcommandApp:
    """The commands of `data`."""
    app = SubcommandApp()
    app.command(name="fetch")(fetch)
    app.command(name="add")(add)
    app.command(name="list")(list_data)
    app.command(name="remove")(remove)
    return app


def fetch(name: Name, raw: Path | None = None) -> int:
    """Download a public data set into the data folder.

    Args:
        name: cora, citeseer, pubmed, wikics, amazon_computers, amazon_photo, coauthor_cs, coauthor_physics, ogbn_arxiv,
            mnist, fashion_mnist or cifar10.
        raw: A folder with the raw files of a graph, in place of the network.
    """
    place = _writable()
    if raw is not None and not raw.is_dir():
        raise DataError(f"raw = {str(raw)!r}: there is no such folder.")
    path = fetch_shown(name, place, raw)
    print(f"{fetching.title_of(name)} is there: {path}")
    return 0


def fetch_shown(name: str, place: Settings, raw: Path | None = None) -> Path:
    """Fetch with the progress on the terminal."""
    console = Console(file=sys.stderr)
    with console.status(f"{fetching.title_of(name)}: starting") as status:
        return fetching.fetch(name, place.data_folder, raw=raw, on_progress=status.update)


def add(
    name: Name,
    files: Files,
    kind: Literal["auto", "graph", "images"] = "auto",
    features: Literal["given", "identity", "degree", "constant"] = "given",
    drop_small_classes: bool = False,
) -> int:
    """Keep a graph or images of your own under a name; what was understood is printed.

    Args:
        name: 1 to 40 letters, digits, _ and -.
        files: An .npz, an edge list and a node table, what NetworkX reads, or a folder with Planetoid's raw files.
        kind: A graph, or images for rank collapse; auto looks into the files.
        features: What stands in for a graph's features: those of the files, one column a node, one a degree, or ones.
        drop_small_classes: Leave classes of fewer than 3 without label instead of refusing them.
    """
    place = _writable()
    listed = [file for path in files for file in _files_of(path)]
    wanted: Wanted = _kind_of(listed) if kind == "auto" else kind
    places = tuple((file.name, str(file.absolute())) for file in listed)
    root = str(place.data_folder.absolute())
    print(told(add_own_data(Request(wanted, name, places, root, features, drop_small_classes))))
    return 0


def told(report: Report) -> str:
    """A report in lines."""
    use = "--dataset own --own_graph" if report.kind == "graph" else "--dataset own_images --own_images"
    experiment = "graph" if report.kind == "graph" else "rank_collapse"
    lines = [f"{report.name} is kept: {report.summary}.", *(f"  {note}" for note in report.notes)]
    lines += ["  It replaces other data; their runs stay and belong to them."] * report.replaced
    return "\n".join([*lines, f"Train on it: python -m werank_core sweep {experiment} {use} {report.name}"])


def _files_of(path: Path) -> list[Path]:
    """The file, or those of a folder (its `raw` where it has one)."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file.")
    if not path.is_dir():
        return [path]
    folder = path / "raw" if (path / "raw").is_dir() else path
    return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))


def _kind_of(files: list[Path]) -> Wanted:
    """Images where a single file of arrays or table says so, else a graph."""
    from werank_core.datasets.readers.npz import array_headers

    if len(files) != 1 or files[0].suffix.lower() not in (".npz", ".npy"):
        return "graph"
    headers = array_headers(files[0])
    names = [name.casefold() for name in headers]
    linked = any(word in name for name in names for word in ("adj", "edge", "indptr", "indices", "link"))
    pictured = any(word in name for name in names for word in _IMAGE_WORDS)
    return "images" if not linked and (pictured or any(len(h.shape) > 2 for h in headers.values())) else "graph"


def list_data() -> int:
    """List public data sets and your own: what is in the data folder, how large it is, and its content's digest."""
    root = settings().data_folder
    table = Table("name", "kind", "state", "holds", "content", box=None)
    for name in own_names("graph", root):
        table.add_row(name, "your graph", "there", *_graph_row(own_file("graph", name, root)))
    for name in own_names("images", root):
        table.add_row(name, "your images", "there", *_images_row(own_file("images", name, root)))
    for name, entry in graph_catalogue.CATALOGUE.items():
        if is_fetchable(name):
            there = is_fetched(name, root)
            published = f"{entry.num_nodes:,} nodes, {entry.num_features:,} features, {entry.num_classes} classes"
            row = _graph_row(graph_catalogue.graph_path(name, root)) if there else (published, "")
            table.add_row(name, "graph", "there" if there else "not fetched", *row)
    for name, images in openml.CATALOGUE.items():
        there = is_fetched(name, root)
        published = f"{images.num_images:,} images, {images.num_classes} classes"
        row = _images_row(openml.image_path(images, root), images.shape) if there else (published, "")
        table.add_row(name, "images", "there" if there else "not fetched", *row)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    print(f"data folder: {root}")
    return 0


def _counts(nodes: int, edges: int, features: int, classes: int) -> str:
    return f"{nodes:,} nodes, {edges // 2:,} edges, {features:,} features, {classes} classes"


def _graph_row(path: Path) -> tuple[str, str]:
    try:
        found = facts.graph_facts(path)
    except DataError as error:
        return str(error), ""
    holds = _counts(found.num_nodes, found.num_edges, found.num_features, found.num_classes)
    return holds + (f", {found.num_unlabelled} without label" if found.num_unlabelled else ""), found.digest


def _images_row(path: Path, shape: tuple[int, int, int] | None = None) -> tuple[str, str]:
    try:
        found = facts.image_facts(path, shape)
    except DataError as error:
        return str(error), ""
    size = " x ".join(str(side) for side in found.shape)
    return f"{found.num_images:,} images of {size}, {found.num_classes} classes", found.digest


def remove(name: Name) -> int:
    """Remove data from the data folder: your own, or a fetched data set. Runs keep their results.

    Args:
        name: As `data list` shows it.
    """
    root = _writable().data_folder
    removed = [f"your {kind}" for kind in remove_own(name, root)]
    if not removed and is_fetchable(name) and is_fetched(name, root):
        images = openml.CATALOGUE.get(name)
        facts.forget(openml.image_path(images, root) if images else graph_catalogue.graph_path(name, root))
        removed = [fetching.title_of(name)]
    if not removed:
        raise DataError(f"there are no data called {name!r} in {root}: `data list` shows what is there.")
    print(f"{' and '.join(removed)} {name!r} removed." if removed[0].startswith("your") else f"{removed[0]} removed.")
    return 0


def _writable() -> Settings:
    if settings().demo:
        raise DataError(READ_ONLY)
    return settings()
