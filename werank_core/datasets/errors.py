"""What goes wrong with data, said in one sentence that a person can act on."""


class DataError(ValueError):
    """One sentence that names what is wrong with a data set and what to do."""


class GraphError(DataError):
    """The same, of a graph."""


class ImageError(DataError):
    """The same, of images."""
