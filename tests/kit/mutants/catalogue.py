"""The list of mutants: deliberately broken backends, each with the clause that has to catch it."""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from corail.storage.capabilities import PERSISTENT
from tests.kit.reference import ReferenceStorage

Broken = TypeVar("Broken", bound=type[ReferenceStorage])


class Mutant(NamedTuple):
    storage: type[ReferenceStorage]
    clause: str

    @property
    def name(self) -> str:
        return self.storage.__name__

    @property
    def fault(self) -> str:
        return (self.storage.__doc__ or "").strip()

    @property
    def durable(self) -> bool:
        return PERSISTENT in self.storage.capabilities

    @property
    def reopens(self) -> bool:
        return bool(getattr(self.storage, "reopens", True))


MUTANTS: Final[dict[str, Mutant]] = {}


def caught_by(clause: str) -> Callable[[Broken], Broken]:
    """Enter a broken backend in the list, under the clause that must fail for it."""

    def enter(storage: Broken) -> Broken:
        MUTANTS[storage.__name__] = Mutant(storage, clause)
        return storage

    return enter
