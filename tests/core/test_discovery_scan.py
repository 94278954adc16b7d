"""The scan of installed distributions: when it happens, how often, and what it remembers."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corail.storage.errors import UnknownStorageError
from corail.storage.factory import StorageFactory
from tests.core.sites import Site


@pytest.fixture
def still_path(site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing on ``sys.path`` but the site, whose time only the test changes."""
    # A folder such as the working directory could be written to by others while a test counts.
    monkeypatch.setattr(sys, "path", [str(site.folder)])
    return site.folder


def set_time(folder: Path, seconds: int) -> None:
    os.utime(folder, (seconds, seconds))


def test_sixteen_threads_cause_one_scan(site: Site, still_path: Path, scans: list[str]) -> None:
    site.distribution("corail-storage-mine", {"mine": "mine:Mine"})
    start = threading.Barrier(16)
    assert still_path == site.folder

    def ask() -> list[str]:
        start.wait()
        return StorageFactory.available()

    with ThreadPoolExecutor(16) as executor:
        answers = [answer.result(timeout=60) for answer in [executor.submit(ask) for _ in range(16)]]
    assert scans == ["corail.storage"]
    assert all("mine" in answer for answer in answers)


def test_one_scan_answers_every_later_question(site: Site, still_path: Path, scans: list[str]) -> None:
    site.distribution("corail-storage-mine", {"mine": site.backend("mine", "Mine")})
    set_time(still_path, 1_000_000_000)
    StorageFactory.available()
    StorageFactory.describe()
    with pytest.raises(UnknownStorageError):
        StorageFactory.create("unknown")
    StorageFactory.available()
    assert len(scans) == 1


def test_a_changed_folder_is_scanned_again(site: Site, still_path: Path, scans: list[str]) -> None:
    set_time(still_path, 1_000_000_000)
    assert "mine" not in StorageFactory.available()
    site.distribution("corail-storage-mine", {"mine": "mine:Mine"})
    set_time(still_path, 1_000_000_001)
    assert "mine" in StorageFactory.available()
    assert len(scans) == 2


def test_a_changed_path_is_scanned_again(
    site: Site, still_path: Path, scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.distribution("corail-storage-mine", {"mine": "mine:Mine"})
    assert "mine" in StorageFactory.available()
    monkeypatch.setattr(sys, "path", [])
    assert "mine" not in StorageFactory.available()
    monkeypatch.setattr(sys, "path", [str(still_path)])
    assert "mine" in StorageFactory.available()
    assert len(scans) == 3


def test_refresh_scans_again_whatever_the_clock_says(site: Site, still_path: Path, scans: list[str]) -> None:
    set_time(still_path, 1_000_000_000)
    assert "mine" not in StorageFactory.available()
    site.distribution("corail-storage-mine", {"mine": "mine:Mine"})
    set_time(still_path, 1_000_000_000)
    assert "mine" not in StorageFactory.available()  # what refresh() is for
    StorageFactory.refresh()
    assert "mine" in StorageFactory.available()
    assert len(scans) == 2


def test_an_uninstalled_distribution_disappears(site: Site, still_path: Path) -> None:
    site.distribution("corail-storage-mine", {"mine": "mine:Mine"})
    set_time(still_path, 1_000_000_000)
    assert "mine" in StorageFactory.available()
    metadata = still_path / "corail_storage_mine-1.0.dist-info"
    for file in metadata.iterdir():
        file.unlink()
    metadata.rmdir()
    set_time(still_path, 1_000_000_001)
    assert "mine" not in StorageFactory.available()


def test_the_first_of_two_versions_on_the_path_counts(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.distribution("corail-storage-mine", {"mine": "new:Mine"}, version="2.0")
    older = type(site)(tmp_path / "older")
    older.distribution("corail_storage.mine", {"mine": "old:Mine"}, version="1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.folder)])
    (row,) = [row for row in StorageFactory.describe() if row["name"] == "mine"]
    assert (row["target"], row["version"], row["conflicts"]) == ("new:Mine", "2.0", [])


def test_the_first_version_counts_too_where_another_distribution_is_unreadable(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.distribution("corail-storage-bad", "a line without an equals sign\n")
    site.distribution("corail-storage-mine", {"mine": "new:Mine"}, version="2.0")
    older = type(site)(tmp_path / "older")
    older.distribution("corail_storage.mine", {"mine": "old:Mine"}, version="1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(older.folder)])
    (row,) = [row for row in StorageFactory.describe() if row["name"] == "mine"]
    assert (row["target"], row["version"], row["conflicts"]) == ("new:Mine", "2.0", [])
