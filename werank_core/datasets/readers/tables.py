"""Delimited text as it comes: any delimiter, with or without a header, an index column, blanks, decimal commas."""

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import pandas as pd

from werank_core.datasets.errors import DataError
from werank_core.datasets.readers.files import Text
from werank_core.datasets.readers.limits import MOST_CELLS, MOST_COLUMNS

_SAMPLE_LINES = 200
_DELIMITERS = ("\t", ";", ",", "|", " ")
_WORDS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "blanks"}

SOURCES = frozenset({"source", "src", "from", "fromnode", "fromnodeid", "fromid", "sourceid", "sourcenode", "node1",
                     "nodeid1", "id1", "citing", "start", "u", "s"})  # fmt: skip
TARGETS = frozenset({"target", "dst", "to", "tonode", "tonodeid", "toid", "targetid", "targetnode", "node2",
                     "nodeid2", "id2", "cited", "end", "v", "t", "destination"})  # fmt: skip
WEIGHTS = frozenset({"weight", "weights", "w", "value", "edgeweight"})
# In the order in which they are tried; weak ones are ids only if the edges use them.
IDS = ("node", "nodeid", "id", "vertex", "vertexid", "nodes", "paperid", "userid", "index", "idx", "name")
WEAK_IDS = frozenset({"name", "index", "idx", ""})
LABELS = ("label", "class", "labels", "classes", "nodelabel", "y", "target", "classlabel", "subject", "category",
          "modularityclass", "community", "group", "club", "block", "groundtruth", "gt")  # fmt: skip
SPLITS = frozenset({"split", "set", "part", "fold", "trainmask", "valmask", "validationmask", "validmask", "testmask"})
FEATURES = frozenset({"feature", "features", "attributes", "feat", "feats"})
_HEADER_WORDS = frozenset(n for n in (*SOURCES, *TARGETS, *IDS, *LABELS, *SPLITS, *FEATURES) if len(n) > 1)
_AS_TEXT = frozenset({*SOURCES, *TARGETS, *IDS, *LABELS, *SPLITS, *FEATURES})


def bare(name: object) -> str:
    """A column's name as it is compared: "From Node_Id" is "fromnodeid"."""
    return re.sub(r"[\s_\-.:]+", "", str(name).casefold())


@dataclass
class Table:
    """Cells by row and column number; `columns` are the names in the file, "" where it gives none.

    Columns whose name says that they hold ids, classes or splits are text as it stands in the file; others are numbers
    or True and False where all their cells are, else text. Empty cells are missing, and nothing else is.
    """

    name: str
    columns: list[str]
    named: bool
    frame: pd.DataFrame
    guessed: list[str] = field(default_factory=list)
    """The first line, where it is taken as names although it has no known one: it may be a row after all."""
    notes: list[str] = field(default_factory=list)

    def find(self, *names: str) -> int | None:
        """The first column with one of these bare names, tried in turn."""
        mine = [bare(column) for column in self.columns]
        return next((mine.index(name) for name in names if name in mine), None)

    def called(self, column: int) -> str:
        """How a sentence names a column."""
        return repr(self.columns[column]) if self.columns[column] else f"number {column + 1}"


def read_table(text: Text) -> Table:
    """A text file as a table.

    Raises: DataError: too large, or rows of different lengths.
    """
    with text.path.open(encoding="utf-8", newline="") as stream:
        sample = [line.rstrip("\n") for line in islice(stream, _SAMPLE_LINES)]
    delimiter = _delimiter(sample)
    widest = max(_split_count(line, delimiter) for line in sample[:3])
    if widest > MOST_COLUMNS:
        raise DataError(
            f"{text.name} has about {widest:,} columns; at most {MOST_COLUMNS:,} are read: save it with numpy.savez."
        )
    rows = _rows(sample, delimiter)
    header, from_comment = _header(rows, text, delimiter)
    width = _width(text, rows, header, delimiter)
    _check_cells(text, width)
    columns = _column_names(header, rows, width)
    frame = _parsed(text, delimiter, header is not None and not from_comment, columns)
    table = Table(text.name, columns, header is not None, frame, notes=text.notes)
    if header and not any(bare(cell) in _HEADER_WORDS for cell in header):
        table.guessed = header
        table.notes.append(guessed_note(text.name, header))
    _drop_blank(table)
    return table


def guessed_note(name: str, header: list[str]) -> str:
    """What to say of a first line that may name columns; without a header, how the sentence begins."""
    begin = f"{name}: the first line is taken as names of columns"
    return f"{begin} ({', '.join(header[:6])})." if header else begin


def _split_count(line: str, delimiter: str) -> int:
    return len(line.split()) if delimiter == " " else line.count(delimiter) + 1


def _check_cells(text: Text, width: int) -> None:
    with text.path.open("rb") as stream:
        lines = sum(part.count(b"\n") for part in iter(lambda: stream.read(1 << 20), b"")) + 1
    if lines * width > MOST_CELLS:
        raise DataError(
            f"{text.name} has {lines:,} rows of {width:,} columns; at most {MOST_CELLS:,} cells are read: save it with "
            "numpy.savez."
        )


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    if delimiter == " ":
        return [line.split() for line in lines]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        return [[cell.strip() for cell in row] for row in reader if row or len(lines) > 1]
    except csv.Error:
        return [[cell.strip() for cell in line.split(delimiter)] for line in lines]


