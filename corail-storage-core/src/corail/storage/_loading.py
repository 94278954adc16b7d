"""From a target to a usable class: import it, check it, and say exactly what is wrong when it is not.

Imports the selected backend and nothing else; holds no lock while doing so.
"""

import sys
from importlib import import_module

from corail.storage._resolution import FIRST_PARTY, Resolution
from corail.storage.errors import StorageLoadError, StorageNotInstalledError
from corail.storage.port import StoragePort


def load(resolution: Resolution, target: tuple[str, str], *, because: str = "") -> type[StoragePort]:
    """Return the backend class ``target`` names.

    Args:
        resolution: where the target came from, for messages.
        target: module and class.
        because: a sentence for messages on how the name was chosen; empty when it was passed in.

    """
    module_name, attribute = target
    try:
        found: object = import_module(module_name)
    except ModuleNotFoundError as error:
        if not resolution.entries and _is_part(error.name, module_name):
            raise _not_installed(resolution, module_name, because) from error
        raise _broken(resolution, target, f"importing it failed: {error}") from error
    except Exception as error:
        raise _broken(resolution, target, f"importing it failed: {type(error).__name__}: {error}") from error
    if not resolution.entries and _is_folder(found):
        raise _not_installed(resolution, module_name, because)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise _broken(resolution, target, f"module {module_name} has no {attribute}") from error
    return _checked(resolution, target, found)


def _checked(resolution: Resolution, target: tuple[str, str], found: object) -> type[StoragePort]:
    if not isinstance(found, type):
        raise _broken(resolution, target, f"it is a {type(found).__name__}, not a class")
    if not issubclass(found, StoragePort):
        raise _broken(
            resolution,
            target,
            "it is not a subclass of StoragePort (from corail.storage.port import StoragePort)",
        )
    # Not inspect.isabstract: core must not import inspect.
    missing: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
    if missing:
        raise _broken(resolution, target, f"it does not implement {', '.join(sorted(missing))}")
    return found


def _is_part(missing: str | None, module: str) -> bool:
    # The backend's own module or a parent of it is absent, not something the backend imports.
    return missing is not None and (missing == module or module.startswith(missing + "."))


def _is_folder(module: object) -> bool:
    # An uninstalled backend can leave its folder behind, which then imports as an empty namespace.
    return hasattr(module, "__path__") and getattr(module, "__file__", None) is None


def _broken(resolution: Resolution, target: tuple[str, str], why: str) -> StorageLoadError:
    spelled = ":".join(target)
    provider = next((entry for entry in resolution.entries if entry.target == target), None)
    if provider is not None:
        where = f"entry point {resolution.name} = {spelled} of {provider.origin}"
        remedy = f"Reinstall or upgrade {provider.distribution}, or report it to its author."
    else:
        where = f"{spelled}, registered in code"
        remedy = "Correct the row given to register_storage(), or what it names."
        if resolution.name == spelled:
            where, remedy = f"{spelled}, named directly", "Correct the name, or what it names."
        elif resolution.name in FIRST_PARTY:
            where = spelled
            remedy = f"Reinstall it: pip install --force-reinstall {FIRST_PARTY[resolution.name]}."
    return StorageLoadError(f"Storage {resolution.name!r} cannot be used ({where}): {why}. {remedy}")


def _not_installed(resolution: Resolution, module: str, because: str) -> StorageNotInstalledError:
    distribution = FIRST_PARTY.get(resolution.name)
    remedy = (
        f"Install it: pip install {distribution}."
        if distribution is not None
        else f"Install the distribution that provides the module {module}, or correct the name."
    )
    parts = [f"Storage {resolution.name!r} is not installed: there is no module {module}.", because, remedy]
    return StorageNotInstalledError(" ".join(filter(None, [*parts, _shadow()])))


def _shadow() -> str:
    # A package that ships corail/__init__.py (or one for corail.storage) closes the namespace: what
    # other distributions put there can no longer be found.
    for name in ("corail", "corail.storage"):
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin is not None:
            return f"{origin} closes the namespace package {name}: remove the distribution that owns it."
    return ""
