"""What is published: which files, in which wheel, with which metadata."""

from collections import Counter
from pathlib import Path

import pytest

from tests.packaging.wheels import DISTRIBUTIONS, ROOT, Built

LEAF = {
    "corail-storage-core": "corail/storage",
    "corail-storage-memory": "corail/storage/memory",
    "corail-storage-postgresql": "corail/storage/postgresql",
}
NAMESPACES = ("corail/__init__.py", "corail/storage/__init__.py")


@pytest.fixture(params=DISTRIBUTIONS)
def each(request: pytest.FixtureRequest, built: dict[str, Built]) -> Built:
    """Every distribution in turn."""
    return built[str(request.param)]


def test_no_wheel_closes_the_namespace(each: Built) -> None:
    assert not set(NAMESPACES) & set(each.names())
    assert not {f"src/{name}" for name in NAMESPACES} & set(each.source_names())


def test_no_file_belongs_to_two_wheels(built: dict[str, Built]) -> None:
    owners = Counter(name for each in built.values() for name in each.installed())
    assert [name for name, count in owners.items() if count > 1] == []


def test_a_wheel_holds_every_source_file_below_its_leaf_and_nothing_else(each: Built) -> None:
    source = ROOT / each.distribution / "src"
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sorted(each.installed()) == sorted(path.relative_to(source).as_posix() for path in files)
    assert all(name.startswith(f"{LEAF[each.distribution]}/") for name in each.installed())


def test_types_are_declared_once_per_distribution(each: Built) -> None:
    declared = [f"{LEAF[each.distribution]}/py.typed"]
    if each.distribution == "corail-storage-core":
        # pyright looks for the file in the kit's own package, which authors import from.
        declared.append("corail/storage/testing/py.typed")
    assert [name for name in each.names() if name.endswith("py.typed")] == declared


def test_core_ships_no_backend(built: dict[str, Built]) -> None:
    backends = ("corail/storage/memory/", "corail/storage/postgresql/")
    assert [name for name in built["corail-storage-core"].names() if name.startswith(backends)] == []


def test_the_licence_is_named_and_shipped(each: Built) -> None:
    metadata = each.metadata()
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert each.text(".dist-info/licenses/LICENSE") == licence
    assert each.source_text("LICENSE") == licence


def test_the_readme_is_the_description(each: Built) -> None:
    metadata = each.metadata()
    readme = (ROOT / each.distribution / "README.md").read_text("utf-8")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == readme
    assert each.source_text("README.md") == readme
    assert readme.startswith(f"# {each.distribution}")


def test_the_metadata_says_what_it_is(each: Built) -> None:
    metadata = each.metadata()
    assert metadata["Name"] == each.distribution
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    classifiers = metadata.get_all("Classifier") or []
    assert "Typing :: Typed" in classifiers
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)} <= set(classifiers)
    assert each.wheel.name == f"{each.distribution.replace('-', '_')}-{metadata['Version']}-py3-none-any.whl"


def test_a_source_distribution_can_be_built_from_and_holds_no_leftovers(each: Built) -> None:
    names = each.source_names()
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= set(names)
    assert [name for name in names if Path(name).suffix in {".pyc", ".log", ".whl"} or ".venv" in name] == []


def test_core_needs_no_backend_but_offers_them(built: dict[str, Built]) -> None:
    metadata = built["corail-storage-core"].metadata()
    required = metadata.get_all("Requires-Dist") or []
    always = {requirement for requirement in required if "extra ==" not in requirement}
    assert always == {"importlib-metadata>=8.5", "pluggy>=1.5"}
    assert {"memory", "postgresql", "testing"} <= set(metadata.get_all("Provides-Extra") or [])
    for extra in ("memory", "postgresql"):
        assert f"corail-storage-{extra}>=0.1; extra == '{extra}'" in required


@pytest.mark.parametrize("name", ["memory", "postgresql"])
def test_a_backend_needs_core_without_a_cap_and_advertises_itself(built: dict[str, Built], name: str) -> None:
    each = built[f"corail-storage-{name}"]
    assert "corail-storage-core>=0.1" in (each.metadata().get_all("Requires-Dist") or [])
    classes = {"memory": "MemoryStorage", "postgresql": "PostgreSQLStorage"}
    lines = each.text(".dist-info/entry_points.txt").split("\n")
    assert lines[:2] == ["[corail.storage]", f"{name} = corail.storage.{name}:{classes[name]}"]
