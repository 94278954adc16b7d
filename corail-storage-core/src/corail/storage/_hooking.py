"""Runs the hooks a deployment has named around the creation of a storage.

Imported only when at least one hook is named; owns everything that knows pluggy's manager.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import pluggy

from corail.storage._discovery import scan
from corail.storage.errors import StorageConfigurationError, StorageError, StorageLoadError
from corail.storage.hooks import GROUP, PROJECT, HookSpec, hookimpl
from corail.storage.port import StoragePort

_VARIABLE = "CORAIL_STORAGE_HOOKS"


def create_with_hooks(name: str, build: Callable[[], StoragePort], hooks: Sequence[str]) -> StoragePort:
    """Create a storage through the named hooks, the first outermost.

    Raises ``StorageConfigurationError`` for a name that nothing advertises or that is given twice,
    ``StorageLoadError`` for a plugin that cannot be used. What a hook or the constructor raises
    passes untouched.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpec)
    manager.register(_Base(), "corail.storage")
    # Wrappers run last registered first, so the outermost goes last.
    for hook in reversed(hooks):
        _register(manager, hook)
    storage = manager.hook.corail_storage_create(name=name, factory=build)
    if not isinstance(storage, StoragePort):
        raise StorageLoadError(
            f"The hooks {', '.join(hooks)} returned a {type(storage).__name__} instead of a StoragePort; "
            "each must return the storage it was yielded, or a StorageWrapper around it."
        )
    return storage


class _Base:
    @hookimpl
    def corail_storage_create(self, factory: Callable[[], StoragePort]) -> StoragePort:
        return factory()


def _register(manager: pluggy.PluginManager, hook: str) -> None:
    if manager.has_plugin(hook):
        raise StorageConfigurationError(f"The hook {hook!r} is named twice in {_VARIABLE} or hooks=.")
    plugin = _load(hook)
    implementation = getattr(plugin, "corail_storage_create", None)
    # Where HookimplMarker leaves the options; None on anything that is not marked.
    options: Any = getattr(implementation, f"{PROJECT}_impl", None)
    if not options or not options["wrapper"]:
        raise _unusable(hook, "it has no corail_storage_create marked @hookimpl(wrapper=True)")
    if options["tryfirst"] or options["trylast"]:
        raise _unusable(hook, "it asks for tryfirst or trylast; the order of the list is the order")
    try:
        manager.register(plugin, hook)
    except (pluggy.PluginValidationError, ValueError) as error:
        # pluggy writes several lines; a log line is one.
        raise _unusable(hook, " ".join(str(error).split()).rstrip(".")) from error


def _load(hook: str) -> object:
    advertised = tuple(scan(GROUP))
    entries = [entry for entry in advertised if entry.name == hook]
    targets = {entry.target for entry in entries}
    if not entries:
        names = ", ".join(sorted({entry.name for entry in advertised})) or "none"
        raise StorageConfigurationError(
            f"Unknown storage hook: {hook}. Installed: {names}. Correct {_VARIABLE}, or install the "
            f"distribution that advertises it under the entry-point group {GROUP!r}."
        )
    if len(targets) > 1:
        claims = "; ".join(f"{entry.value} of {entry.origin}" for entry in entries)
        raise _unusable(hook, f"several distributions claim it: {claims}. Uninstall all but one")
    target = targets.pop()
    if target is None:
        raise _unusable(
            hook, f"{entries[0].value!r} of {entries[0].origin} does not name a module and an object"
        )
    module, attribute = target
    try:
        plugin: object = import_module(module)
        for part in attribute.split("."):
            plugin = getattr(plugin, part)
    except Exception as error:
        why = f"importing {entries[0].value} of {entries[0].origin} failed: {type(error).__name__}: {error}"
        raise _unusable(hook, why) from error
    return plugin() if isinstance(plugin, type) else plugin


def _unusable(hook: str, why: str) -> StorageError:
    return StorageLoadError(f"The storage hook {hook!r} cannot be used: {why}.")
