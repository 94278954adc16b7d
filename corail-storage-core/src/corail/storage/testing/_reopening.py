"""The author's ``reopen``: found, named so that another process can import it, and called.

Used by the tests and by the writer process alike, so nothing of pytest may be imported here.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Final, NamedTuple

from corail.storage.port import StoragePort

_REMEDY: Final = (
    "Set it on the test class: reopen = staticmethod(open_mine), or reopen = 'package.module:open_mine', a "
    "function at module level that takes nothing and returns a new object on the store of the fixture "
    "'storage'."
)


class Target(NamedTuple):
    """Where ``reopen`` can be imported from."""

    module: str
    name: str
    file: str | None
    """The module's file: test modules are often not importable by name in another process."""


def target_of(reopen: Callable[[], StoragePort] | str | None) -> Target:
    """Return where another process finds ``reopen``; raises ``AssertionError`` with the remedy."""
    if reopen is None:
        raise AssertionError(f"reopen is not given. {_REMEDY}")
    if isinstance(reopen, str):
        module, colon, name = reopen.partition(":")
        if not (colon and module and name):
            raise AssertionError(f"reopen is {reopen!r}, which is not 'package.module:function'. {_REMEDY}")
    else:
        # A partial or another callable object has neither.
        module = getattr(reopen, "__module__", "")
        name = getattr(reopen, "__qualname__", "<no name>")
        if "<" in name:
            raise AssertionError(f"reopen is {name}, which another process cannot import. {_REMEDY}")
    return Target(module, name, getattr(sys.modules.get(module), "__file__", None))


def open_target(target: Target) -> StoragePort:
    """Import ``reopen`` where needed, call it, and return the new storage."""
    found: object = sys.modules.get(target.module) or _imported(target)
    for part in target.name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AssertionError(f"{target.module} has no {target.name}. {_REMEDY}") from None
    return checked(found)


def checked(reopen: object) -> StoragePort:
    """Call ``reopen`` and return the storage it makes."""
    storage = reopen() if callable(reopen) else None
    if not isinstance(storage, StoragePort):
        what = f"a {type(storage).__name__}"
        raise AssertionError(f"reopen() gave {what}, not a StoragePort. {_REMEDY}")  # noqa: TRY004 - a test's failure
    return storage


def _imported(target: Target) -> object:
    try:
        module = import_module(target.module)
    except ImportError:
        module = None
    found = getattr(module, "__file__", None)
    if module is not None and (target.file is None or (found and Path(found).samefile(target.file))):
        return module
    if target.file is None:
        raise AssertionError(f"{target.module} cannot be imported. {_REMEDY}")
    spec = spec_from_file_location(target.module, target.file)
    if spec is None or spec.loader is None:
        raise AssertionError(f"{target.file} cannot be loaded. {_REMEDY}")
    module = module_from_spec(spec)
    sys.modules[target.module] = module
    spec.loader.exec_module(module)
    return module
