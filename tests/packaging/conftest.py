"""The wheels, built once, and one environment per way to install them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.packaging.environments import Environment
from tests.packaging.wheels import DISTRIBUTIONS, Built, build, download

MakeEnvironment = Callable[..., Environment]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """The distributions of this workspace as they would be published."""
    folder = tmp_path_factory.mktemp("built")
    with ThreadPoolExecutor(2) as executor:
        builds = [executor.submit(build, name, folder) for name in DISTRIBUTIONS]
    return {name: done.result() for name, done in zip(DISTRIBUTIONS, builds, strict=True)}


@pytest.fixture(scope="session")
def wheelhouse(built: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that environments install from: our wheels and what they depend on."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    download(list(built.values()), folder)
    return folder


@pytest.fixture(scope="session")
def make_environment(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeEnvironment:
    """Make a new environment with the named distributions installed."""

    def make(*requirements: str) -> Environment:
        environment = Environment(tmp_path_factory.mktemp("environment") / "venv", wheelhouse)
        if requirements:
            environment.install(*requirements)
        return environment

    return make


@pytest.fixture(scope="session")
def core_alone(make_environment: MakeEnvironment) -> Environment:
    """Core without any backend."""
    return make_environment("corail-storage-core")


@pytest.fixture(scope="session")
def with_memory(make_environment: MakeEnvironment) -> Environment:
    """The memory backend and what it brings."""
    return make_environment("corail-storage-memory")


@pytest.fixture(scope="session")
def with_postgresql(make_environment: MakeEnvironment) -> Environment:
    """The PostgreSQL backend and what it brings; memory is not there."""
    return make_environment("corail-storage-postgresql")


@pytest.fixture(scope="session")
def with_everything(make_environment: MakeEnvironment) -> Environment:
    """Both backends, by the extras of core."""
    return make_environment("corail-storage-core[memory,postgresql]")
