"""The files that people bring, before anybody knows what is in them: names, kinds, gzip, and text as UTF-8."""

import gzip
import re
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from werank_core.datasets.errors import DataError
from werank_core.datasets.readers.limits import MOST_BYTES, MOST_TEXT_BYTES, megabytes

Kind = Literal["arrays", "planetoid", "network", "table"]

# What NetworkX (or, for .mtx, SciPy) reads; told by the ending, since the text alone does not tell all of them.
NETWORK_ENDINGS = (".gml", ".graphml", ".gexf", ".net", ".pajek", ".paj", ".adjlist", ".json", ".mtx")
_PLANETOID = re.compile(r"ind\.(.+)\.(x|tx|allx|y|ty|ally|graph|test\.index)")
_SEPARATOR = re.compile(r"\s*sep=.\n", re.IGNORECASE)  # Excel's own first line
_COMMENT = re.compile(r"^[ \t]*[#%].*\n?", re.MULTILINE)

# Beginnings of files that are no text: told apart only to say something useful.
_FOREIGN = {
    b"\x80": "a pickle, which could run code when it is opened: save arrays with numpy.savez, or give tables as text",
    b"\x89HDF": "an HDF5 file: save arrays with numpy.savez, or give tables as text",
    b"PAR1": "a Parquet file: save it as CSV",
    b"MATLAB": "a MATLAB file: save arrays with numpy.savez, or give tables as text",
    b"\xd0\xcf\x11\xe0": "an Excel file: save each sheet as CSV",
    b"BZh": "a bzip2 file: unpack it, or pack it with gzip",
    b"\xfd7zXZ": "an xz file: unpack it, or pack it with gzip",
    b"7z\xbc\xaf": "a 7z archive: give the files inside",
    b"Rar!": "a rar archive: give the files inside",
    b"\x89PNG": "a picture: put all images into one array, and save it with their labels by numpy.savez",
    b"\xff\xd8\xff": "a picture: put all images into one array, and save it with their labels by numpy.savez",
    b"\x00\x00\x08\x01": "an IDX file of MNIST: load it, and save images and labels with numpy.savez",
    b"\x00\x00\x08\x03": "an IDX file of MNIST: load it, and save images and labels with numpy.savez",
    b"%PDF": "a PDF",
    b"<!DOCTYPE html": "a web page, not the data: fetch the file itself",
    b"<html": "a web page, not the data: fetch the file itself",
}


def shown_name(name: str) -> str:
    """What somebody calls a file, in one line that is not too long and keeps its ending."""
    line = "".join(c if c.isprintable() else " " for c in name)
    return line if len(line) <= 80 else f"{line[:50]}...{line[-25:]}"


@dataclass(frozen=True)
class Brought:
    """A file: what its owner calls it, which is used in sentences and never as a path, and where it lies."""

    name: str
    path: Path

    @property
    def ending(self) -> str:
        """The last suffix, in lower case."""
        return PurePath(self.name).suffix.lower()

    @property
    def planetoid_part(self) -> tuple[str, str] | None:
        """Data set and part for the raw files of Planetoid: ("cora", "allx") of `ind.cora.allx`."""
        found = _PLANETOID.fullmatch(PurePath(self.name).name)
        return (found[1], found[2]) if found else None


def kind_of(file: Brought) -> Kind:
    """What reads a file, by its first bytes and, among texts, its ending.

    Raises: DataError: a kind that is not read, with what to do.
    """
    if file.planetoid_part:
        return "planetoid"
    with file.path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")) or file.ending in (".npz", ".npy"):
        return "arrays"
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise DataError(f"{file.name} is {what}.")
    if start[257:262] == b"ustar":
        raise DataError(f"{file.name} is a tar archive: give the files inside.")
    if file.ending in NETWORK_ENDINGS:
        return "network"
    return "network" if file.ending == ".edgelist" and b"{" in start else "table"


def unpacked(file: Brought, folder: Path) -> Brought:
    """The file itself, or what a gzip file holds, written into the folder.

    Raises: DataError: damaged, or larger than what is read.
    """
    with file.path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return file
    inner = Brought(re.sub(r"\.gz$", "", file.name, flags=re.IGNORECASE), folder / f"unpacked-{file.path.name}")
    try:
        with gzip.open(file.path) as packed, inner.path.open("wb") as plain:
            while part := packed.read(1 << 20):
                plain.write(part)
                if plain.tell() > MOST_BYTES:
                    raise DataError(f"{file.name} unpacks to more than {megabytes(MOST_BYTES)}, the most that is read.")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.name} is a damaged gzip file ({error}): pack it again.") from error
    return inner


@dataclass
class Text:
    """A text file as UTF-8 lines without comments; `comment` is the last comment line before the data."""

    name: str
    path: Path
    comment: str = ""
    notes: list[str] = field(default_factory=list)


def plain_text(file: Brought, folder: Path) -> Text:
    """A text with its byte order mark, foreign line ends and comment lines taken away.

    UTF-8 and marked UTF-16 are read, what is neither as Windows-1252 with a note.
    Raises: DataError: too large, or no text.
    """
    size = file.path.stat().st_size
    if size > MOST_TEXT_BYTES:
        raise DataError(
            f"{file.name} has {megabytes(size)} of text; at most {megabytes(MOST_TEXT_BYTES)} are read: save the "
            "arrays with numpy.savez."
        )
    found = Text(file.name, folder / f"text-{file.path.name}")
    text = _decoded(file, found.notes).replace("\r\n", "\n").replace("\r", "\n")
    text = _SEPARATOR.sub("", text, count=1) if _SEPARATOR.match(text) else text
    if not text.strip():
        raise DataError(f"{file.name} is empty.")
    leading = re.match(r"(?:[ \t]*(?:[#%].*)?\n)*", text)
    comments = [line.strip() for line in leading[0].splitlines() if line.strip()] if leading else []
    body = text[leading.end() :] if leading else text
    body, inner = _COMMENT.subn("", body)
    found.comment = comments[-1].lstrip("#%").strip() if comments else ""
    if count := len(comments) + inner:
        found.notes.append(f"{file.name}: {count:,} comment line{'s' * (count > 1)} skipped (# or %).")
    if not body.strip():
        raise DataError(f"{file.name} holds comment lines only (# or %).")
    with found.path.open("w", encoding="utf-8", newline="\n") as plain:
        plain.write(body)
    return found


def _decoded(file: Brought, notes: list[str]) -> str:
    content = file.path.read_bytes()
    marked = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    encoding = next((name for mark, name in marked.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16" or b"\0" in content:
            raise DataError(f"{file.name} is no text in {encoding.upper()}: save it as UTF-8.") from error
        text = content.decode("cp1252", "replace")
        notes.append(f"{file.name}: not UTF-8, read as Windows-1252.")
    if "\0" in text:
        raise DataError(f"{file.name} is no text, or UTF-16 without a byte order mark: save it as UTF-8.")
    return text


def copied(source: Path, target: Path) -> None:
    """Copy the bytes of a file."""
    with source.open("rb") as given, target.open("wb") as kept:
        shutil.copyfileobj(given, kept, 1 << 20)
