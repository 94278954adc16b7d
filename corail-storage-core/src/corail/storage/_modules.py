"""Whether a module is installed, found out without running any of its code or its parents'."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

from corail.storage._discovery import modified

# By module: the path and the finders of the search that found it, and when each folder that was
# searched and the module's own file had been modified. It is found again for as long as none of this has
# changed. Only what was found on the path: a miss is looked for again each time, and so is what another
# finder has found, since nothing tells when its answer changes.
_remembered: dict[str, tuple[list[str], list[object], dict[str, int]]] = {}


def is_installed(module: str) -> bool:
    """Return whether ``import module`` would find code; never raises and imports nothing.

    A module already in ``sys.modules`` counts, a leftover folder without code does not, and any
    exception on the way means no.
    """
    if sys.modules.get(module) is not None:
        return True
    try:
        return _is_still_there(module) or _find(module)
    except Exception:  # noqa: BLE001 - finders are foreign code; what cannot be found is not installed
        return False


def forget() -> None:
    """Drop what was found."""
    _remembered.clear()


def _is_still_there(module: str) -> bool:
    remembered = _remembered.get(module)
    if remembered is None:
        return False
    path, finders, looked_at = remembered
    return (
        path == sys.path
        and finders == sys.meta_path
        and all(modified(place) == time for place, time in looked_at.items())
    )


def _find(module: str) -> bool:
    _remembered.pop(module, None)
    searched, finders = list(sys.path), list[object](sys.meta_path)
    looked_at: dict[str, int] = {}
    path: list[str] | None = None
    parts = module.split(".")
    on_path = True
    for depth in range(1, len(parts) + 1):
        for folder in sys.path if path is None else path:
            looked_at[folder] = modified(folder)
        spec, finder = _spec(".".join(parts[:depth]), path)
        if spec is None:
            return False
        on_path = on_path and finder is PathFinder
        if depth == len(parts):
            if spec.loader is None or spec.origin is None:
                return False
            looked_at[spec.origin] = modified(spec.origin)
            if on_path:
                _remembered[module] = (searched, finders, looked_at)
            return True
        if spec.submodule_search_locations is None:
            return False
        path = list(spec.submodule_search_locations)
    return False


def _spec(fullname: str, path: list[str] | None) -> tuple[ModuleSpec | None, object]:
    for finder in sys.meta_path:
        if finder is PathFinder:
            spec = _path_spec(fullname, sys.path if path is None else path)
        else:
            spec = finder.find_spec(fullname, path)
        if spec is not None:
            return spec, finder
    return None, None


def _path_spec(fullname: str, path: Sequence[str]) -> ModuleSpec | None:
    # PathFinder itself looks a nested namespace's parent up in sys.modules, so it would want the
    # parents imported; asking each folder's own finder does not.
    # Imported here: only names that are not imported yet need it.
    from pkgutil import get_importer

    portions: list[str] = []
    for entry in path:
        importer = get_importer(entry)
        spec = None if importer is None else importer.find_spec(fullname)
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions.extend(spec.submodule_search_locations or ())
    if not portions:
        return None
    namespace = ModuleSpec(fullname, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace
