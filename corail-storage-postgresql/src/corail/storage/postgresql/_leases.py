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
from asyncpg import PostgresLogMessage

from corail.storage.postgresql._types import Connection, Pool
from corail.storage.rows import PoolUse

_IDLE_SECONDS: Final = 60.0


class Lease:
    """A connection that was taken, and what the server has warned about on it."""

    __slots__ = ("connection", "stale", "used", "warnings")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.warnings: list[str] = []
        """SQLSTATEs of the server's own notices since the last call on it began."""
        self.stale = False
        """Whether it must not be used again after this call."""
        self.used = 0.0
        connection.add_log_listener(self._note)

    def is_open(self) -> bool:
        """Return whether it still works, cleaning up after one that does not."""
        try:
            if not self.connection.is_closed():
                return True
            self.connection.terminate()
        except asyncpg.InterfaceError:
            # Closed by the server, and asyncpg has taken it back already.
            pass
        return False

    def close_now(self) -> None:
        """Close it without a word to the server, whatever state it is in."""
        if self.is_open():
            self.connection.terminate()

    async def give_back(self, pool: Pool, seconds: float | None = None) -> None:
        """Return it to its pool."""
        with contextlib.suppress(asyncpg.InterfaceError):
            self.connection.remove_log_listener(self._note)
        await pool.release(self.connection, timeout=seconds)

    def _note(self, _connection: object, message: PostgresLogMessage) -> None:
        # With a context it comes from a function, such as a trigger of the administrator's.
        if getattr(message, "context", None) is None:
            self.warnings.append(str(getattr(message, "sqlstate", "")))


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
        self._at_hand: deque[Lease] = deque()
        self._out: set[Lease] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._returned = asyncio.Event()
        self._closing: list[Any] = []

    async def acquire(self, seconds: float) -> Lease:
        """Return a connection, waiting at most so long for one."""
        while self._at_hand:
            lease = self._at_hand.pop()
            if lease.is_open():
                lease.warnings.clear()
                break
        else:
            self._waiting += 1
            try:
                lease = Lease(await self.pool.acquire(timeout=seconds))
            finally:
                self._waiting -= 1
                self._returned.set()
        self._out.add(lease)
        return lease

    async def release(self, lease: Lease, *, healthy: bool, seconds: float) -> None:
        """Give a connection back, or keep it at hand if it is healthy and nobody waits for one."""
        self._out.discard(lease)
        if healthy and self._keep and not lease.stale and not self._waiting:
            lease.used = monotonic()
            self._at_hand.append(lease)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._retire)
            self._returned.set()
        else:
            # The call on it has ended, well or badly: a connection that cannot be given back in order,
            # and is closed by asyncpg for that, does not change how.
            try:
                with contextlib.suppress(Exception):
                    await lease.give_back(self.pool, seconds)
            finally:
                self._returned.set()

    def expire(self) -> None:
        """Close what is at hand now, and what is out or in the pool before its next use."""
        while self._at_hand:
            self._at_hand.pop().close_now()
        for lease in self._out:
            lease.stale = True
        # Awaitable only by habit: it counts a generation up and does no I/O.
        counting = self.pool.expire_connections()
        with contextlib.suppress(StopIteration):
            counting.send(None)
        counting.close()

    @property
    def exhausted(self) -> bool:
        """Whether every connection there may be is in use."""
        return self.idle == 0 and self.pool.get_size() >= self.pool.get_max_size()

    @property
    def idle(self) -> int:
        """Connections that are open and unused."""
        return self.pool.get_idle_size() + len(self._at_hand)

    def use(self) -> PoolUse | None:
        """Return how many connections are open, idle and allowed, or None once the pool is closed."""
        # A caller's pool raises then.
        with contextlib.suppress(asyncpg.InterfaceError):
            return {"size": self.pool.get_size(), "idle": self.idle, "limit": self.pool.get_max_size()}
        return None

    async def aclose(self, within: float) -> None:
        """Close the pool, waiting at most so long for connections in use."""
        self._keep = False
        # The pool no longer knows a connection that is being closed when its loop ends: ``cut`` does.
        self._closing = self._connections()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            async with asyncio.timeout(within):
                while self._out or self._waiting:
                    self._returned.clear()
                    await self._returned.wait()
                # Not the pool's close(): it cuts off those who were waiting for a connection, and its
                # tasks are in the way of a loop that ends meanwhile.
                while self._at_hand:
                    await self._at_hand.pop().connection.close()
        except Exception:  # noqa: BLE001, S110 - whatever it was, nothing may stay open
            pass
        finally:
            # Also when this is cancelled, or its loop is no more; what is closed stays as it is.
            with contextlib.suppress(Exception):
                self.pool.terminate()

    def cut(self) -> None:
        """Close the sockets of a pool whose loop no longer runs.

        The pool's own ``terminate`` needs its loop: it raised after the first connection and left 32
        of 40 open. The attributes are private to asyncpg and asyncio, so each step may fail; then
        the garbage collector closes the rest.
        """
        pool: Any = self.pool
        with contextlib.suppress(Exception):
            for connection in self._closing or self._connections():
                _cut_connection(connection, closed=pool._loop.is_closed())  # noqa: SLF001

    def _connections(self) -> list[Any]:
        pool: Any = self.pool
        with contextlib.suppress(Exception):
            return [holder._con for holder in pool._holders]  # noqa: SLF001
        return []

    def _retire(self) -> None:
        """Close what nobody has needed for a while."""
        self._timer = None
        oldest = monotonic() - _IDLE_SECONDS
        while self._at_hand and self._at_hand[0].used <= oldest:
            self._at_hand.popleft().close_now()
        if self._at_hand:
            self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._retire)


def _cut_connection(connection: Any, *, closed: bool) -> None:
    with contextlib.suppress(Exception):
        transport = connection._transport  # noqa: SLF001
        raw: socket.socket = transport.get_extra_info("socket")
        raw.shutdown(socket.SHUT_RDWR)
        if closed:
            # Nothing will ever read it again. Marked and taken away, neither connection nor transport
            # is reported as forgotten when collected; under TLS the socket is the lower transport's.
            connection._aborted = True  # noqa: SLF001
            below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", transport)
            own, below._sock = below._sock, None  # noqa: SLF001
            own.close()
