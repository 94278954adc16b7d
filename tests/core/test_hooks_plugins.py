"""Hooks: which run, in which order, what is refused, and that nothing is loaded while none is named."""

import subprocess
import sys

import pytest

from corail.storage.errors import (
    StorageConfigurationError,
    StorageError,
    StorageLoadError,
    UnknownStorageError,
)
from corail.storage.factory import StorageFactory
from corail.storage.hooks import GROUP
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.wrapper import StorageWrapper
from tests.core.sites import Site

WRAPPING = """
from corail.storage.hooks import hookimpl
from corail.storage.wrapper import StorageWrapper

calls = []


class Wrapped(StorageWrapper):
    tag = "{tag}"


class Hook:
    @hookimpl(wrapper=True{options})
    def corail_storage_create(self, name):
        calls.append(name)
        return Wrapped((yield))
"""


def hooks(site: Site, *names: str, options: str = "") -> None:
    """Install one distribution per name, each advertising a hook that wraps."""
    for name in names:
        module = site.module(f"hook_{name}", WRAPPING.format(tag=name, options=options))
        site.distribution(f"corail-hook-{name}", {name: f"{module}:Hook"}, group=GROUP)


def layers(storage: StoragePort) -> list[str]:
    """Tags of the wrappers, the outermost first."""
    tags: list[str] = []
    while isinstance(storage, StorageWrapper):
        tags.append(str(getattr(storage, "tag", type(storage).__name__)))
        storage = storage.inner
    assert type(storage) is MemoryStorage
    return tags


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "a", "b"], ["b"], []])
def test_the_first_named_is_the_outermost(site: Site, order: list[str]) -> None:
    hooks(site, "a", "b", "c")
    assert layers(StorageFactory.create("memory", hooks=order)) == order
    assert layers(StorageFactory.create("memory", hooks=iter(order))) == order


@pytest.mark.parametrize("value", ["a,b", " a , b ", ",a,,b,", "a ,\tb\n"])
def test_a_deployment_names_them_in_a_variable(
    site: Site, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks(site, "a", "b", "c")
    monkeypatch.setenv("CORAIL_STORAGE_HOOKS", value)
    assert layers(StorageFactory.create()) == ["a", "b"]


@pytest.mark.parametrize("value", ["", " ", ",", " , ,"])
def test_a_blank_variable_names_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_STORAGE_HOOKS", value)
    assert type(StorageFactory.create()) is MemoryStorage


def test_what_code_names_replaces_the_variable(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks(site, "a", "b")
    monkeypatch.setenv("CORAIL_STORAGE_HOOKS", "a")
    assert layers(StorageFactory.create(hooks=["b"])) == ["b"]
    assert layers(StorageFactory.create(hooks=())) == []


def test_hooks_are_outside_of_wrap(site: Site) -> None:
    hooks(site, "a")
    storage = StorageFactory.create("memory", wrap=[StorageWrapper], hooks=["a"])
    assert layers(storage) == ["a", "StorageWrapper"]


def test_an_installed_hook_that_nobody_named_does_not_run(site: Site) -> None:
    site.module("explosive", "raise RuntimeError('imported')")
    site.distribution("corail-hook-bomb", {"bomb": "explosive:Hook"}, group=GROUP)
    hooks(site, "a")
    assert layers(StorageFactory.create("memory", hooks=["a"])) == ["a"]


def test_a_hook_is_called_once_per_storage_with_its_name(site: Site) -> None:
    hooks(site, "a")
    for _ in range(2):
        StorageFactory.create("memory", hooks=["a"])
    assert sys.modules["hook_a"].calls == ["memory", "memory"]


def test_a_module_or_an_object_can_be_the_plugin(site: Site) -> None:
    hooks(site, "a")
    site.module(
        "as_module",
        "from corail.storage.hooks import hookimpl\nfrom hook_a import Wrapped\n"
        "@hookimpl(wrapper=True)\ndef corail_storage_create():\n    return Wrapped((yield))\n",
    )
    site.module("as_object", "import hook_a\nclass holder:\n    plugin = hook_a.Hook()\n")
    site.distribution("b", {"object": "as_object:holder.plugin", "class": "hook_a:Hook"}, group=GROUP)
    assert layers(StorageFactory.create("memory", hooks=["object", "class"])) == ["a", "a"]


@pytest.mark.parametrize("option", ["tryfirst=True", "trylast=True", "tryfirst=True, trylast=True"])
def test_a_hook_that_wants_a_place_of_its_own_is_refused(site: Site, option: str) -> None:
    hooks(site, "pushy", options=f", {option}")
    with pytest.raises(StorageLoadError, match=r"'pushy' cannot be used: it asks for tryfirst or trylast"):
        StorageFactory.create("memory", hooks=["pushy"])


@pytest.mark.parametrize(
    "source",
    [
        "class Hook: ...",
        "class Hook:\n    def corail_storage_create(self, factory):\n        return factory()\n",
        "from corail.storage.hooks import hookimpl\nclass Hook:\n    @hookimpl\n"
        "    def corail_storage_create(self, factory):\n        return factory()\n",
        "Hook = 3",
    ],
)
def test_what_is_no_wrapper_is_refused(site: Site, source: str) -> None:
    site.module("other", source)
    site.distribution("corail-hook-other", {"other": "other:Hook"}, group=GROUP)
    with pytest.raises(StorageLoadError, match=r"no corail_storage_create marked @hookimpl\(wrapper=True\)"):
        StorageFactory.create("memory", hooks=["other"])


def test_a_hook_with_an_argument_that_does_not_exist_is_refused(site: Site) -> None:
    site.module(
        "curious",
        "from corail.storage.hooks import hookimpl\nclass Hook:\n    @hookimpl(wrapper=True)\n"
        "    def corail_storage_create(self, password):\n        return (yield)\n",
    )
    site.distribution("corail-hook-curious", {"curious": "curious:Hook"}, group=GROUP)
    with pytest.raises(
        StorageLoadError, match=r"^The storage hook 'curious' cannot be used: .*password.*\.$"
    ):
        StorageFactory.create("memory", hooks=["curious"])


def test_an_unknown_hook_lists_what_is_installed(site: Site) -> None:
    with pytest.raises(StorageConfigurationError, match=r"Unknown storage hook: audit\. Installed: none\."):
        StorageFactory.create("memory", hooks=["audit"])
    hooks(site, "b", "a")
    with pytest.raises(StorageConfigurationError) as caught:
        StorageFactory.create("memory", hooks=["a", "audit"])
    assert "Unknown storage hook: audit. Installed: a, b." in str(caught.value)
    assert "CORAIL_STORAGE_HOOKS" in str(caught.value)


def test_a_hook_named_twice_is_refused(site: Site) -> None:
    hooks(site, "a")
    with pytest.raises(StorageConfigurationError, match="'a' is named twice"):
        StorageFactory.create("memory", hooks=["a", "a"])


def test_the_storages_own_hook_name_cannot_be_taken() -> None:
    with pytest.raises(StorageConfigurationError):
        StorageFactory.create("memory", hooks=["corail.storage"])


def test_a_hook_claimed_twice_is_refused_with_both_claims(site: Site) -> None:
    hooks(site, "a")
    site.distribution("corail-hook-rival", {"a": "rival:Hook"}, group=GROUP)
    with pytest.raises(StorageLoadError) as caught:
        StorageFactory.create("memory", hooks=["a"])
    assert "hook_a:Hook of corail-hook-a 1.0" in str(caught.value)
    assert "rival:Hook of corail-hook-rival 1.0" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no colon", "'no colon' of corail-hook-bad 1.0 does not name a module and an object"),
        ("corail_gone:Hook", "importing corail_gone:Hook of corail-hook-bad 1.0 failed: ModuleNotFoundError"),
        ("boom:Hook", "importing boom:Hook of corail-hook-bad 1.0 failed: RuntimeError: boom"),
        ("json:Hook", "importing json:Hook of corail-hook-bad 1.0 failed: AttributeError"),
    ],
)
def test_a_hook_that_cannot_be_loaded_says_why_and_where_from(site: Site, value: str, said: str) -> None:
    site.module("boom", "raise RuntimeError('boom')")
    site.distribution("corail-hook-bad", {"bad": value}, group=GROUP)
    with pytest.raises(StorageLoadError) as caught:
        StorageFactory.create("memory", hooks=["bad"])
    assert said in str(caught.value)


