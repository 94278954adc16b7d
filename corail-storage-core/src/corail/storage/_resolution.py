"""What a backend name stands for: the one function behind ``create``, ``available`` and ``describe``.

In-code rows come first, entry points after them, so an installed package can never take over a name
that the application or core has given a meaning. Imports no backend.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple, TypeGuard

from corail.storage._discovery import Entry

FIRST_PARTY: Final[dict[str, str]] = {
    "memory": "corail-storage-memory",
    "postgresql": "corail-storage-postgresql",
}
"""Distribution by name, for the only ``pip install`` lines we may suggest: guessed names invite squatters."""


class Resolution(NamedTuple):
    """Everything known about one name."""

    name: str
    row: object
    """The in-code row as found, or None."""
    target: tuple[str, str] | None
    """Module and class that ``create`` would load; None when malformed or in conflict."""
    entries: tuple[Entry, ...]
    """Every entry point of that name, used or not."""

    @property
    def in_code(self) -> bool:
        """Whether an in-code row decides."""
        return self.row is not None

    @property
    def well_formed(self) -> tuple[Entry, ...]:
        """The entry points that name a module and a class."""
        return tuple(entry for entry in self.entries if entry.target is not None)

    @property
    def conflict(self) -> bool:
        """Whether distributions disagree about the name and nobody in code has chosen."""
        return not self.in_code and len({entry.target for entry in self.well_formed}) > 1

    @property
    def provider(self) -> Entry | None:
        """The distribution that advertises the very target, if one does."""
        return next((entry for entry in self.entries if entry.target == self.target is not None), None)


def resolve(
    name: str, registry: Mapping[str, object], entries: Callable[[], Iterable[Entry]]
) -> Resolution | None:
    """Return what ``name`` stands for, or None; ``entries`` is called only when code does not decide."""
    row = registry.get(name)
    if row is not None:
        return Resolution(name, row, checked_row(row), ())
    return describe(name, registry, entries())


def describe(name: str, registry: Mapping[str, object], entries: Iterable[Entry]) -> Resolution | None:
    """Return what ``name`` stands for together with every entry point of that name."""
    row = registry.get(name)
    advertised = tuple(entry for entry in entries if entry.name == name)
    if row is not None:
        return Resolution(name, row, checked_row(row), advertised)
    if not advertised:
        return None
    targets = {entry.target for entry in advertised if entry.target is not None}
    return Resolution(name, None, targets.pop() if len(targets) == 1 else None, advertised)


def checked_row(row: object) -> tuple[str, str] | None:
    """Return an in-code row as module and class, or None when somebody stored something else."""
    if not _is_tuple(row) or len(row) != 2:
        return None
    module, attribute = row
    return (module, attribute) if isinstance(module, str) and isinstance(attribute, str) else None


def _is_tuple(row: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(row, tuple)
