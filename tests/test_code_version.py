"""The code version changes with every line that may decide a number, and with no other."""

import shutil
from pathlib import Path

import pytest

from werank_core import experiments
from werank_core.experiments import code_version, hashed_code

PACKAGE = Path(experiments.__file__).parent
WITHOUT_NUMBERS = (
    "__main__.py", "cli.py", "cli_dashboard.py", "cli_data.py", "cli_sweep.py", "costs.py", "figures", "jobs",
    "names.py", "store",
)  # fmt: skip
"""Rooms whose lines may change without another version; every other room decides numbers, new ones too."""

ROOMS = sorted({path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")})


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package whose files may be edited."""
    place = tmp_path_factory.mktemp("copy") / "werank_core"
    shutil.copytree(PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__"))
    return place


@pytest.mark.parametrize("room", ROOMS)
def test_one_line_in_each_room(copy: Path, room: str) -> None:
    before = hashed_code(copy)
    file = copy / room if room.endswith(".py") else max((copy / room).rglob("*.py"), key=lambda path: len(path.parts))
    text = file.read_text()
    file.write_text(text + "\nX = 1\n")
    changed = hashed_code(copy) != before
    file.write_text(text)
    assert hashed_code(copy) == before
    assert changed == (room not in WITHOUT_NUMBERS)


def test_the_line_that_scales_the_drop_rates_counts(copy: Path) -> None:
    before, file = hashed_code(copy), copy / "config" / "graph.py"
    text = file.read_text()
    changed = text.replace("scale = self.augmentation_scale", "scale = self.augmentation_scale * 0")
    assert changed != text
    file.write_text(changed)
    assert hashed_code(copy) != before
    file.write_text(text)


def test_new_rooms_count_until_somebody_says_otherwise(copy: Path) -> None:
    before = hashed_code(copy)
    (copy / "optimizers.py").write_text("RATE = 1\n")
    (copy / "samplers").mkdir()
    with_file = hashed_code(copy)
    (copy / "samplers" / "balanced.py").write_text("RATE = 1\n")
    assert len({before, with_file, hashed_code(copy)}) == 3


def test_moving_a_line_from_one_file_to_the_next_counts(copy: Path) -> None:
    first, second = copy / "a.py", copy / "b.py"
    first.write_text("x = 1\ny = 2\n")
    second.write_text("z = 3\n")
    before = hashed_code(copy)
    first.write_text("x = 1\n")
    second.write_text("y = 2\nz = 3\n")
    assert hashed_code(copy) != before


def test_the_version_of_this_process_is_that_of_its_package() -> None:
    assert code_version().endswith("+" + hashed_code(PACKAGE))
