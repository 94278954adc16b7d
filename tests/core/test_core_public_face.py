"""The public face of core: the promised import paths, and what each public module says it offers."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

from corail.storage import errors, factory, port
from corail.storage.factory import StorageFactory, register_storage
from corail.storage.port import StoragePort

CORE = Path(errors.__file__).parent
MODULES = sorted(path.stem for path in CORE.glob("*.py"))
PUBLIC = [name for name in MODULES if not name.startswith("_")]


def load(name: str) -> ModuleType:
    return importlib.import_module(f"corail.storage.{name}")


def test_the_promised_paths_are_the_things_themselves(registry: dict[str, tuple[str, str]]) -> None:
    assert port.StoragePort is StoragePort
    assert factory.StorageFactory is StorageFactory
    assert factory.register_storage is register_storage
    assert registry is vars(factory)["_REGISTRY"]
    assert registry == {
        "memory": ("corail.storage.memory", "MemoryStorage"),
        "postgresql": ("corail.storage.postgresql", "PostgreSQLStorage"),
    }


def test_the_namespace_has_no_module_of_its_own() -> None:
    for name in ("corail", "corail.storage"):
        namespace = importlib.import_module(name)
        assert getattr(namespace, "__file__", None) is None
        assert [
            info.name for info in pkgutil.iter_modules(namespace.__path__) if info.name == "__init__"
        ] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_module_offers_what_it_lists_and_lists_what_it_defines(name: str) -> None:
    module = load(name)
    listed: list[str] = module.__all__
    assert listed == sorted(set(listed), key=lambda each: (not each.isupper(), each[0].islower(), each))
    assert [each for each in listed if not hasattr(module, each)] == []
    defined = {
        each.name
        for each in ast.parse(Path(module.__file__ or "").read_text("utf-8")).body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    # The specification of the hooks is for the manager, not for plugins.
    assert {each for each in defined if not each.startswith("_")} - {"HookSpec"} <= set(listed)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_opens_with_what_it_owns(name: str) -> None:
    tree = ast.parse((CORE / f"{name}.py").read_text("utf-8"))
    assert (ast.get_docstring(tree) or "").split("\n")[0].strip()


@pytest.mark.parametrize("name", MODULES)
def test_no_module_of_core_imports_a_backend_or_a_driver(name: str) -> None:
    tree = ast.parse((CORE / f"{name}.py").read_text("utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    forbidden = (
        "corail.storage.memory",
        "corail.storage.postgresql",
        "asyncio",
        "anyio",
        "asyncpg",
        "inspect",
    )
    assert [each for each in imported if each.startswith((*forbidden, "dataclasses", "logging"))] == []
