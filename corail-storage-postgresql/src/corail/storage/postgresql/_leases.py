"""Connections of one pool, kept at hand between two calls instead of returned and taken again.

Taking a connection from asyncpg's pool and giving it back costs a task each; for a lone caller that
was a fifth of an append. So a connection that just worked stays with us, and goes back when somebody
waits for one, when it has been idle for a while, and when anything went wrong.
"""

import asyncio
import contextlib
import socket
from collections import deque
from time import monotonic
from typing import Any, Final

import asyncpg

from corail.storage.postgresql._types import Connection, Pool

_IDLE_SECONDS: Final = 60.0


class Leases:
    """The pool of one event loop and the connections kept at hand.

    Args:
        pool: whose connections.
        keep: whether to keep any; not those of a caller's pool, who may wait for them.

    """

    def __init__(self, pool: Pool, *, keep: bool) -> None:
        self.pool = pool
        self._keep = keep
        self._waiting = 0
        # The most recently used last: the others may become idle.
        self._at_hand: deque[tuple[float, Connection]] = deque()
        self._out: set[Connection] = set()
        self._stale: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, seconds: float) -> Connection:
        """Return a connection, waiting at most so long for one."""
        while self._at_hand:
            _, connection = self._at_hand.pop()
            if _is_open(connection):
                self._out.add(connection)
                return connection
        self._waiting += 1
        try:
            connection = await self.pool.acquire(timeout=seconds)
        finally:
            self._waiting -= 1
        self._out.add(connection)
        return connection

    async def release(self, connection: Connection, *, healthy: bool, seconds: float) -> None:
        """Give a connection back, or keep it at hand if it is healthy and nobody waits for one."""
        self._out.discard(connection)
        stale = connection in self._stale
        self._stale.discard(connection)
        if healthy and self._keep and not stale and not self._waiting:
            self._at_hand.append((monotonic(), connection))
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._retire)
        else:
            await self.pool.release(connection, timeout=seconds)

    def expire(self) -> None:
        """Close what is at hand now, and what is out or in the pool before its next use."""
        while self._at_hand:
            close_now(self._at_hand.pop()[1])
        self._stale |= self._out
        # Awaitable only by habit: it counts a generation up and does no I/O.
        counting = self.pool.expire_connections()
        with contextlib.suppress(StopIteration):
            counting.send(None)
        counting.close()

    @property
    def idle(self) -> int:
        """Connections that are open and unused."""
        return self.pool.get_idle_size() + len(self._at_hand)

    async def aclose(self, within: float) -> None:
        """Close the pool, waiting at most so long for connections in use."""
        self._keep = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            async with asyncio.timeout(within):
                while self._at_hand:
                    await self.pool.release(self._at_hand.pop()[1])
                # close() alone waits without limit for connections that are checked out.
                await self.pool.close()
        except Exception:  # noqa: BLE001 - whatever it was, nothing may stay open
            self.pool.terminate()

    def cut(self) -> None:
        """Close the sockets of a pool whose loop no longer runs.

        The pool's own ``terminate`` needs its loop: it raised after the first connection and left 32
        of 40 open. The attributes are private to asyncpg, so each step may fail; then the garbage
        collector closes the rest.
        """
        holders: Any = getattr(self.pool, "_holders", ())
        for holder in holders:
            with contextlib.suppress(Exception):
                raw: socket.socket = holder._con._transport.get_extra_info("socket")  # noqa: SLF001
                raw.shutdown(socket.SHUT_RDWR)

    def _retire(self) -> None:
        """Close what nobody has needed for a while."""
        self._timer = None
        oldest = monotonic() - _IDLE_SECONDS
        while self._at_hand and self._at_hand[0][0] <= oldest:
            close_now(self._at_hand.popleft()[1])
        if self._at_hand:
            self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._retire)


def _is_open(connection: Connection) -> bool:
    """Return whether a connection at hand still works, cleaning up after one that does not."""
    try:
        if not connection.is_closed():
            return True
        connection.terminate()
    except asyncpg.InterfaceError:
        # Closed by the server, and asyncpg has taken it back already.
        pass
    return False


def close_now(connection: Connection) -> None:
    """Close a connection without a word to the server, whatever state it is in."""
    if _is_open(connection):
        connection.terminate()
