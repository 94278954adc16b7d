"""``CORAIL_STORAGE``: how a deployment chooses, and what the messages say about it."""

import traceback

import pytest

from corail.storage.errors import StorageLoadError, StorageNotInstalledError, UnknownStorageError
from corail.storage.factory import StorageFactory, register_storage
from corail.storage.memory import MemoryStorage
from tests.core.sites import Site


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_a_blank_value_means_memory(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", value)
    assert type(StorageFactory.create()) is MemoryStorage


@pytest.mark.parametrize("value", ["memory", " memory\n", "Memory", " MEMORY "])
def test_space_around_and_case_are_forgiven(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", value)
    assert type(StorageFactory.create()) is MemoryStorage


def test_an_exact_match_comes_before_a_lower_cased_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.distribution(
        "corail-storage-cases", {"Cache": site.backend("upper"), "cache": site.backend("lower")}
    )
    for value, module in (("Cache", "upper"), ("cache", "lower"), ("CACHE", "lower")):
        monkeypatch.setenv("CORAIL_STORAGE", value)
        assert type(StorageFactory.create()).__module__ == module


@pytest.mark.parametrize("name", ["Memory", " memory"])
def test_a_name_given_in_code_is_taken_as_it_is(name: str) -> None:
    with pytest.raises(UnknownStorageError, match="Did you mean 'memory'"):
        StorageFactory.create(name)


def test_a_name_given_in_code_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", "no-such-storage")
    assert type(StorageFactory.create("memory")) is MemoryStorage


def test_a_class_can_be_named_directly(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", f" {site.backend('My.Module', 'MyStorage')} ")
    assert type(StorageFactory.create()).__qualname__ == "MyStorage"


def test_what_was_registered_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    register_storage("mine", "corail.storage.memory", "MemoryStorage")
    monkeypatch.setenv("CORAIL_STORAGE", "MINE")
    assert type(StorageFactory.create()) is MemoryStorage


def test_an_unknown_name_is_blamed_on_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", "Redsi")
    with pytest.raises(UnknownStorageError, match=r"Unknown storage: Redsi\. .*came from CORAIL_STORAGE"):
        StorageFactory.create()
    with pytest.raises(UnknownStorageError) as caught:
        StorageFactory.create("Redsi")
    assert "CORAIL_STORAGE" not in str(caught.value)


def test_a_missing_distribution_is_blamed_on_the_variable(
    monkeypatch: pytest.MonkeyPatch, registry: dict[str, tuple[str, str]]
) -> None:
    registry["memory"] = ("corail_storage_gone", "MemoryStorage")
    monkeypatch.setenv("CORAIL_STORAGE", "memory")
    with pytest.raises(StorageNotInstalledError) as caught:
        StorageFactory.create()
    assert "The name came from CORAIL_STORAGE. Install it: pip install corail-storage-memory." in str(
        caught.value
    )
    assert "Or set" not in str(caught.value)


def test_a_missing_default_names_both_ways_out(registry: dict[str, tuple[str, str]]) -> None:
    registry["memory"] = ("corail_storage_gone", "MemoryStorage")
    with pytest.raises(StorageNotInstalledError) as caught:
        StorageFactory.create()
    message = str(caught.value)
    assert "CORAIL_STORAGE is not set, so the default 'memory' was chosen." in message
    assert "pip install corail-storage-memory" in message
    installed = ", ".join(StorageFactory.available())
    assert "postgresql" in installed
    assert f"Or set CORAIL_STORAGE to an installed storage; installed: {installed}." in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://agent:s3cret@db.internal:5432/corail",
        "postgres://agent:s3cret@db.internal/corail?sslmode=require",
        "POSTGRESQL+asyncpg://agent:s3cret@db.internal/corail",
        "redis://:s3cret@cache.internal",
        "  postgresql://agent:s3cret@db.internal/corail ",
    ],
)
@pytest.mark.parametrize("by_variable", ["by variable", ""])
def test_a_url_given_by_mistake_is_not_repeated(
    url: str, by_variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_variable:
        monkeypatch.setenv("CORAIL_STORAGE", url)
    with pytest.raises(UnknownStorageError, match="CORAIL_DATABASE_URL") as caught:
        StorageFactory.create(None if by_variable else url)
    error: BaseException | None = caught.value
    printed = "".join(traceback.format_exception_only(error))
    assert "s3cret" not in printed
    assert "internal" not in printed
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("corail_storage_gone:Gone", StorageNotInstalledError),
        ("corail.storage.memory:NoSuchClass", StorageLoadError),
        ("corail.storage.memory:", UnknownStorageError),
        (":MemoryStorage", UnknownStorageError),
        ("corail.storage.memory:Memory Storage", UnknownStorageError),
        ("corail..memory:MemoryStorage", UnknownStorageError),
    ],
)
def test_a_wrong_target_is_told_from_an_unknown_name(
    value: str, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", value)
    with pytest.raises(expected):
        StorageFactory.create()