@pytest.mark.parametrize("returned", ["None", "3", "[]", "Hook"])
def test_a_hook_that_returns_no_storage_is_named(site: Site, returned: str) -> None:
    site.module(
        "wrong",
        "from corail.storage.hooks import hookimpl\nclass Hook:\n    @hookimpl(wrapper=True)\n"
        f"    def corail_storage_create(self):\n        yield\n        return {returned}\n",
    )
    site.distribution("corail-hook-wrong", {"wrong": "wrong:Hook"}, group=GROUP)
    with pytest.raises(StorageLoadError, match=r"The hooks wrong returned a .* instead of a StoragePort"):
        StorageFactory.create("memory", hooks=["wrong"])


def test_what_a_hook_raises_passes_untouched(site: Site) -> None:
    site.module(
        "strict",
        "from corail.storage.hooks import hookimpl\nclass Hook:\n    @hookimpl(wrapper=True)\n"
        "    def corail_storage_create(self):\n        yield\n        raise PermissionError('quota')\n",
    )
    site.distribution("corail-hook-strict", {"strict": "strict:Hook"}, group=GROUP)
    with pytest.raises(PermissionError, match=r"^quota$"):
        StorageFactory.create("memory", hooks=["strict"])


def test_what_the_constructor_raises_passes_untouched_through_hooks(site: Site) -> None:
    hooks(site, "a", "b")
    with pytest.raises(TypeError, match="no_such_option"):
        StorageFactory.create("memory", hooks=["a", "b"], no_such_option=1)


def test_an_unknown_storage_is_reported_before_any_hook_runs(site: Site) -> None:
    hooks(site, "a")
    with pytest.raises(UnknownStorageError):
        StorageFactory.create("no-such-storage", hooks=["a"])
    assert "hook_a" not in sys.modules


def test_hooks_need_not_be_a_list_but_must_be_names(site: Site) -> None:
    hooks(site, "a")
    with pytest.raises((StorageError, TypeError)):
        StorageFactory.create("memory", hooks=[3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def test_without_hooks_pluggy_is_not_imported() -> None:
    code = (
        "import sys\nfrom corail.storage.factory import StorageFactory\nStorageFactory.create('memory')\n"
        "StorageFactory.available()\nassert 'pluggy' not in sys.modules, 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
