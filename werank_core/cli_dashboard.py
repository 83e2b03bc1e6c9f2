"""`werank dashboard`: the pages in a browser, from a checkout and from an installed package alike."""

import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from werank_core.cli_sweep import CommandError

PACKAGE = Path(__file__).parent


def dashboard(address: str = "localhost", port: str = "8501") -> NoReturn:
    """Open the dashboard in a browser; Ctrl+C ends it, training goes on.

    Args:
        address: Where the server listens; anything but localhost lets others start jobs.
        port: Its port.
    """
    if not port.isdecimal() or not 1 <= int(port[:6]) <= 65_535:
        raise CommandError(f"port = {port[:40]!r}: should be a whole number from 1 to 65,535.")
    home = dashboard_folder()
    with (home / ".streamlit" / "config.toml").open("rb") as file:
        settings = dict(flat(tomllib.load(file))) | {"server.address": address, "server.port": port}
    # As options: Streamlit reads a config file in the folder it is started in only, and paths in the environment are
    # relative to that folder.
    options = [f"--{name}={value}" for name, value in settings.items()]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(home / "app.py"), *options])


def dashboard_folder() -> Path:
    """Where app.py, pages and the config lie: beside the package in a checkout, inside it once installed."""
    installed = PACKAGE / "dashboard"
    return installed if installed.is_dir() else PACKAGE.parent


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The values of a nested table, named as Streamlit names its options: `theme.light.textColor`."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value).lower() if isinstance(value, bool) else str(value)
