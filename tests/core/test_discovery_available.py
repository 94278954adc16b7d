"""``available``: names whose code looks installed, found out without running any of it."""

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Never

import pytest

from corail.storage.factory import StorageFactory, register_storage
from tests.core.sites import Site


def test_the_list_is_sorted_and_new_each_time(site: Site) -> None:
    for name in ("zeta", "alpha"):
        site.distribution(f"corail-storage-{name}", {name: f"{name}:Backend"})
    listed = StorageFactory.available()
    assert listed == sorted(listed)
    assert {"alpha", "zeta", "memory", "postgresql"} <= set(listed)
    listed.clear()
    assert StorageFactory.available() != []


def test_nothing_is_imported_to_answer(site: Site) -> None:
    site.module("explosive.inner", "raise RuntimeError('imported')")
    (site.folder / "explosive" / "__init__.py").write_text("raise RuntimeError('imported')", "utf-8")
    site.distribution("corail-storage-bomb", {"bomb": "explosive.inner:Bomb"})
    register_storage("registered", "explosive.inner", "Bomb")
    assert {"bomb", "registered"} <= set(StorageFactory.available())
    assert "explosive" not in sys.modules


@pytest.mark.parametrize(
    "row",
    [
        None,
        0,
        "module:Class",
        (),
        ("only",),
        ("a", "b", "c"),
        (1, 2),
        (None, None),
        ("", ""),
        ("", "Class"),
        (".", "Class"),
        (".relative", "Class"),
        ("a..b", "Class"),
        ("a\x00b", "Class"),
        ("\udcff", "Class"),
        ("x" * 5000, "Class"),
        ("../etc/passwd", "Class"),
        ("no_such_module", "Class"),
        ("sys.path", "Class"),
        ("corail.storage.no_such_backend", "Class"),
    ],
    ids=lambda row: ascii(row)[:40],
)
def test_rows_of_any_garbage_neither_raise_nor_warn_nor_show(
    row: object, registry: dict[object, object]
) -> None:
    before = StorageFactory.available()
    registry["garbage"] = row
    assert StorageFactory.available() == before
    StorageFactory.describe()


def test_a_leftover_empty_folder_is_not_a_backend(site: Site) -> None:
    (site.folder / "corail" / "storage" / "leftover" / "__pycache__").mkdir(parents=True)
    register_storage("leftover", "corail.storage.leftover", "Leftover")
    assert "leftover" not in StorageFactory.available()


def test_a_backend_in_another_portion_of_the_namespace_is_found(site: Site) -> None:
    folder = site.folder / "corail" / "storage" / "elsewhere"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')", "utf-8")
    importlib.invalidate_caches()
    register_storage("elsewhere", "corail.storage.elsewhere", "Elsewhere")
    assert "elsewhere" in StorageFactory.available()


def test_a_module_in_sys_modules_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    register_storage("made", "made_at_run_time", "Made")
    assert "made" not in StorageFactory.available()
    monkeypatch.setitem(sys.modules, "made_at_run_time", ModuleType("made_at_run_time"))
    assert "made" in StorageFactory.available()


def test_a_module_that_imports_are_forbidden_from_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    register_storage("forbidden", "forbidden_module", "Forbidden")
    monkeypatch.setitem(sys.modules, "forbidden_module", None)
    assert "forbidden" not in StorageFactory.available()


def test_a_module_that_is_removed_or_put_back_is_noticed_without_a_refresh(site: Site) -> None:
    module = site.module("nested.space.backend", "")
    file = site.folder / "nested" / "space" / "backend.py"
    register_storage("nested", module, "Backend")
    for _ in range(3):
        assert "nested" in StorageFactory.available()
        file.unlink()
        importlib.invalidate_caches()
        assert "nested" not in StorageFactory.available()
        site.module("nested.space.backend", "")


