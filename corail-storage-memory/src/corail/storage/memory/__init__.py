"""``MemoryStorage``: conversations in the memory of this process, for tests and stateless agents."""

from corail.storage.memory._storage import MemoryStorage

__all__ = ["MemoryStorage"]
