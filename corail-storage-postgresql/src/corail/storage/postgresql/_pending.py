"""A turn with the caller who waits for it. Knows nothing of queues, batches or the database."""

import asyncio

from corail.storage.errors import StorageError
from corail.storage.postgresql._batch import Turn


class Pending:
    """A turn with its caller.

    Args:
        turn: what to store.
        future: what the caller waits for.
        deadline: when the caller has waited long enough, on the ``time.monotonic`` clock.

    """

    __slots__ = ("deadline", "future", "turn")

    def __init__(self, turn: Turn, future: "asyncio.Future[None]", deadline: float) -> None:
        self.turn = turn
        self.future = future
        self.deadline = deadline

    @property
    def settled(self) -> bool:
        """Whether the caller has been told, or has gone away."""
        return self.future.done()

    def succeed(self) -> None:
        """Tell the caller that the turn is stored."""
        if not self.future.done():
            self.future.set_result(None)

    def fail(self, error: StorageError) -> None:
        """Tell the caller what went wrong."""
        if self.future.done():
            return
        # One exception object per caller: shared, each raising would lengthen everybody's traceback.
        try:
            own = type(error)(*error.args)
        except TypeError:
            own = error
        own.__cause__ = error.__cause__
        self.future.set_exception(own)
