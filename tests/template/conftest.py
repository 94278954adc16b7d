"""A backend that the command wrote, built and installed as its author would publish it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.environments import Environment
from tests.template.authoring import CORE, NAME, Published, download, new_backend, wheel_of
from tests.template.newer_core import write_newer_core


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A new backend, with a dash and a digit in its name."""
    project = new_backend(NAME, tmp_path_factory.mktemp("author") / f"corail-storage-{NAME}")
    return Published(project, wheel_of(project, tmp_path_factory.mktemp("published")))


@pytest.fixture(scope="session")
def wheelhouse(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that environments install from: core, the backend, and what both depend on."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    core = wheel_of(CORE, tmp_path_factory.mktemp("core"))
    download(folder, f"{core}[testing]", "aiosqlite")
    shutil.copy(published.wheel, folder)
    return folder


def _installed(folder: Path, wheelhouse: Path) -> Environment:
    environment = Environment(folder / "venv", wheelhouse)
    environment.install("corail-storage-core[testing]", f"corail-storage-{NAME}")
    return environment


@pytest.fixture(scope="session")
def environment(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with the backend, this core and the kit."""
    return _installed(tmp_path_factory.mktemp("environment"), wheelhouse)


@pytest.fixture(scope="session")
def upgraded(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Another one, in which only core was upgraded since."""
    environment = _installed(tmp_path_factory.mktemp("upgraded"), wheelhouse)
    sources = write_newer_core(tmp_path_factory.mktemp("newer") / "corail-storage-core")
    newer = wheel_of(sources, tmp_path_factory.mktemp("newer-wheel"))
    environment.pip("install", "--quiet", "--no-index", "--no-deps", str(newer))
    return environment


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: the backend syncs each commit to the disk."""
    memory = Path("/dev/shm")  # noqa: S108 - only a place in which to make a folder of its own
    if not memory.is_dir():
        yield tmp_path_factory.mktemp("quick")
        return
    with tempfile.TemporaryDirectory(prefix="corail-template-", dir=memory) as folder:
        yield Path(folder)