def test_a_module_that_is_hidden_by_another_package_is_noticed(site: Site) -> None:
    register_storage("nested", site.module("nested.space.backend", ""), "Backend")
    assert "nested" in StorageFactory.available()
    hiding = site.folder / "first"
    (hiding / "nested").mkdir(parents=True)
    # Long ago: two changes within one tick of the file system's clock cannot be told apart.
    os.utime(hiding / "nested", (1, 1))
    sys.path.insert(0, str(hiding))
    assert "nested" in StorageFactory.available()
    (hiding / "nested" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert "nested" not in StorageFactory.available()


def test_what_was_found_is_not_searched_for_again_until_something_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class CountingFinder:
        @staticmethod
        def find_spec(
            fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            del path, target
            asked.append(fullname)
            return None

    register_storage("nested", site.module("nested.backend", ""), "Backend")
    monkeypatch.setattr(sys, "meta_path", [CountingFinder, *sys.meta_path])
    assert "nested" in StorageFactory.available()
    assert "nested.backend" in asked
    asked.clear()
    assert "nested" in StorageFactory.available()
    assert not [name for name in asked if name.startswith("nested")]
    os.utime(site.folder / "nested", (1, 1))
    assert "nested" in StorageFactory.available()
    assert "nested.backend" in asked
    asked.clear()
    StorageFactory.refresh()
    assert "nested" in StorageFactory.available()
    assert "nested.backend" in asked


def test_a_finder_that_fails_hides_only_what_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class FailingFinder:
        @staticmethod
        def find_spec(
            fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
        ) -> ModuleSpec | None:
            del path, target
            if fullname == "haunted":
                raise RuntimeError(fullname)
            return None

    monkeypatch.setattr(sys, "meta_path", [FailingFinder, *sys.meta_path])
    register_storage("haunted", "haunted", "Ghost")
    assert "haunted" not in StorageFactory.available()
    assert "memory" in StorageFactory.available()


def test_a_malformed_entry_is_not_listed(site: Site) -> None:
    site.distribution("corail-storage-bad", {"bad": "no colon", "fine": "fine:Fine"})
    listed = StorageFactory.available()
    assert "fine" in listed
    assert "bad" not in listed


@pytest.mark.parametrize(
    "entries", ["a line without an equals sign\n", "= \n", "=\n", "\x00\n", "x = y = z\n"]
)
def test_a_line_that_is_no_entry_at_all_hides_no_other_distribution(site: Site, entries: str) -> None:
    site.distribution("corail-storage-bad", entries + "good = good_module:Good\n")
    site.distribution("corail-storage-fine", {"fine": "fine:Fine"})
    assert {"fine", "good", "memory", "postgresql"} <= set(StorageFactory.available())
    StorageFactory.describe()


def test_metadata_that_cannot_be_decoded_hides_no_other_distribution(site: Site) -> None:
    site.distribution("corail-storage-bad", {"bad": "bad:Bad"})
    (site.folder / "corail_storage_bad-1.0.dist-info" / "entry_points.txt").write_bytes(
        b"[corail.storage]\n\xff\xfe = a:B\n"
    )
    site.distribution("corail-storage-fine", {"fine": "fine:Fine"})
    assert {"fine", "memory", "postgresql"} <= set(StorageFactory.available())


def test_a_distribution_without_metadata_file_is_still_described(site: Site) -> None:
    site.distribution("corail-storage-bare", {"bare": "bare:Bare"})
    (site.folder / "corail_storage_bare-1.0.dist-info" / "METADATA").unlink()
    assert "bare" in StorageFactory.available()
    (row,) = [row for row in StorageFactory.describe() if row["name"] == "bare"]
    assert row["target"] == "bare:Bare"


def test_distributions_without_a_name_do_not_hide_each_other(site: Site) -> None:
    for name in ("one", "two", "three"):
        site.distribution(name, {name: f"{name}:Backend"})
        (site.folder / f"{name}-1.0.dist-info" / "METADATA").unlink()
    site.distribution("corail-storage-bad", "a line without an equals sign\n")
    assert {"one", "two", "three"} <= set(StorageFactory.available())


def test_a_path_entry_that_is_gone_or_no_folder_does_not_matter(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site.folder / "file.txt"
    file.write_text("no archive", "utf-8")
    monkeypatch.setattr(sys, "path", [str(site.folder / "gone"), str(file), "", *sys.path])
    register_storage("absent", "no_such_module_anywhere", "Absent")
    assert "absent" not in StorageFactory.available()
    assert "memory" in StorageFactory.available()


def test_a_package_that_refuses_its_attributes_does_not_matter(
    registry: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hostile(ModuleType):
        def __getattr__(self, name: str) -> Never:
            raise RuntimeError(name)

    monkeypatch.setitem(sys.modules, "hostile", Hostile("hostile"))
    registry["hostile"] = ("hostile.inner", "Backend")
    assert "hostile" not in StorageFactory.available()
