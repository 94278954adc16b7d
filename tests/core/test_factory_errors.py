"""What ``create`` raises when a name cannot be turned into a class: which error, and the next step in it."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from corail.storage.errors import (
    StorageConflictError,
    StorageLoadError,
    StorageNotInstalledError,
    UnknownStorageError,
)
from corail.storage.factory import StorageFactory, register_storage
from tests.core.sites import Site


def refusal(name: str, expected: type[Exception]) -> str:
    with pytest.raises(expected) as caught:
        StorageFactory.create(name)
    assert type(caught.value) is expected
    return str(caught.value)


def test_an_unknown_name_lists_what_there_is_and_how_to_add_one() -> None:
    message = refusal("cassandra", UnknownStorageError)
    available = StorageFactory.available()
    assert {"memory", "postgresql"} <= set(available)
    assert message.startswith(f"Unknown storage: cassandra. Available: {', '.join(available)}.")
    assert 'register_storage(\'cassandra\', "your.module", "YourStorage")' in message
    assert "entry-point group 'corail.storage'" in message
    assert "pip install" not in message  # guessed names invite squatters
    assert "Did you mean" not in message


@pytest.mark.parametrize(
    ("name", "meant"), [("postgres", "postgresql"), ("PostgreSQL", "postgresql"), ("memmory", "memory")]
)
def test_a_slip_is_answered_with_what_was_meant(name: str, meant: str) -> None:
    assert f"Did you mean '{meant}'?" in refusal(name, UnknownStorageError)


def test_what_was_meant_can_be_a_third_partys_name(site: Site) -> None:
    site.distribution("corail-storage-mongo", {"mongo": "corail_storage_mongo:Mongo"})
    message = refusal("mongodb", UnknownStorageError)
    assert "Did you mean 'mongo'?" in message
    assert "pip install" not in message


def test_only_a_first_party_name_gets_an_install_line(registry: dict[str, tuple[str, str]]) -> None:
    registry["postgresql"] = ("corail_storage_gone", "PostgreSQLStorage")
    message = refusal("postgres", UnknownStorageError)
    assert "Did you mean 'postgresql'? It needs: pip install corail-storage-postgresql." in message


def test_a_very_long_name_is_not_repeated_whole() -> None:
    assert len(refusal("x" * 100_000, UnknownStorageError)) < 1000


def test_a_blank_name_in_code_is_unknown_not_the_default() -> None:
    assert "Unknown storage: ." in refusal("", UnknownStorageError)


@pytest.mark.parametrize("name", ["memory", "postgresql"])
def test_a_missing_first_party_distribution_comes_with_the_exact_install_line(
    name: str, registry: dict[str, tuple[str, str]]
) -> None:
    registry[name] = (f"corail_gone.{name}", "Storage")
    message = refusal(name, StorageNotInstalledError)
    assert f"Storage '{name}' is not installed: there is no module corail_gone.{name}." in message
    assert f"Install it: pip install corail-storage-{name}." in message


def test_a_missing_registered_module_is_not_guessed_at() -> None:
    register_storage("mine", "corail_gone.mine", "Mine")
    message = refusal("mine", StorageNotInstalledError)
    assert "the distribution that provides the module corail_gone.mine" in message
    assert "pip install" not in message


def test_what_a_backend_itself_lacks_is_a_load_error_not_a_missing_backend(site: Site) -> None:
    site.module("needs_a_driver", "import corail_gone_driver\n")
    register_storage("mine", "needs_a_driver", "Backend")
    assert "No module named 'corail_gone_driver'" in refusal("mine", StorageLoadError)


def test_a_leftover_folder_is_a_missing_distribution(site: Site) -> None:
    (site.folder / "leftover" / "__pycache__").mkdir(parents=True)
    register_storage("mine", "leftover", "Mine")
    assert "is not installed: there is no module leftover." in refusal("mine", StorageNotInstalledError)


def test_a_module_below_a_module_that_is_no_package_is_not_installed(site: Site) -> None:
    site.module("plain", "")
    register_storage("mine", "plain.below", "Backend")
    refusal("mine", StorageNotInstalledError)


@pytest.mark.parametrize(
    "source", ["import corail_gone_driver", "raise RuntimeError('boom')", "1 / 0", "def broken(:", "exit"]
)
def test_an_advertised_backend_that_fails_names_where_it_came_from(site: Site, source: str) -> None:
    site.module("corail_storage_mine", source)
    site.distribution("corail-storage-mine", {"mine": "corail_storage_mine:Mine"}, version="2.5")
    with pytest.raises(StorageLoadError) as caught:
        StorageFactory.create("mine")
    message = str(caught.value)
    assert "entry point mine = corail_storage_mine:Mine of corail-storage-mine 2.5" in message
    assert "Reinstall or upgrade corail-storage-mine" in message
    assert caught.value.__cause__ is not None


def test_an_advertised_module_that_is_gone_is_a_load_error(site: Site) -> None:
    site.distribution("corail-storage-mine", {"mine": "corail_storage_mine:Mine"})
    message = refusal("mine", StorageLoadError)
    assert "No module named 'corail_storage_mine'" in message
    assert "corail-storage-mine 1.0" in message


def test_a_missing_attribute_is_named(site: Site) -> None:
    site.backend("corail_storage_mine", "Other")
    site.distribution("corail-storage-mine", {"mine": "corail_storage_mine:Mine"})
    assert "module corail_storage_mine has no Mine" in refusal("mine", StorageLoadError)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def Mine(): ...", "it is a function, not a class"),
        ("Mine = 3", "it is a int, not a class"),
        ("class Mine: ...", "it is not a subclass of StoragePort"),
        ("Mine = list[int]", "not a class"),
        (
            "from corail.storage.port import StoragePort\nclass Mine(StoragePort):\n"
            "    async def get_messages(self, conversation_id): ...\n"
            "    async def update_title(self, conversation_id, title): ...\n",
            "not implement append_message, conversation_exists, create_conversation, list_conversations.",
        ),
        ("from corail.storage.port import StoragePort as Mine", "it does not implement append_message"),
    ],
)
def test_what_is_no_complete_backend_is_refused_with_what_it_lacks(
    site: Site, source: str, said: str
) -> None:
    site.module("corail_storage_mine", source)
    site.distribution("corail-storage-mine", {"mine": "corail_storage_mine:Mine"})
    message = refusal("mine", StorageLoadError)
    assert said in message
    assert "corail-storage-mine 1.0" in message


@pytest.mark.parametrize(
    "value", ["corail_storage_mine", "", ":Mine", "corail_storage_mine:", "a b:c", "corail-storage:Mine"]
)
def test_a_malformed_entry_is_not_unknown(site: Site, value: str) -> None:
    site.distribution("corail-storage-mine", {"mine": value})
    message = refusal("mine", StorageLoadError)
    assert f"Storage 'mine' is malformed: {value!r} of corail-storage-mine 1.0" in message
    assert '"corail.storage.redis:RedisStorage"' in message


def test_two_targets_for_one_name_are_a_conflict_until_somebody_chooses(site: Site) -> None:
    site.distribution("corail-storage-one", {"twice": site.backend("one")}, version="1.1")
    site.distribution("another-storage", {"twice": site.backend("two")}, version="2.2")
    message = refusal("twice", StorageConflictError)
    assert "one:Backend of corail-storage-one 1.1" in message
    assert "two:Backend of another-storage 2.2" in message
    assert "Uninstall all but one, or choose in code" in message
    assert "register_storage('twice', \"" in message
    register_storage("twice", "two", "Backend")
    assert type(StorageFactory.create("twice")).__module__ == "two"


def test_a_malformed_rival_is_no_conflict(site: Site) -> None:
    site.distribution("corail-storage-one", {"twice": site.backend("one")})
    site.distribution("another-storage", {"twice": "no colon"})
    assert type(StorageFactory.create("twice")).__module__ == "one"


def test_the_same_target_twice_is_no_conflict(site: Site) -> None:
    target = site.backend("one")
    site.distribution("corail-storage-one", {"twice": target})
    site.distribution("corail-storage-alias", {"twice": target})
    assert type(StorageFactory.create("twice")).__module__ == "one"


@pytest.mark.parametrize(
    "row", [("only",), "module:Class", ("a", "b", "c"), (1, 2), ["module", "Class"], 0, (), ("module", None)]
)
def test_a_row_of_another_shape_says_what_a_row_is(row: object, registry: dict[str, object]) -> None:
    registry["mine"] = row
    message = refusal("mine", StorageLoadError)
    assert f"{row!r} in code" in message
    assert "Expected a module and a class" in message


@pytest.mark.parametrize(
    "row", [("", "Mine"), ("no_such", ""), (".relative", "Mine"), ("a\x00b", "Mine"), ("a..b", "Mine")]
)
def test_a_row_that_cannot_be_imported_is_a_storage_error(
    row: tuple[str, str], registry: dict[str, object]
) -> None:
    registry["mine"] = row
    with pytest.raises((StorageLoadError, StorageNotInstalledError)):
        StorageFactory.create("mine")


def test_a_closed_namespace_is_named(
    registry: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stray = ModuleType("corail")
    stray.__file__ = str(Path("site-packages", "corail", "__init__.py"))
    monkeypatch.setitem(sys.modules, "corail", stray)
    registry["postgresql"] = ("corail_gone", "PostgreSQLStorage")
    message = refusal("postgresql", StorageNotInstalledError)
    assert f"{stray.__file__} closes the namespace package corail" in message


def test_exceptions_that_are_no_errors_pass(site: Site) -> None:
    site.module("corail_storage_mine", "raise KeyboardInterrupt\n")
    site.distribution("corail-storage-mine", {"mine": "corail_storage_mine:Mine"})
    with pytest.raises(KeyboardInterrupt):
        StorageFactory.create("mine")
