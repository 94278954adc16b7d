"""What is imported, and what is not, until a backend is selected."""

from tests.packaging.environments import FACTORY, Environment

# Slow to import, or none of the business of somebody who has selected nothing.
UNNEEDED = (
    "anyio",
    "asyncio",
    "asyncpg",
    "dataclasses",
    "difflib",
    "importlib.metadata",
    "importlib_metadata",
    "inspect",
    "logging",
    "pluggy",
)
BACKENDS = ("corail.storage.memory", "corail.storage.postgresql")


def test_the_factory_loads_nothing_unneeded(with_everything: Environment) -> None:
    assert with_everything.loaded("import corail.storage.factory", (*UNNEEDED, *BACKENDS)) == []


def test_creating_memory_loads_nothing_of_anything_else(with_everything: Environment) -> None:
    code = f"{FACTORY}StorageFactory.create('memory')"
    assert with_everything.loaded(code, (*UNNEEDED, *BACKENDS)) == ["corail.storage.memory"]


def test_choosing_memory_by_default_loads_nothing_more(with_everything: Environment) -> None:
    code = f"{FACTORY}StorageFactory.create()"
    assert with_everything.loaded(code, UNNEEDED) == []


def test_registering_loads_nothing(with_everything: Environment) -> None:
    code = (
        "from corail.storage.factory import register_storage\n"
        "register_storage('mine', 'corail.storage.postgresql', 'PostgreSQLStorage')"
    )
    assert with_everything.loaded(code, (*UNNEEDED, *BACKENDS)) == []


def test_listing_loads_package_metadata_but_no_backend(with_everything: Environment) -> None:
    code = f"{FACTORY}StorageFactory.available()\nStorageFactory.describe()"
    assert with_everything.loaded(code, ("asyncpg", "importlib_metadata", "pluggy", *BACKENDS)) == [
        "importlib_metadata"
    ]


def test_the_port_alone_is_as_light(with_everything: Environment) -> None:
    code = "from corail.storage.port import StoragePort\nfrom corail.storage.wrapper import StorageWrapper"
    assert with_everything.loaded(code, (*UNNEEDED, *BACKENDS)) == []
