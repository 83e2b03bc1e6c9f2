"""A data set is fetched by a process of its own: it outlives the page that asked for it, and the web server."""

import os
import subprocess
import sys

from werank_core.datasets import fetching
from werank_core.datasets.errors import DataError
from werank_core.jobs.executors import PROJECT
from werank_core.jobs.supervisor import environment
from werank_core.settings import Settings
from werank_core.store.errors import READ_ONLY


def start_fetch(name: str, settings: Settings) -> None:
    """Start `python -m werank_core data fetch NAME`, detached; `fetching.fetch_state` tells how it goes.

    Raises:
        DataError: one sentence, in a read-only demo or when the process cannot be started.
    """
    if settings.demo:
        raise DataError(READ_ONLY)
    root = settings.data_folder
    try:
        (root / "fetching").mkdir(parents=True, exist_ok=True)
        if not os.access(root / "fetching", os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise DataError(f"the data folder {root} cannot be written: {error.strerror or error}.") from error
    if fetching.fetch_state(name, root).state == "fetching":
        return
    fetching.tell(name, root, "starting", f"{fetching.title_of(name)}: starting")
    try:
        subprocess.Popen(
            [sys.executable, "-m", "werank_core", "data", "fetch", name],
            cwd=PROJECT, env={**os.environ, **environment(settings)}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        sentence = f"{fetching.title_of(name)} cannot be fetched: no process can be started ({error.strerror})."
        fetching.tell(name, root, "failed", sentence)
        raise DataError(sentence) from error
