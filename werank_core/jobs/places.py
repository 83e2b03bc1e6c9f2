"""Where the files of a store's jobs lie: every name is made of ids only, nothing a person typed."""

import hashlib
import re
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from werank_core.settings import Settings
from werank_core.store.claims import Claim

_JOB_ID = re.compile(r"[0-9a-f]{16}")
_KEPT_DAYS = 14
_TAIL_BYTES = 8_000


@dataclass(frozen=True)
class Places:
    """The lock, checkpoints and logs of one store on this machine."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        """Those of the settings' store; two stores in one home folder never share any."""
        name = hashlib.sha256(settings.store_url.encode()).hexdigest()[:8]
        return cls(settings.home / f"jobs-{name}")

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.folder / "supervisor.lock"

    @property
    def supervisor_log(self) -> Path:
        """What a detached supervisor prints."""
        return self.folder / "supervisor.log"

    def checkpoint(self, claimed: Claim) -> Path:
        """The job's checkpoint."""
        return self.folder / "checkpoints" / _checked(claimed.checkpoint, claimed.job_id)

    def log(self, job_id: str) -> Path:
        """What the job's worker prints."""
        return self.folder / "logs" / _checked(f"{job_id}.log", job_id)

    def make(self) -> None:
        """Make the folders."""
        for folder in ("checkpoints", "logs"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)

    def tidy(self, needed: Collection[str]) -> None:
        """Remove checkpoints of jobs that need none any more, damaged ones and logs when they are old or empty."""
        for path in _listed(self.folder / "checkpoints"):
            if path.suffix == ".damaged":
                _remove_old(path)
            elif path.name[:16] not in needed:
                path.unlink(missing_ok=True)
        for path in _listed(self.folder / "logs"):
            if path.stem not in needed:
                drop_if_empty(path)
            _remove_old(path)


def drop_checkpoints(newest: Path) -> None:
    """Remove a job's checkpoint and the one before; a damaged one stays for whoever wants to know."""
    for path in _listed(newest.parent):
        if path.name.startswith(newest.stem) and path.suffix != ".damaged":
            with suppress(OSError):
                path.unlink(missing_ok=True)


def drop_if_empty(log: Path) -> None:
    """Remove a log nobody wrote to."""
    with suppress(OSError):
        if log.stat().st_size == 0:
            log.unlink()


def _listed(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _remove_old(path: Path) -> None:
    with suppress(OSError):
        if path.stat().st_mtime < time.time() - 86_400 * _KEPT_DAYS:
            path.unlink(missing_ok=True)


def _checked(name: str, job_id: str) -> str:
    if not _JOB_ID.fullmatch(job_id) or "/" in name:
        raise ValueError(f"{job_id!r} is not a job's id.")
    return name


def tail(path: Path) -> str:
    """The end of a log, "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
