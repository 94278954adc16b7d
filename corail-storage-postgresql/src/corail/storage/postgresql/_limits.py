"""How long and how much: the limits of a storage, and the time that one call has left of them."""

import asyncio
import random
from dataclasses import dataclass
from time import monotonic
from typing import Final

_FIRST_PAUSE: Final = 0.02
# How long a server can be back, or a standby promoted, before the appends that wait for it notice.
_LONGEST_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much; all times in seconds."""

    pool_size: int
    connect_timeout: float
    """For each host."""
    acquire_timeout: float
    """For a connection that somebody else is using."""
    command_timeout: float
    deadline: float
    """For one call with all its retries: after it no attempt is begun."""
    close_timeout: float
    statement_cache_size: int


class Retries:
    """The time one call has, and the pauses between its attempts.

    Args:
        end: when to give up, on the ``time.monotonic`` clock.

    """

    def __init__(self, end: float) -> None:
        self._end = end
        self._pause = _FIRST_PAUSE

    @property
    def left(self) -> float:
        """Seconds left."""
        return max(0.0, self._end - monotonic())

    async def pause(self) -> bool:
        """Wait before another attempt; False when there is no time for one.

        Full jitter, so that the replicas of a service do not return to a recovering server in step.
        """
        await asyncio.sleep(min(random.uniform(0, self._pause), self.left))  # noqa: S311 - not a secret
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return self.left > 0