def _delimiter(lines: list[str]) -> str:
    """The delimiter that cuts every line into equally many parts, more than one; a table of one column has commas."""
    filled = [line for line in lines if line.strip()]
    for delimiter in _DELIMITERS:
        # a header may be one shorter: R leaves out the name of its row numbers
        counts = {len(row) for row in _rows(filled[1:] or filled, delimiter)}
        if len(counts) == 1 and min(counts) > 1:
            first = len(_rows(filled[:1], delimiter)[0])
            if first in (min(counts), min(counts) - 1) and first + min(counts) > 3:
                return delimiter
    counted = {d: sum(d in line for line in filled) for d in _DELIMITERS}
    ragged = max(counted, key=lambda d: counted[d])
    return ragged if counted[ragged] == len(filled) else ","


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _header(rows: list[list[str]], text: Text, delimiter: str) -> tuple[list[str] | None, bool]:
    """The column names, and whether they stand in the last comment before the data."""
    first, others = rows[0], rows[1:]
    if _names_columns(first, others):
        return first, False
    told = _rows([text.comment], delimiter)[0] if text.comment else []
    fits = len(told) == len(first) and len(told) > 1 and not any(_is_number(cell) for cell in told)
    return (told, True) if fits and any(bare(cell) in _HEADER_WORDS for cell in told) else (None, False)


def _names_columns(first: list[str], others: list[list[str]]) -> bool:
    """Whether a line names columns: a known name, an empty corner, a word above numbers, or words that come once."""
    below = [[row[place] for row in others if place < len(row)] for place in range(len(first))]
    known = any(bare(cell) in _HEADER_WORDS and cell not in under for cell, under in zip(first, below, strict=True))
    if known or first[0] == "" or any(_is_number(cell) for cell in first):
        return known or (first[0] == "" and len(first) > 1)
    if not others:
        return True
    filled = [list(filter(None, under)) for under in below]
    if any(cell and under and all(map(_is_number, under)) for cell, under in zip(first, filled, strict=True)):
        return True
    return len(first) > 1 and not {value for row in others for value in row} & set(first)


def _width(text: Text, rows: list[list[str]], header: list[str] | None, delimiter: str) -> int:
    """Columns of the table; a row longer than all others is a mistake, and not a reason for more columns."""
    lengths = [len(row) for row in rows]
    data = Counter(lengths[1:] if header is not None and len(lengths) > 1 else lengths)
    width = max(data.most_common(1)[0][0], len(header or ()))
    for number, length in enumerate(lengths, start=1):
        if length > width:
            raise DataError(_ragged(text.name, number, length, width, delimiter))
    return width


def _ragged(name: str, row: int | str, found: int | str, expected: int | str, delimiter: str) -> str:
    return (
        f"{name}: row {row} has {found} columns where {expected} are expected (columns are separated by "
        f"{_WORDS[delimiter]})."
    )


def _column_names(header: list[str] | None, rows: list[list[str]], width: int) -> list[str]:
    if header is None:
        return [""] * width
    short = width - len(header)
    data = [row for row in rows[1:] if row]
    if short == 1 and not all(row[-1] == "" for row in data if len(row) == width):
        return ["", *header]  # R's row numbers
    return header + [""] * short


def _parsed(text: Text, delimiter: str, skip_first: bool, columns: list[str]) -> pd.DataFrame:
    width = len(columns)
    as_text = {place: str for place, name in enumerate(columns) if bare(name) in _AS_TEXT or not name}
    if not any(columns) and width > 4:  # rows of numbers: ids stand first and classes last
        as_text = {0: str, width - 1: str}
    options = {"sep": r"\s+"} if delimiter == " " else {"sep": delimiter, "skipinitialspace": True}
    try:
        frame: pd.DataFrame = pd.read_csv(  # type: ignore[assignment]
            text.path, header=None, names=range(width), skiprows=1 if skip_first else 0, dtype=as_text,
            keep_default_na=False, na_values=[""], index_col=False, skip_blank_lines=False, low_memory=False,
            encoding="utf-8", **options,
        )  # fmt: skip
    except pd.errors.ParserError as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found:
            raise DataError(_ragged(text.name, found[2], found[3], found[1], delimiter)) from error
        raise DataError(f"{text.name} cannot be read as a table: {str(error).strip().splitlines()[-1]}.") from error
    except (pd.errors.EmptyDataError, csv.Error, OverflowError, ValueError) as error:
        raise DataError(f"{text.name} cannot be read as a table: {str(error).strip()[:160] or 'no rows'}.") from error
    for column in frame:
        if isinstance(frame[column].dtype, pd.StringDtype) or frame[column].dtype == object:
            stripped = frame[column].astype("str").str.strip()
            frame[column] = stripped.mask(stripped == "")
    return frame


def _drop_blank(table: Table) -> None:
    """Leave out blank lines (one in a table of one column is a missing cell, unless it is the last) and columns."""
    frame = table.frame
    blank = frame.isna().all(axis=1).to_numpy(copy=True)
    if frame.shape[1] == 1:
        blank[:-1] = False
    if blank[:-1].any():
        table.notes.append(f"{table.name}: {int(blank.sum()):,} blank lines skipped.")
    frame = frame[~blank].reset_index(drop=True)
    kept = [place for place, name in enumerate(table.columns) if name or not table.named or frame[place].notna().any()]
    table.columns = [table.columns[place] for place in kept]
    table.frame = frame[kept].set_axis(range(len(kept)), axis=1)
    if table.frame.empty:
        raise DataError(f"{table.name} has no rows.")
