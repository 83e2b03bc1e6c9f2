"""What the environment says is resolved once: absolute paths, built URLs, defaults for empty values."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from werank_core.jobs.supervisor import environment
from werank_core.settings import Settings, SettingsError, settings
from werank_core.store import open_store


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable and no .env file of whoever runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"WERANK_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    yield
    settings.cache_clear()


def test_relative_paths_are_of_the_folder_they_were_read_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"HOME": "lab", "DATA_FOLDER": "./data", "STORE": "sqlite:///stores/mine.sqlite"}.items():
        monkeypatch.setenv(f"WERANK_{name}", value)
    read = Settings()
    monkeypatch.chdir("/")
    assert (read.home, read.data_folder) == (tmp_path / "lab", tmp_path / "data")
    assert read.store_url == f"sqlite:///{tmp_path}/stores/mine.sqlite"
    monkeypatch.setenv("WERANK_STORE", "")
    open_store(read.store_url).close()
    assert (tmp_path / "stores" / "mine.sqlite").exists()


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty: str) -> None:
    default = Settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"WERANK_{name.upper()}", empty)
    assert Settings() == default
    for name in Settings.model_fields:
        monkeypatch.delenv(f"WERANK_{name.upper()}")
    (tmp_path / ".env").write_text("WERANK_HOME=\nWERANK_SLOTS=3\n")
    assert Settings() == default.model_copy(update={"slots": 3})


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b", "100%", "a b", "it's", 'say "hi"', "é漢", "a&b=c", "a:b@c"])
def test_a_home_of_any_name_holds_its_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("WERANK_HOME", name)
    read = Settings()
    open_store(read.store_url).close()
    open_store(read.store_url, read_only=True).close()
    assert (tmp_path / name / "store.sqlite").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    for variable, value in environment(read).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir("/")
    assert Settings().store_url == read.store_url


def test_a_home_in_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WERANK_HOME", "~/lab")
    assert Settings().home == tmp_path / "lab"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("slots", "0", "should be greater than or equal to 1"),
        ("slots", "two", "should be a valid integer"),
        ("device", "gpu", "should be 'auto', 'cpu', 'cuda' or 'mps'"),
        ("demo", "perhaps", "should be a valid boolean"),
        ("lease_seconds", "inf", "should be a finite number"),
        ("idle_minutes", "nan", "should be greater than 0"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"WERANK_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        settings()
    assert str(caught.value).startswith(f"{name} = {value!r} (WERANK_{name.upper()}): {words}")
    assert "\n" not in str(caught.value)
