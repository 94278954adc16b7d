"""What a hook plugin imports: the markers of the one hook, and nothing that loads a backend.

A plugin is published under the entry-point group ``corail.storage.hooks`` and takes part in a
deployment only when it is named, in ``CORAIL_STORAGE_HOOKS`` or ``create(hooks=...)``.
"""

from collections.abc import Callable
from typing import Final

import pluggy

from corail.storage.port import StoragePort

__all__ = ["GROUP", "PROJECT", "hookimpl"]

GROUP: Final = "corail.storage.hooks"
"""The entry-point group that advertises plugins: objects or modules with the hook as an attribute."""
PROJECT: Final = "corail_storage"

hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Mark the plugin's ``corail_storage_create(name, factory)`` with ``@hookimpl(wrapper=True)``.

It is a generator: ``storage = yield`` receives what was created, and it returns its own
``StorageWrapper`` around it. It is called once per created storage and is synchronous.
"""

_hookspec = pluggy.HookspecMarker(PROJECT)


class HookSpec:
    """The hooks there are."""

    @_hookspec(firstresult=True)
    def corail_storage_create(self, name: str, factory: Callable[[], StoragePort]) -> StoragePort | None:
        """Create the storage ``name``; wrappers return a storage around it."""
