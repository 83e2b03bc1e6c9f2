"""A person's own graphs and images in the data folder: kept under a name, listed, loaded, removed."""

import re
from pathlib import Path
from typing import Literal

from werank_core.datasets import facts
from werank_core.datasets.errors import DataError, GraphError, ImageError
from werank_core.datasets.graph_catalogue import CATALOGUE as GRAPHS
from werank_core.datasets.graph_data import Graph, load_saved, save_graph
from werank_core.datasets.image_files import LabelledImages, load_image_file, save_image_file
from werank_core.datasets.openml import CATALOGUE as IMAGES

OwnKind = Literal["graph", "images"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_FOLDERS: dict[OwnKind, str] = {"graph": "graphs", "images": "images"}
_TAKEN = {"block_model", "own", "own_images", "mixture", "gaussian", "digits", *GRAPHS, *IMAGES}


def own_path(kind: OwnKind, name: str, root: Path) -> Path:
    """Where own data of that name lie.

    Raises:
        DataError: a name that is not 1 to 40 letters, digits, `_` or `-`.
    """
    if not _NAME.fullmatch(name):
        error = GraphError if kind == "graph" else ImageError
        raise error(
            f"{name[:60]!r} is no name for your {kind}: use 1 to 40 letters, digits, '_' or '-', the first a letter or "
            "digit."
        )
    return root / _FOLDERS[kind] / "own" / f"{name}.npz"


def own_names(kind: OwnKind, root: Path) -> list[str]:
    """The names of the own data in the data folder, sorted."""
    return sorted(path.stem for path in (root / _FOLDERS[kind] / "own").glob("*.npz") if _NAME.fullmatch(path.stem))


def own_file(kind: OwnKind, name: str, root: Path) -> Path:
    """The file of that name.

    Raises:
        DataError: there is none, with the names that exist.
    """
    path = own_path(kind, name, root)
    if not path.exists():
        known = ", ".join(own_names(kind, root)) or "none yet"
        if kind == "graph":
            raise GraphError(f"there is no graph of your own named {name!r}; there are: {known}. Add it first.")
        raise ImageError(f"there are no images of your own named {name!r}; there are: {known}. Add them first.")
    return path


def check_new_name(kind: OwnKind, name: str, root: Path) -> None:
    """Refuse a name that already means something else.

    Raises:
        DataError: a built-in data set has it, or own data of the other kind.
    """
    own_path(kind, name, root)
    if name in _TAKEN:
        raise DataError(f"{name} is the name of a data set that comes with the program: choose another.")
    other: OwnKind = "images" if kind == "graph" else "graph"
    if name in own_names(other, root):
        raise DataError(f"{name} is already the name of your own {other}: choose another, or remove that first.")


def load_own_graph(name: str, root: Path) -> Graph:
    """The own graph of that name.

    Raises:
        GraphError: no such graph, with the names that exist, or a damaged file.
    """
    return load_saved(name, own_file("graph", name, root))


def keep_own_graph(graph: Graph, root: Path) -> Path:
    """Put a checked graph into the data folder under its name, replacing one of the same name."""
    path = own_path("graph", graph.name, root)
    save_graph(graph, path)
    return path


def load_own_images(name: str, root: Path) -> LabelledImages:
    """The own images of that name.

    Raises:
        ImageError: no such images, with the names that exist, or a damaged file.
    """
    return load_image_file(own_file("images", name, root))


def keep_own_images(name: str, found: LabelledImages, root: Path) -> Path:
    """Put checked images into the data folder under a name, replacing those of the same name."""
    path = own_path("images", name, root)
    save_image_file(found, path)
    return path


def remove_own(name: str, root: Path) -> list[OwnKind]:
    """Remove own data of that name; returns what they were, nothing where there are none."""
    found: list[OwnKind] = [kind for kind in _FOLDERS if name in own_names(kind, root)]
    for kind in found:
        facts.forget(own_path(kind, name, root))
    return found
