"""``describe``: what an operator sees of every name, right or wrong."""

import pytest

from corail.storage.errors import StorageConflictError, StorageError
from corail.storage.factory import StorageDescription, StorageFactory, register_storage
from tests.core.sites import Site


def row_of(name: str) -> StorageDescription:
    (row,) = [row for row in StorageFactory.describe() if row["name"] == name]
    return row


def test_a_first_party_backend_is_known_in_code_and_by_its_distribution() -> None:
    row = row_of("memory")
    assert row["version"]
    assert {**row, "version": "any"} == {
        "name": "memory",
        "target": "corail.storage.memory:MemoryStorage",
        "source": "code",
        "distribution": "corail-storage-memory",
        "version": "any",
        "installed": True,
        "conflicts": [],
        "malformed": [],
    }


def test_a_third_partys_row_comes_from_its_entry_point(site: Site) -> None:
    site.distribution("corail-storage-mine", {"mine": "mine:Mine"}, version="3.1")
    assert row_of("mine") == {
        "name": "mine",
        "target": "mine:Mine",
        "source": "entry point",
        "distribution": "corail-storage-mine",
        "version": "3.1",
        "installed": True,
        "conflicts": [],
        "malformed": [],
    }


def test_rows_are_sorted_by_name_and_each_name_has_one(site: Site) -> None:
    site.distribution("corail-storage-one", {"twice": "one:One", "alpha": "alpha:Alpha"})
    site.distribution("corail-storage-two", {"twice": "two:Two"})
    names = [row["name"] for row in StorageFactory.describe()]
    assert names == sorted(set(names))
    assert {"alpha", "memory", "postgresql", "twice"} <= set(names)


def test_a_conflict_shows_every_claim_and_no_target(site: Site) -> None:
    site.distribution("corail-storage-one", {"twice": "one:One"}, version="1.1")
    site.distribution("corail-storage-two", {"twice": "two:Two"}, version="2.2")
    row = row_of("twice")
    assert row["target"] is None
    assert row["distribution"] is None
    assert row["installed"] is True
    assert sorted(row["conflicts"]) == [
        "one:One of corail-storage-one 1.1",
        "two:Two of corail-storage-two 2.2",
    ]
    assert StorageFactory.available().count("twice") == 1


def test_a_choice_in_code_ends_the_conflict_but_keeps_the_other_claim_in_sight(site: Site) -> None:
    site.distribution("corail-storage-one", {"twice": "one:One"})
    site.distribution("corail-storage-two", {"twice": "two:Two"}, version="2.2")
    register_storage("twice", "one", "One")
    row = row_of("twice")
    assert (row["target"], row["source"], row["distribution"]) == ("one:One", "code", "corail-storage-one")
    assert row["conflicts"] == ["two:Two of corail-storage-two 2.2"]


def test_a_claim_to_a_first_party_name_is_shown_and_ignored(site: Site) -> None:
    site.distribution("evil-storage", {"memory": "evil:Evil"}, version="6.6.6")
    row = row_of("memory")
    assert row["target"] == "corail.storage.memory:MemoryStorage"
    assert row["distribution"] == "corail-storage-memory"
    assert row["conflicts"] == ["evil:Evil of evil-storage 6.6.6"]
    assert type(StorageFactory.create("memory")).__module__.startswith("corail.storage.memory")


def test_a_registration_without_a_distribution_names_none() -> None:
    register_storage("mine", "corail_storage_gone", "Mine")
    row = row_of("mine")
    assert (row["source"], row["distribution"], row["version"]) == ("code", None, None)
    assert row["installed"] is False


def test_malformed_entries_are_shown_with_their_origin(site: Site) -> None:
    site.distribution("corail-storage-bad", {"bad": "no colon"})
    row = row_of("bad")
    assert (row["target"], row["installed"]) == (None, False)
    assert row["malformed"] == ["'no colon' of corail-storage-bad 1.0"]


def test_a_line_without_an_equals_sign_is_shown_under_what_stands_there(site: Site) -> None:
    site.distribution("corail-storage-bad", "mine mine:Mine\n")
    row = row_of("mine mine:Mine")
    assert (row["target"], row["installed"]) == (None, False)
    assert row["malformed"] == ["'' of corail-storage-bad 1.0"]


def test_malformed_rows_are_shown_as_they_are(registry: dict[str, object]) -> None:
    registry["bad"] = ("only",)
    row = row_of("bad")
    assert (row["target"], row["source"], row["installed"]) == (None, "code", False)
    assert row["malformed"] == ["('only',) in code"]


@pytest.mark.parametrize("kind", ["fine", "broken", "twice", "bad", "gone", "unknown"])
def test_create_agrees_with_what_is_described(site: Site, kind: str) -> None:
    site.module("broken", "raise RuntimeError('boom')")
    site.distribution(
        "a", {"fine": site.backend("fine"), "broken": "broken:Broken", "bad": "bad", "twice": "a:A"}
    )
    site.distribution("b", {"twice": "b:B"})
    register_storage("gone", "corail_gone", "Gone")
    described = {row["name"]: row for row in StorageFactory.describe()}
    assert {name for name, row in described.items() if row["installed"]} == set(StorageFactory.available())
    if kind == "fine":
        storage = type(StorageFactory.create(kind))
        assert f"{storage.__module__}:{storage.__qualname__}" == described[kind]["target"]
        return
    with pytest.raises(StorageError) as caught:
        StorageFactory.create(kind)
    row = described.get(kind)
    assert isinstance(caught.value, StorageConflictError) == bool(
        row and row["conflicts"] and not row["target"]
    )
