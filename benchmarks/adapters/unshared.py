"""Corail storage with every look-up asked by itself: what sharing them is worth; not part of `make bench`."""

from typing import ClassVar

from benchmarks.adapters.corail import Corail
from corail.storage.postgresql import _coalesce


class Unshared(Corail):
    """As many queries under way as there are look-ups, so that none waits for others."""

    name: ClassVar[str] = "corail-storage, look-ups not shared"

    async def open(self, url: str) -> None:
        """Make the storage without the bound that makes look-ups wait."""
        # A process of its own: nothing else is measured in it.
        _coalesce.FLIGHTS = 1_000_000  # type: ignore[misc] # pyright: ignore[reportConstantRedefinition]
        await super().open(url)
