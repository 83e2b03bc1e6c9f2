"""What people bring is read in a process of its own, with a limit to its memory and time: the caller never grows.

`python -m werank_core.datasets.readers.process` reads a request from its input, keeps what it understood in the data
folder, and answers with a report or one sentence.
"""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from werank_core.datasets.errors import DataError
from werank_core.datasets.readers.limits import DEADLINE_SECONDS, MEMORY_BYTES, megabytes

Wanted = Literal["graph", "images"]
_PACKAGES = Path(__file__).parents[3]


@dataclass(frozen=True)
class Request:
    """Files by the names their owner gives them and where they lie, what they are, and what may be done to them."""

    kind: Wanted
    name: str
    files: tuple[tuple[str, str], ...]
    root: str
    features: Literal["given", "identity", "degree", "constant"] = "given"
    drop_small_classes: bool = False


@dataclass(frozen=True)
class Report:
    """What was understood: a summary, and in sentences what was left out or changed; `replaced`: other data before."""

    kind: Wanted
    name: str
    summary: str
    notes: tuple[str, ...]
    digest: str
    replaced: bool


def add_own_data(
    request: Request, *, memory_bytes: int = MEMORY_BYTES, deadline_seconds: float = DEADLINE_SECONDS
) -> Report:
    """Read files and keep what they hold under a name, replacing what had it.

    Raises: DataError: one sentence about files, memory or time; nothing is kept then.
    """
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment["PYTHONPATH"] = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "werank_core.datasets.readers.process", str(memory_bytes)]
    with tempfile.TemporaryDirectory(prefix="werank-reading-") as folder:
        try:
            done = subprocess.run(
                [*command, folder], input=json.dumps(asdict(request)), capture_output=True, text=True,
                timeout=deadline_seconds, env=environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise DataError(
                f"reading takes longer than {deadline_seconds:.0f} s: give a smaller file, or arrays in an npz file "
                "instead of text."
            ) from error
    return _answer(done, memory_bytes)


def _answer(done: subprocess.CompletedProcess[str], memory_bytes: int) -> Report:
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        if done.returncode < 0:
            raise DataError(
                f"reading was ended by the system (signal {-done.returncode}), most likely for want of memory: give a "
                "smaller file."
            ) from error
        last = next(iter(reversed(done.stderr.strip().splitlines())), "no message")
        raise DataError(f"the files cannot be read ({last[:200]}).") from error
    if "error" in answer:
        raise DataError(answer["error"].replace("{memory}", megabytes(memory_bytes)))
    return Report(**answer | {"notes": tuple(answer["notes"])})


# -- in the child ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Read the request, answer on the last line of the output."""
    request = json.loads(sys.stdin.read())
    try:
        answer = asdict(_kept(Request(**request | {"files": tuple(map(tuple, request["files"]))}), sys.argv[2]))
    except DataError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "reading the files needs more than {memory} of memory: give smaller ones."}
    except Exception as error:
        # a reader stumbled over something that nobody thought of; the sentence names it, the page shows no traceback
        text = next(iter(str(error).strip().splitlines()), "")[:200]
        answer = {"error": f"the files cannot be read ({type(error).__name__}: {text})."}
    print(f"\n{json.dumps(answer)}", flush=True)


def _kept(request: Request, folder: str) -> Report:
    # imported before the limit is set: libraries reserve more than they use
    import pandas  # noqa: F401

    from werank_core.datasets.readers import keeping

    _limit_memory(int(sys.argv[1]))
    return keeping.keep(request, Path(folder))


def _limit_memory(more: int) -> None:
    """Let this process grow by so many bytes; where the system has no such limit, headers alone protect it."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        import psutil

        limit = psutil.Process().memory_info().vms + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main()
