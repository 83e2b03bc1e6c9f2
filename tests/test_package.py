"""What is installed: dependencies named once, and a wheel whose dashboard works away from the checkout."""

import ast
import os
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from werank_core.cli import main
from werank_core.experiments import code_version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DISTRIBUTIONS = {"sklearn": "scikit-learn", "pydantic_settings": "pydantic-settings"}
FOR_STREAMLIT = {"pyarrow"}


def pins(name: str) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-r")]
    return {canonicalize_name(pin.name): pin for pin in found}


def declared(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def test_what_is_pinned_is_what_the_package_asks_for() -> None:
    pinned, asked = pins("requirements.txt"), declared(PROJECT["dependencies"])
    assert set(pinned) == {*asked, "pytest"}  # pytest is on the user's list, and no need of the package
    for name, requirement in asked.items():
        (version,) = pinned[name].specifier
        assert version.operator == "=="
        assert version.version in requirement.specifier, name
    assert str(asked["torch"].specifier) == "==2.13.0"
    developer = declared(PROJECT["optional-dependencies"]["dev"])
    assert {n: str(r.specifier) for n, r in developer.items() if n != "pytest"} == {
        n: str(r.specifier) for n, r in pins("requirements-dev.txt").items()
    }


def test_every_import_is_a_dependency() -> None:
    files = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "werank_core").rglob("*.py")]
    imported = {module.split(".")[0] for file in files for module in imports(file)}
    outside = imported - set(sys.stdlib_module_names) - {"werank_core", "pages"}
    assert "pytest" not in outside
    known = {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in outside}
    assert known == set(declared(PROJECT["dependencies"])) - FOR_STREAMLIT | known & FOR_STREAMLIT


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made of this checkout, unpacked as pip would."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def environment(installed: Path, home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed), "WERANK_HOME": str(home), "WERANK_STORE": ""}


def test_the_wheel_holds_program_licence_and_the_same_code(installed: Path, tmp_path: Path) -> None:
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "werank = werank_core.cli:run" in entry.read_text()
    assert list(installed.glob("*.dist-info/licenses/LICENSE"))
    told = "from werank_core import experiments; print(experiments.__file__); print(experiments.code_version())"
    asked = subprocess.run(
        [sys.executable, "-c", told], env=environment(installed, tmp_path), cwd=tmp_path, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    file, version = asked.stdout.split()
    assert Path(file).is_relative_to(installed)
    assert version == code_version()


def test_the_dashboard_of_a_wheel_answers(installed: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "werank_core", "dashboard", "--port", str(port)]
    log = tmp_path / "log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment(installed, tmp_path), cwd=tmp_path, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None, log.read_text()
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5) as answer:
                    assert answer.read() == b"ok"
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        assert str(installed / "werank_core" / "dashboard" / "app.py") in " ".join(cmdline(server.pid))
    finally:
        server.terminate()
        server.wait(20)


def cmdline(pid: int) -> list[str]:
    return psutil.Process(pid).cmdline()


@pytest.mark.parametrize("port", ["0", "70000", "http", "-1"])
def test_a_wrong_port_is_named(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", f"--port={port}"]) == 2
    assert f"port = '{port}'" in capsys.readouterr().err
