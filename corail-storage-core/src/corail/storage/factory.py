"""``StorageFactory``: choose a backend by name at run time, among what is installed.

The public door of this library. Importing it loads no backend, no driver, no ``asyncio`` and no
package metadata; a backend's module is imported only when it is selected.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any, Final, TypedDict

from corail.storage import _discovery
from corail.storage._resolution import FIRST_PARTY, Resolution, checked_row, describe, resolve
from corail.storage.errors import (
    StorageConfigurationError,
    StorageConflictError,
    StorageLoadError,
    StorageNotInstalledError,
    UnknownStorageError,
)
from corail.storage.port import StoragePort

__all__ = ["StorageDescription", "StorageFactory", "register_storage"]

_VARIABLE: Final = "CORAIL_STORAGE"
_DEFAULT: Final = "memory"
_SHOWN_NAME: Final = 80

_REGISTRY: dict[str, tuple[str, str]] = {
    "memory": ("corail.storage.memory", "MemoryStorage"),
    "postgresql": ("corail.storage.postgresql", "PostgreSQLStorage"),
}
"""Name to module and class. Rows here decide before any installed package; ``register_storage`` adds one."""


class StorageDescription(TypedDict):
    """What ``StorageFactory.describe()`` says about one name."""

    name: str
    target: str | None
    """``module:Class`` that ``create`` would load; None when malformed or in conflict."""
    source: str
    """``"code"`` or ``"entry point"``."""
    distribution: str | None
    """Which installed distribution advertises the target; None when none does."""
    version: str | None
    installed: bool
    """Whether ``available()`` lists the name."""
    conflicts: list[str]
    """Other targets that installed distributions claim for the name."""
    malformed: list[str]
    """Entries or rows of this name that name no module and class."""


def register_storage(name: str, module_path: str, class_name: str) -> None:
    """Make ``create(name)`` load ``class_name`` from ``module_path``, imported only then.

    Replaces an earlier row of that name and takes precedence over every installed package.

    Args:
        name: printable, without spaces, ``:`` or ``=``; compared exactly.
        module_path: dotted module name, as in ``"corail.storage.redis"``.
        class_name: name of a ``StoragePort`` subclass in it.

    Raises ``TypeError`` for anything but strings, ``StorageConfigurationError`` for malformed ones.

    """
    for what, value in (("name", name), ("module_path", module_path), ("class_name", class_name)):
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if not _discovery.is_name(name):
        raise StorageConfigurationError(
            f"{name!r} cannot name a storage: use printable characters without spaces, ':' or '='."
        )
    if _discovery.parse_target(f"{module_path}:{class_name}") is None:
        raise StorageConfigurationError(
            f"Storage {name!r}: {module_path!r} and {class_name!r} do not name a module and a class; "
            'write register_storage("redis", "corail.storage.redis", "RedisStorage").'
        )
    _REGISTRY[name] = (module_path, class_name)


class StorageFactory:
    """Creates storages by name and says which there are."""

    @staticmethod
    def create(
        name: str | None = None,
        *,
        wrap: Iterable[Callable[[StoragePort], StoragePort]] = (),
        hooks: Iterable[str] | None = None,
        **options: Any,
    ) -> StoragePort:
        """Return a new storage; nothing is connected until it is used.

        Args:
            name: a registered or installed name, or ``"package.module:Class"``. None means the
                environment variable ``CORAIL_STORAGE`` (stripped; an exact match first, then
                lower-cased), or ``"memory"`` when that is unset or blank.
            wrap: callables from a storage to a storage, the first outermost.
            hooks: names of hooks, the first outermost; None means ``CORAIL_STORAGE_HOOKS``.
            **options: handed to the backend's constructor as they are.

        Raises ``UnknownStorageError``, ``StorageNotInstalledError``, ``StorageLoadError`` or
        ``StorageConflictError`` when the name cannot be turned into a class; what the constructor
        raises passes untouched.

        """
        chosen, because = (name, "") if name is not None else _chosen_by_environment()
        if not isinstance(chosen, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise TypeError(f"name must be a str or None, not {type(chosen).__name__}")
        backend = _backend_class(chosen, because)

        def build() -> StoragePort:
            storage: StoragePort = backend(**options)
            for wrapper in reversed(list(wrap)):
                storage = wrapper(storage)
            return storage

        names = _hook_names() if hooks is None else tuple(hooks)
        if not names:
            return build()
        # Imported here: without hooks pluggy is never loaded.
        from corail.storage._hooking import create_with_hooks

        return create_with_hooks(chosen, build, names)

    @staticmethod
    def available() -> list[str]:
        """Return the sorted names whose code looks installed, without importing any of it.

        Never raises or warns because of one bad plugin; ``describe()`` shows what is wrong with it.
        """
        entries = _discovery.entries()
        names = {*_REGISTRY, *(entry.name for entry in entries)}
        return sorted(name for name in names if _is_available(describe(name, _REGISTRY, entries)))

    @staticmethod
    def describe() -> list[StorageDescription]:
        """Return a row per name: what it stands for, where from, and what is wrong with it."""
        entries = _discovery.entries()
        names = {*_REGISTRY, *(entry.name for entry in entries)}
        resolutions = (describe(name, _REGISTRY, entries) for name in sorted(names))
        return [_description(resolution) for resolution in resolutions if resolution is not None]

    @staticmethod
    def refresh() -> None:
        """Forget what was discovered; the next question scans the installed distributions again."""
        from corail.storage import _modules

        _discovery.forget()
        _modules.forget()


def _chosen_by_environment() -> tuple[str, str]:
    value = os.environ.get(_VARIABLE, "").strip()
    if not value:
        return _DEFAULT, f"{_VARIABLE} is not set, so the default {_DEFAULT!r} was chosen."
    because = f"The name came from {_VARIABLE}."
    if _discovery.parse_target(value) is None and resolve(value, _REGISTRY, _discovery.entries) is None:
        value = value.lower() if resolve(value.lower(), _REGISTRY, _discovery.entries) is not None else value
    return value, because


def _hook_names() -> tuple[str, ...]:
    listed = os.environ.get("CORAIL_STORAGE_HOOKS", "")
    return tuple(name for name in map(str.strip, listed.split(",")) if name)


def _backend_class(name: str, because: str) -> type[StoragePort]:
    named = None if name in _REGISTRY else _discovery.parse_target(name)
    # A class named directly needs no scan: no entry point can have a name with a colon.
    resolution = (
        resolve(name, _REGISTRY, _discovery.entries) if named is None else Resolution(name, named, named, ())
    )
    if resolution is None:
        raise _unknown(name, because)
    if resolution.conflict:
        raise _conflict(resolution, because)
    if resolution.target is None:
        raise _malformed(resolution)
    # Imported here: it is not needed before a storage is created.
    from corail.storage._loading import load

    try:
        return load(resolution, resolution.target, because=because)
    except StorageNotInstalledError as error:
        if because and not os.environ.get(_VARIABLE, "").strip():
            others = ", ".join(StorageFactory.available()) or "none"
            raise StorageNotInstalledError(
                f"{error} Or set {_VARIABLE} to an installed storage; installed: {others}."
            ) from error.__cause__
        raise


def _is_available(resolution: Resolution | None) -> bool:
    if resolution is None:
        return False
    if resolution.in_code:
        # Imported here: only questions about what is installed need it.
        from corail.storage import _modules

        return resolution.target is not None and _modules.is_installed(resolution.target[0])
    return bool(resolution.well_formed)


def _description(resolution: Resolution) -> StorageDescription:
    provider = resolution.provider
    target = None if resolution.target is None else ":".join(resolution.target)
    malformed = [f"{entry.value!r} of {entry.origin}" for entry in resolution.entries if entry.target is None]
    if resolution.in_code and checked_row(resolution.row) is None:
        malformed.insert(0, f"{resolution.row!r} in code")
    return {
        "name": resolution.name,
        "target": target,
        "source": "code" if resolution.in_code else "entry point",
        "distribution": None if provider is None else provider.distribution,
        "version": None if provider is None else provider.version,
        "installed": _is_available(resolution),
        "conflicts": [
            f"{entry.value} of {entry.origin}"
            for entry in resolution.well_formed
            if entry.target != resolution.target
        ],
        "malformed": malformed,
    }


def _unknown(name: str, because: str) -> UnknownStorageError:
    # Imported here: only an error needs it.
    from difflib import get_close_matches

    available = StorageFactory.available()
    listed = f"Available: {', '.join(available) or 'none'}."
    if "://" in name:
        # Not repeated: it probably holds a password.
        return UnknownStorageError(
            f"Unknown storage: a URL was given where a name is expected. {listed} {because} "
            f"Put the URL into the backend's own variable, such as CORAIL_DATABASE_URL."
        )
    shown = name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + "..."
    parts = [f"Unknown storage: {shown}. {listed}", because]
    known = {candidate.lower(): candidate for candidate in sorted({*_REGISTRY, *available}, reverse=True)}
    close = get_close_matches(name.lower(), known, n=1)
    if close:
        match = known[close[0]]
        parts.append(f"Did you mean {match!r}?")
        if match in FIRST_PARTY and match not in available:
            parts.append(f"It needs: pip install {FIRST_PARTY[match]}.")
    parts.append(
        f'Register one in code with register_storage({shown!r}, "your.module", "YourStorage"), '
        f"or install a distribution that advertises it under the entry-point group {_discovery.GROUP!r}."
    )
    return UnknownStorageError(" ".join(filter(None, parts)))


def _conflict(resolution: Resolution, because: str) -> StorageConflictError:
    claims = "; ".join(f"{entry.value} of {entry.origin}" for entry in resolution.well_formed)
    module, attribute = resolution.well_formed[0].target or ("", "")
    choice = f'register_storage({resolution.name!r}, "{module}", "{attribute}")'
    parts = [
        f"Storage {resolution.name!r} is claimed by several distributions: {claims}.",
        because,
        f"Uninstall all but one, or choose in code, for example: {choice}.",
    ]
    return StorageConflictError(" ".join(filter(None, parts)))


def _malformed(resolution: Resolution) -> StorageLoadError:
    problems = "; ".join(_description(resolution)["malformed"])
    return StorageLoadError(
        f"Storage {resolution.name!r} is malformed: {problems}. Expected a module and a class, "
        'as in "corail.storage.redis:RedisStorage".'
    )
