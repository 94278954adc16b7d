"""``register_storage``: precedence, replacement, what it refuses, and doing it while others create."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from corail.storage.errors import StorageConfigurationError, UnknownStorageError
from corail.storage.factory import StorageFactory, register_storage
from tests.core.sites import Site


def test_a_registration_decides_over_an_entry_point(site: Site) -> None:
    site.distribution("corail-storage-mine", {"mine": site.backend("advertised")})
    assert type(StorageFactory.create("mine")).__module__ == "advertised"
    site.backend("registered")
    register_storage("mine", "registered", "Backend")
    assert type(StorageFactory.create("mine")).__module__ == "registered"


def test_an_application_may_replace_a_first_party_backend(site: Site) -> None:
    site.backend("registered")
    register_storage("memory", "registered", "Backend")
    assert type(StorageFactory.create()).__module__ == "registered"


def test_the_last_registration_wins(site: Site) -> None:
    for module in ("first", "second"):
        site.backend(module)
        register_storage("mine", module, "Backend")
    assert type(StorageFactory.create("mine")).__module__ == "second"


def test_a_miss_is_not_remembered_across_a_registration(site: Site) -> None:
    with pytest.raises(UnknownStorageError):
        StorageFactory.create("mine")
    site.backend("late")
    register_storage("mine", "late", "Backend")
    assert type(StorageFactory.create("mine")).__module__ == "late"
    assert "mine" in StorageFactory.available()


def test_nothing_is_imported_by_registering(site: Site) -> None:
    site.module("explosive", "raise RuntimeError('imported')\n")
    register_storage("mine", "explosive", "Backend")
    assert "mine" in StorageFactory.available()


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("value", [None, 1, b"mine", object])
def test_anything_but_strings_is_a_type_error(position: int, value: object) -> None:
    arguments: list[object] = ["mine", "module", "Class"]
    arguments[position] = value
    name = ("name", "module_path", "class_name")[position]
    with pytest.raises(TypeError, match=f"{name} must be a str, not {type(value).__name__}"):
        register_storage(*arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["", " ", "my storage", "my:storage", "my=storage", "my\nstorage", "my\x00"])
def test_a_name_that_nobody_could_write_is_refused(name: str) -> None:
    with pytest.raises(StorageConfigurationError, match="cannot name a storage"):
        register_storage(name, "module", "Class")


@pytest.mark.parametrize(
    ("module", "class_name"),
    [
        ("", "C"),
        ("m", ""),
        ("m.", "C"),
        (".m", "C"),
        ("m:C", "C"),
        ("a b", "C"),
        ("m", "C D"),
        ("my-module", "C"),
    ],
)
def test_what_cannot_be_a_module_and_a_class_is_refused(module: str, class_name: str) -> None:
    with pytest.raises(StorageConfigurationError, match="do not name a module and a class"):
        register_storage("mine", module, class_name)
    assert "mine" not in {row["name"] for row in StorageFactory.describe()}


def test_a_backend_that_registers_another_on_import_does_not_deadlock(site: Site) -> None:
    site.backend("other")
    first = site.backend("first")
    site.module(
        "registering",
        "from first import Backend\n"
        "from corail.storage.factory import StorageFactory, register_storage\n"
        "register_storage('other', 'other', 'Backend')\n"
        "StorageFactory.create('other')\n"
        "StorageFactory.available()\n"
        "StorageFactory.refresh()\n",
    )
    site.distribution("corail-storage-mine", {"mine": "registering:Backend"})
    assert first == "first:Backend"
    with ThreadPoolExecutor(1) as executor:
        # In a thread, so that a deadlock fails instead of hanging the run.
        assert executor.submit(StorageFactory.create, "mine").result(timeout=60)
    assert type(StorageFactory.create("other")).__module__ == "other"


def test_threads_may_register_while_others_create_and_list(site: Site) -> None:
    site.backend("shared")
    start = threading.Barrier(16)

    def work(number: int) -> None:
        start.wait()
        for turn in range(25):
            name = f"mine-{number}-{turn}"
            register_storage(name, "shared", "Backend")
            StorageFactory.create(name)
            assert name in StorageFactory.available()

    with ThreadPoolExecutor(16) as executor:
        for done in [executor.submit(work, number) for number in range(16)]:
            done.result(timeout=120)
