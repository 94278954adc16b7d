"""Backends that installed distributions advertise: one scan of their metadata, remembered.

Owns the entry-point group ``corail.storage`` and the cache of its scan. Imports no backend, and the
metadata library only inside a scan: a name found in code never pays for it.
"""

import os
import sys
from _thread import allocate_lock
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

GROUP: Final = "corail.storage"

_UNNAMED: Final = ("(unnamed distribution)", "?")


class Entry(NamedTuple):
    """One advertised backend."""

    name: str
    value: str
    target: tuple[str, str] | None
    """Module and attribute, or None when ``value`` is malformed."""
    distribution: str
    version: str

    @property
    def origin(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}"


_Key = tuple[tuple[str, int], ...]

# Held during a scan, never while a backend is imported: one that registers something on import
# would deadlock. Sixteen threads asking at once cause one scan.
# allocate_lock is threading.Lock, without the half millisecond that importing threading takes.
_lock = allocate_lock()
_remembered: tuple[_Key, tuple[Entry, ...]] | None = None


def entries() -> tuple[Entry, ...]:
    """Return every advertised backend; scans again only when ``sys.path`` or a folder on it changed."""
    global _remembered
    key = _path_key()
    remembered = _remembered
    if remembered is not None and remembered[0] == key:
        return remembered[1]
    with _lock:
        if _remembered is None or _remembered[0] != key:
            _remembered = (key, tuple(scan(GROUP)))
        return _remembered[1]


def forget() -> None:
    """Drop the remembered scan."""
    global _remembered
    with _lock:
        _remembered = None


def _path_key() -> _Key:
    # Installing or removing a distribution changes the time of the folder that holds its metadata.
    return tuple((entry, modified(entry)) for entry in sys.path)


def modified(entry: str) -> int:
    """Return when a file or folder was last modified, in nanoseconds, or -1 if it cannot be told."""
    try:
        return os.stat(entry or ".").st_mtime_ns  # noqa: PTH116 - pathlib is slow to import
    except OSError:
        return -1


def scan(group: str) -> Iterator[Entry]:
    """Yield what every installed distribution advertises under ``group``, unremembered."""
    # Imported here: 20 ms that only names not found in code have to pay.
    import importlib_metadata

    # Partly untyped, so what comes out of it is Any; Entry is where the types begin.
    metadata: Any = importlib_metadata
    found: Iterable[tuple[str, str, Any]]
    try:
        found = [(point.name, point.value, point.dist) for point in metadata.entry_points(group=group)]
    except Exception:  # noqa: BLE001 - one unreadable distribution anywhere must not hide all others
        found = _scan_each(metadata.distributions(), group)
    for name, value, dist in found:
        distribution, version = _identity(dist)
        yield Entry(name, value, _parse(name, value), distribution, version)


def _scan_each(distributions: Iterable[Any], group: str) -> Iterator[tuple[str, str, Any]]:
    seen: set[str] = set()
    for dist in distributions:
        identity = _identity(dist)
        # The first on the path wins, as it does for imports; without a name, none can be told apart.
        if identity != _UNNAMED:
            normalized = _normalized(identity[0])
            if normalized in seen:
                continue
            seen.add(normalized)
        try:
            text = dist.read_text("entry_points.txt") or ""
        except Exception:  # noqa: BLE001 - unreadable metadata advertises nothing
            text = ""
        for name, value in _group_lines(text, group):
            yield name, value, dist


def _normalized(distribution: str) -> str:
    # PEP 503: runs of "-", "_" and "." are one, case does not count.
    return "-".join(filter(None, distribution.lower().replace("_", "-").replace(".", "-").split("-")))


def _group_lines(text: str, group: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif line and not line.startswith("#") and section == group:
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()


def _identity(dist: Any) -> tuple[str, str]:
    if dist is None:
        return _UNNAMED
    try:
        return str(dist.metadata["Name"]), str(dist.version)
    except Exception:  # noqa: BLE001 - a distribution may lack or garble its metadata file
        return _UNNAMED


def _parse(name: str, value: str) -> tuple[str, str] | None:
    # "module:Class", optionally followed by the deprecated "[extra]".
    module, _, attribute = value.partition("[")[0].partition(":")
    return parse_target(f"{module.strip()}:{attribute.strip()}") if is_name(name) else None


def parse_target(value: str) -> tuple[str, str] | None:
    """Return the module and attribute of ``package.module:Class``, or None when it is not one."""
    module, separator, attribute = value.partition(":")
    parts = (*module.split("."), *attribute.split("."))
    return (module, attribute) if separator and all(map(str.isidentifier, parts)) else None


def is_name(name: str) -> bool:
    """Return whether ``name`` can be a backend's name: printable, without spaces, ``:`` or ``=``."""
    return bool(name) and name.isprintable() and not any(c.isspace() or c in ":=" for c in name)
