"""The house's import table as data, checked against the code as it is."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"metrics", "models", "datasets", "training", "store", "jobs", "figures", "theory", "config"}

# room (path prefix, longest match wins) -> modules it must never import, at any depth of the file
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "werank_core/vocabulary": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/config": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/settings.py": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/experiments.py": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/names.py": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/costs.py": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/sweeps.py": ("torch", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/autograd.py": ("streamlit", "plotly", "sqlalchemy", "werank_core."),
    "werank_core/regularizers.py": ("streamlit", "plotly", "sqlalchemy", *(f"werank_core.{p}" for p in OURS)),
    "werank_core/objectives": ("streamlit", "plotly", "sqlalchemy", *(f"werank_core.{p}" for p in OURS)),
    "werank_core/augmentations.py": ("streamlit", "plotly", "sqlalchemy", "werank_core."),
    "werank_core/streams.py": ("streamlit", "plotly", "sqlalchemy", "werank_core."),
    "werank_core/metrics": ("streamlit", "plotly", "sqlalchemy", *(f"werank_core.{p}" for p in OURS - {"metrics"})),
    "werank_core/theory": (
        "torch",
        "streamlit",
        "plotly",
        "sqlalchemy",
        *(f"werank_core.{p}" for p in OURS - {"theory"}),
    ),
    "werank_core/models": ("streamlit", "plotly", "sqlalchemy", "werank_core.training", "werank_core.store"),
    "werank_core/datasets": ("streamlit", "plotly", "sqlalchemy", "werank_core.training", "werank_core.store"),
    "werank_core/training": ("sqlalchemy", "sqlite3", "pandas", "plotly", "streamlit", "werank_core.store"),
    "werank_core/store": ("torch", "streamlit", "plotly", "werank_core.training", "werank_core.figures"),
    "werank_core/jobs": ("streamlit", "plotly", "werank_core.figures"),
    "werank_core/figures": ("torch", "sqlalchemy", "streamlit", "werank_core.store", "werank_core.training"),
    "pages": ("torch", "torch_geometric", "sqlalchemy", "sqlite3", "subprocess", "werank_core.training"),
    "app.py": ("torch", "torch_geometric", "sqlalchemy", "sqlite3", "subprocess", "werank_core.training"),
}


# One table, not code.
TABLES = {"werank_core/vocabulary/metrics.py"}


def modules_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def source_files() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "werank_core").rglob("*.py")), *sorted((ROOT / "pages").rglob("*.py"))]


@pytest.mark.parametrize("path", source_files(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_room_imports_nothing_it_must_not(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    rooms = [room for room in FORBIDDEN if name == room or name.startswith(room + "/")]
    banned = FORBIDDEN[max(rooms, key=len)] if rooms else ("streamlit",)
    found = {m for m in modules_of(path) for b in banned if m == b or m.startswith(b if b.endswith(".") else b + ".")}
    assert not found, f"{name} imports {sorted(found)}"


def test_every_room_of_the_table_exists() -> None:
    assert [room for room in FORBIDDEN if not (ROOT / room).exists()] == []


@pytest.mark.parametrize(
    "module",
    [
        "werank_core.sweeps",
        "werank_core.store.queries",
        "werank_core.store.runs",
        "werank_core.jobs.supervisor",
        "werank_core.figures.strength",
        "werank_core.cli",
        "pages.components.experiment_page",
    ],
)
def test_the_web_process_never_loads_torch(module: str) -> None:
    code = f"import {module}, sys; assert 'torch' not in sys.modules, 'torch'; print('clean')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "clean", done.stderr[-2000:]


def test_files_stay_one_room() -> None:
    long = {p.relative_to(ROOT).as_posix() for p in source_files() if p.read_text().count("\n") > 310}
    assert long <= TABLES


def test_a_page_is_a_paragraph() -> None:
    long = {p.name: n for p in (ROOT / "pages").glob("*.py") if (n := p.read_text().count("\n")) > 80}
    assert long == {}
