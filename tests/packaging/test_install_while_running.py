"""A process that keeps running sees what is installed and uninstalled beside it."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backend_source import complete_backend
from tests.packaging.conftest import MakeEnvironment
from tests.packaging.environments import FACTORY, Environment, clean_variables
from tests.packaging.wheels import third_party

# Answers a question per line: an empty one with what is available, a name with what it creates.
SERVER = f"""{FACTORY}import json, sys
for line in sys.stdin:
    name = line.strip()
    try:
        answer = type(StorageFactory.create(name)).__name__ if name else StorageFactory.available()
    except Exception as error:
        answer = type(error).__name__
    print(json.dumps(answer), flush=True)
"""


class Running:
    """A process in an environment, which answers until its input is closed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, question: str = "") -> Any:
        """Ask one question and wait for the answer."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{question}\n")
        stdin.flush()
        return json.loads(stdout.readline())


@pytest.fixture
def environment(make_environment: MakeEnvironment) -> Environment:
    """An environment of the test's own, for it changes it."""
    return make_environment("corail-storage-core")


@pytest.fixture
def running(environment: Environment) -> Iterator[Running]:
    """A process of that environment."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        environment.command(SERVER), stdin=pipe, stdout=pipe, text=True, env=clean_variables()
    ) as process:
        yield Running(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_third_partys_backend_comes_and_goes(
    environment: Environment, running: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    third_party(
        "corail-storage-late",
        environment.wheelhouse,
        tmp_path_factory.mktemp("third party"),
        entries={"late": "corail_storage_late:Storage"},
        modules={"corail_storage_late/__init__.py": complete_backend("Storage")},
    )
    assert running.ask() == []
    assert running.ask("late") == "UnknownStorageError"
    environment.install("corail-storage-late")
    assert running.ask() == ["late"] == environment.available()
    assert running.ask("late") == "Storage"
    environment.uninstall("corail-storage-late")
    assert running.ask() == [] == environment.available()
    assert running.ask("late") == "UnknownStorageError"


def test_a_first_party_backend_can_be_installed_beside_it(environment: Environment, running: Running) -> None:
    assert running.ask("memory") == "StorageNotInstalledError"
    environment.install("corail-storage-memory")
    assert running.ask() == ["memory"]
    assert running.ask("memory") == "MemoryStorage"
