"""How large what people bring may be: stated in sentences, checked in headers, before anything is allocated."""

MOST_BYTES = 1_000_000_000
"""Of the arrays of an upload, once unpacked."""

MOST_TEXT_BYTES = 500_000_000
"""Of one text file, once unpacked."""

MOST_COLUMNS = 20_000
MOST_CELLS = 200_000_000
"""Of a text table; what is larger belongs into an npz file."""

MOST_NODES = 5_000_000
MOST_FEATURES = 1_000_000
MOST_CLASSES = 200
LEAST_CLASS = 3
"""Samples a class needs: one to train, one to choose and one to test on."""

LARGEST_FEATURE = 1e15
"""Beyond it sums of squares leave float32, and every run diverges."""

MEMORY_BYTES = 4_000_000_000
"""What the process that reads may take."""

DEADLINE_SECONDS = 180.0
"""After which it is ended."""


def megabytes(count: float) -> str:
    """A number of bytes as a person says it."""
    return f"{count / 1e6:,.0f} MB"
