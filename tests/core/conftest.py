"""A folder of fake distributions on ``sys.path``, and a registry that every test finds as shipped."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corail.storage import _discovery, factory
from corail.storage.factory import StorageFactory
from tests.core.sites import Site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder of installed things, first on ``sys.path``; what was imported from it is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    yield Site(folder)
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        if origin is None or Path(origin).is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[str, str]]]:
    """The rows in code as shipped, with no setting and nothing remembered; put back afterwards."""
    monkeypatch.delenv("CORAIL_STORAGE", raising=False)
    monkeypatch.delenv("CORAIL_STORAGE_HOOKS", raising=False)
    rows = factory._REGISTRY  # pyright: ignore[reportPrivateUsage]
    shipped = dict(rows)
    StorageFactory.refresh()
    yield rows
    rows.clear()
    rows.update(shipped)
    StorageFactory.refresh()


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The groups scanned so far; a scan still does its work."""
    counted: list[str] = []
    scan = _discovery.scan

    def counting(group: str) -> Iterator[_discovery.Entry]:
        counted.append(group)
        return scan(group)

    monkeypatch.setattr(_discovery, "scan", counting)
    return counted
