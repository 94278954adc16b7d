"""Whether a module is installed, found out without running any of its code or its parents'."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder


def is_installed(module: str) -> bool:
    """Return whether ``import module`` would find code; never raises and imports nothing.

    A module already in ``sys.modules`` counts, a leftover folder without code does not, and any
    exception on the way means no.
    """
    if sys.modules.get(module) is not None:
        return True
    try:
        return _find(module)
    except Exception:  # noqa: BLE001 - finders are foreign code; what cannot be found is not installed
        return False


def _find(module: str) -> bool:
    path: list[str] | None = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:depth]), path)
        if spec is None:
            return False
        if depth == len(parts):
            return spec.loader is not None and spec.origin is not None
        if spec.submodule_search_locations is None:
            return False
        path = list(spec.submodule_search_locations)
    return False


def _spec(fullname: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        if finder is PathFinder:
            spec = _path_spec(fullname, sys.path if path is None else path)
        else:
            spec = finder.find_spec(fullname, path)
        if spec is not None:
            return spec
    return None


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
