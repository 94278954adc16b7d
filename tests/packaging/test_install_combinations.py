"""What works, and what is said, in an environment that has core alone, one backend, or all."""

import pytest

from tests.packaging.conftest import MakeEnvironment
from tests.packaging.environments import FACTORY, Environment
from tests.packaging.wheels import third_party

PROMISED = """
from corail.storage.port import StoragePort
from corail.storage.factory import StorageFactory, register_storage, _REGISTRY
"""


def test_core_alone_has_no_backend_and_says_how_to_get_one(core_alone: Environment) -> None:
    assert core_alone.available() == []
    kind, message = core_alone.refusal(None)
    assert kind == "StorageNotInstalledError"
    assert "CORAIL_STORAGE is not set, so the default 'memory' was chosen." in message
    assert "pip install corail-storage-memory" in message
    assert "installed: none." in message


@pytest.mark.parametrize("name", ["memory", "postgresql"])
def test_core_alone_knows_the_first_party_names(core_alone: Environment, name: str) -> None:
    assert core_alone.description(name)["installed"] is False
    kind, message = core_alone.refusal(name)
    assert kind == "StorageNotInstalledError"
    assert f"Install it: pip install corail-storage-{name}." in message
    assert "closes the namespace" not in message


def test_core_alone_brings_no_driver(core_alone: Environment) -> None:
    installed = {line.split("==")[0] for line in core_alone.pip("freeze").split()}
    assert {"corail-storage-core", "importlib_metadata", "pluggy"} <= installed
    assert not {"asyncpg", "anyio", "hypothesis", "pytest"} & installed
    assert [name for name in installed if name.startswith("corail")] == ["corail-storage-core"]


def test_memory_works_by_itself(with_memory: Environment) -> None:
    assert with_memory.available() == ["memory"]
    code = f"""{PROMISED}from corail.storage.memory import MemoryStorage
import asyncio

async def talk():
    async with StorageFactory.create() as storage:
        await storage.append_message("c", "user", "hello")
        return [type(storage) is MemoryStorage, await storage.get_messages("c")]

answer = asyncio.run(talk())"""
    assert with_memory.answer(code) == [True, [{"role": "user", "content": "hello"}]]
    assert with_memory.refusal("postgresql")[0] == "StorageNotInstalledError"


def test_postgresql_alone_says_that_the_default_is_missing_and_both_ways_out(
    with_postgresql: Environment,
) -> None:
    assert with_postgresql.available() == ["postgresql"]
    kind, message = with_postgresql.refusal(None)
    assert kind == "StorageNotInstalledError"
    assert "CORAIL_STORAGE is not set, so the default 'memory' was chosen." in message
    assert "pip install corail-storage-memory" in message
    assert "Or set CORAIL_STORAGE to an installed storage; installed: postgresql." in message


def test_postgresql_is_created_without_a_server(with_postgresql: Environment) -> None:
    code = f"{PROMISED}answer = type(StorageFactory.create()).__name__"
    variables = {
        "CORAIL_STORAGE": "postgresql",
        "CORAIL_DATABASE_URL": "postgresql://nobody@server.invalid/nothing",
    }
    assert with_postgresql.answer(code, variables) == "PostgreSQLStorage"


def test_the_extras_of_core_bring_the_backends(with_everything: Environment) -> None:
    assert with_everything.available() == ["memory", "postgresql"]
    code = f"""{PROMISED}from corail.storage.memory import MemoryStorage
from corail.storage.postgresql import PostgreSQLStorage
answer = sorted(_REGISTRY)"""
    assert with_everything.answer(code) == ["memory", "postgresql"]
    assert "No broken requirements found" in with_everything.pip("check")


@pytest.mark.parametrize("name", ["memory", "postgresql"])
def test_every_backend_is_described_with_its_distribution(with_everything: Environment, name: str) -> None:
    row = with_everything.description(name)
    assert (row["source"], row["distribution"]) == ("code", f"corail-storage-{name}")
    assert (row["installed"], row["conflicts"], row["malformed"]) == (True, [], [])


def test_a_folder_that_an_uninstalled_backend_leaves_behind_does_not_count(
    make_environment: MakeEnvironment,
) -> None:
    environment = make_environment("corail-storage-memory")
    # As a file written at run time would, this keeps pip from removing the folder.
    leftover = environment.site_packages / "corail" / "storage" / "memory" / "cache" / "file"
    leftover.parent.mkdir()
    leftover.write_text("", "utf-8")
    environment.uninstall("corail-storage-memory")
    assert leftover.exists()
    assert environment.available() == []
    kind, message = environment.refusal("memory")
    assert kind == "StorageNotInstalledError"
    assert "pip install corail-storage-memory" in message


def test_a_stray_init_that_hides_a_backend_is_named(
    make_environment: MakeEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    environment = make_environment("corail-storage-core")
    folder = tmp_path_factory.mktemp("runtime")
    third_party("corail-runtime", environment.wheelhouse, folder, modules={"corail/__init__.py": ""})
    elsewhere = folder / "elsewhere"
    environment.install("corail-storage-memory", target=elsewhere)
    for name in ("corail/storage/factory.py", "corail/storage/port.py"):
        assert (elsewhere / name).exists()
    variables = {"PYTHONPATH": str(elsewhere)}
    assert environment.answer(f"{FACTORY}answer = StorageFactory.available()", variables) == ["memory"]
    environment.install("corail-runtime")
    stray = environment.site_packages / "corail" / "__init__.py"
    kind, message = environment.refusal("memory", variables)
    assert kind == "StorageNotInstalledError"
    assert f"{stray} closes the namespace package corail: remove the distribution that owns it." in message
    environment.uninstall("corail-runtime")
    assert environment.answer(f"{FACTORY}answer = StorageFactory.available()", variables) == ["memory"]
