"""``create``: what it builds, from which name, and what it leaves alone."""

from collections.abc import Callable

import pytest

from corail.storage.factory import StorageFactory, register_storage
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.wrapper import StorageWrapper
from tests.core.sites import Site


def test_memory_is_the_default() -> None:
    assert type(StorageFactory.create()) is MemoryStorage


def test_every_call_makes_a_new_object() -> None:
    assert StorageFactory.create("memory") is not StorageFactory.create("memory")


def test_options_reach_the_constructor_as_they_are(site: Site) -> None:
    marker = object()
    storage = StorageFactory.create(site.backend("takes_options"), marker=marker, name_=1, group=None)
    assert vars(storage)["options"] == {"marker": marker, "name_": 1, "group": None}


@pytest.mark.parametrize(
    "error", [RuntimeError("own"), ImportError("own"), TypeError("own"), KeyError("own")]
)
def test_what_the_constructor_raises_passes_untouched(site: Site, error: Exception) -> None:
    source = "def __init__(self, error):\n        raise error\n"
    target = site.module(
        "raises",
        f"from corail.storage.memory import MemoryStorage\nclass Raising(MemoryStorage):\n    {source}",
    )
    with pytest.raises(type(error)) as caught:
        StorageFactory.create(f"{target}:Raising", error=error)
    assert caught.value is error
    assert error.__cause__ is None


def test_unknown_options_are_the_constructors_own_complaint() -> None:
    with pytest.raises(TypeError, match="no_such_option"):
        StorageFactory.create("memory", no_such_option=1)


def test_the_first_wrapper_is_the_outermost() -> None:
    calls: list[str] = []

    def wrapper(name: str) -> Callable[[StoragePort], StoragePort]:
        def wrap(inner: StoragePort) -> StoragePort:
            calls.append(name)
            wrapped: type[StorageWrapper] = type(name, (StorageWrapper,), {})
            return wrapped(inner)

        return wrap

    storage = StorageFactory.create("memory", wrap=(wrapper(name) for name in ("outer", "middle", "inner")))
    assert calls == ["inner", "middle", "outer"]
    layers: list[str] = []
    while isinstance(storage, StorageWrapper):
        layers.append(type(storage).__name__)
        storage = storage.inner
    assert layers == ["outer", "middle", "inner"]
    assert type(storage) is MemoryStorage


def test_a_target_names_a_class_directly(site: Site) -> None:
    assert type(StorageFactory.create(site.backend("direct.deep.module", "Mine"))).__name__ == "Mine"


def test_a_target_may_name_a_nested_class(site: Site) -> None:
    site.backend("nesting", "Inner")
    site.module("nested", "import nesting\nclass Outer:\n    Inner = nesting.Inner\n")
    assert type(StorageFactory.create("nested:Outer.Inner")).__name__ == "Inner"


def test_a_row_written_into_the_registry_works(site: Site, registry: dict[str, tuple[str, str]]) -> None:
    module, _, name = site.backend("direct_row").partition(":")
    registry["mine"] = (module, name)
    assert type(StorageFactory.create("mine")).__module__ == "direct_row"


def test_a_row_decides_over_an_entry_point_until_it_is_removed(
    site: Site, registry: dict[str, tuple[str, str]]
) -> None:
    site.distribution("corail-storage-mine", {"mine": site.backend("advertised")})
    site.backend("in_code")
    registry["mine"] = ("in_code", "Backend")
    assert type(StorageFactory.create("mine")).__module__ == "in_code"
    del registry["mine"]
    assert type(StorageFactory.create("mine")).__module__ == "advertised"


def test_a_name_found_in_code_never_touches_package_metadata(
    scans: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    StorageFactory.create()
    StorageFactory.create("memory")
    monkeypatch.setenv("CORAIL_STORAGE", " memory ")
    StorageFactory.create()
    register_storage("mine", "corail.storage.memory", "MemoryStorage")
    StorageFactory.create("mine")
    StorageFactory.create("corail.storage.memory:MemoryStorage")
    assert scans == []


@pytest.mark.parametrize("name", [1, b"memory", MemoryStorage, ("corail.storage.memory", "MemoryStorage")])
def test_a_name_that_is_no_string_is_a_type_error(name: object) -> None:
    with pytest.raises(TypeError, match=f"name must be a str or None, not {type(name).__name__}"):
        StorageFactory.create(name)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
