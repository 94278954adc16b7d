"""One connection: which host, within which time, under which statement names, and how it is cancelled.

asyncpg tries a list of hosts under one timeout, so a hanging first host hides the others; here every
host has its own. Owns the connection class; imports nothing of the pools above it.
"""

import asyncio
import threading
import traceback
import uuid
from collections.abc import Iterator
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

import asyncpg

from corail.storage.postgresql._dsn import Dsn, Host
from corail.storage.postgresql._sql import HOST_ROLE
from corail.storage.postgresql._types import Connection, DriverConnection

# No server: nobody there, or a proxy without one that closes what it has accepted.
_UNHEARD: Final = (OSError, asyncpg.ConnectionDoesNotExistError)
# A server, or a pooler, that is there and will not do: full, starting, stopping, the wrong one.
_UNWILLING: Final = (
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
)

# Less than a readiness probe waits, and more than a host takes that is only slow.
_HANGING_SECONDS: Final = 1.0

_ANY: Final = "any"
_PREFER_STANDBY: Final = "prefer-standby"
# What each wants: a column of ``HOST_ROLE`` and its value.
_WANTED: Final = {
    "primary": ("standby", False),
    "standby": ("standby", True),
    "read-write": ("read_only", False),
    "read-only": ("read_only", True),
}


class CorailConnection(DriverConnection):
    """A connection that does no harm to others behind a pooler.

    The hooks are private to asyncpg; tests pin them.

    PgBouncer in transaction mode hands one server connection, prepared statements included, from
    client to client. asyncpg counts its names from 1 in every process, so a reader's name once meant
    another pod's DELETE: 50 of 50 conversations were gone.

    A request to cancel a statement, sent when a call is cancelled, can come late and hit whoever has the
    server connection by then, and one that is itself given up ends all of PgBouncer 1.18 ("bad client
    state: 0"). So until it is known that there is no pooler, the connection is closed instead.
    """

    __slots__ = ("_sends_cancels",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sends_cancels = False

    def send_cancels(self) -> None:
        """Ask the server to stop a statement whose caller was cancelled: there is no pooler."""
        self._sends_cancels = True

    def _get_unique_id(self, prefix: str) -> str:
        return f"__corail_{prefix}_{uuid.uuid4().hex}__"

    def _cancel_current_command(self, *waiters: "asyncio.Future[None]") -> None:
        if self._sends_cancels:
            # The stubs leave it out.
            super()._cancel_current_command(*waiters)  # type: ignore[misc]
        else:
            # Not at once: asyncpg has only begun to prepare for a cancellation.
            asyncio.get_running_loop().call_soon(self.terminate)


class Connector:
    """Opens connections to the first suitable host of a URL; one per storage, for the pools of all its loops.

    Args:
        dsn: the parsed URL.
        connect_timeout: seconds for each host, from name resolution to the check of its attributes.
        command_timeout: default seconds for a statement.
        statement_cache_size: prepared statements kept per connection; 0 for unnamed ones only.

    """

    def __init__(
        self, dsn: Dsn, *, connect_timeout: float, command_timeout: float, statement_cache_size: int
    ) -> None:
        self._dsn = dsn
        self._connect_timeout = connect_timeout
        self._command_timeout = command_timeout
        self._statement_cache_size = statement_cache_size
        self._naming = threading.Lock()
        self._direct: bool | None = None
        """Whether there is no pooler, as far as is known."""
        self._last_good: Host | None = None
        self._avoided: set[Host] = set()
        """Hosts that hung or turned out to be read-only: tried after all others, until one works again."""

    async def __call__(self, *_: Any, **__: Any) -> DriverConnection:
        """Connect; the pool passes its loop and classes, which are the ones used here anyway."""
        failure: Exception | None = None
        for host, attributes in self._attempts():
            began = monotonic()
            try:
                connection = await self._open(host, attributes)
            except asyncio.CancelledError:
                # Whoever waited gave up before the host's own time was over, as a probe does: the next one
                # must not wait for the same. Where any host will do, the others may be standbys.
                if attributes != _ANY and monotonic() - began >= _HANGING_SECONDS:
                    self._avoided.add(host)
                raise
            except (*_UNHEARD, *_UNWILLING) as error:
                if isinstance(error, TimeoutError):
                    self._avoided.add(host)
                # The most telling failure is a server that answered, whatever the others did.
                if failure is None or isinstance(failure, _UNHEARD):
                    failure = error
                continue
            self._last_good = host
            self._avoided.discard(host)
            return connection
        raise failure if failure is not None else OSError("no host to connect to")

    def without_names(self) -> bool:
        """Use unnamed statements from the next connection on; False if that was so already."""
        # Loops in several threads may find out at the same moment; one of them is to announce it.
        with self._naming:
            changed, self._statement_cache_size = self._statement_cache_size != 0, 0
        return changed

    def reached(self, connection: Connection, *, backend: int) -> None:
        """Note whether a pooler stands between; once seen, it is believed to be there.

        Args:
            connection: one that this has opened.
            backend: the process that serves it, as the server says.

        """
        direct = connection.get_server_pid() == backend
        self._direct = direct and self._direct is not False
        allow = getattr(connection, "send_cancels", None)
        if self._direct and allow is not None:
            allow()

    def forget(self) -> None:
        """Try the host that was good last only after the others; it is no longer the primary.

        Without ``target_session_attrs``, or behind a pooler, it would be taken for good again.
        """
        if self._last_good is not None:
            self._avoided.add(self._last_good)
            self._last_good = None

    def _attempts(self) -> Iterator[tuple[Host, str]]:
        hosts = sorted(self._dsn.hosts, key=lambda host: (host in self._avoided, host != self._last_good))
        wanted = self._dsn.target_session_attrs or _ANY
        if wanted not in {*_WANTED, _ANY, _PREFER_STANDBY}:
            raise ValueError("target_session_attrs")  # named in the error that this becomes
        if wanted == _PREFER_STANDBY:
            yield from ((host, "standby") for host in hosts)
            wanted = _ANY
        yield from ((host, wanted) for host in hosts)

    async def _open(self, host: Host, attributes: str) -> DriverConnection:
        name, port = host
        # The outer bound covers the check too, which asyncpg's own timeout does not.
        async with asyncio.timeout(self._connect_timeout):
            connection = await self._connect(name, port)
            try:
                await _check_role(connection, attributes)
            except BaseException:
                connection.terminate()
                raise
            return connection

    async def _connect(self, host: str, port: int) -> CorailConnection:
        dsn = self._dsn
        try:
            connection = await asyncpg.connect(
                # What has no argument of its own travels in a URL without host or credentials. Which host
                # will do is not asyncpg's to judge: it believes what a pooler says of its server.
                f"postgresql://?{urlencode({**dsn.parameters, 'target_session_attrs': _ANY})}",
                host=host,
                port=port,
                user=dsn.user,
                password=dsn.password,
                database=dsn.database,
                timeout=self._connect_timeout,
                command_timeout=self._command_timeout,
                statement_cache_size=self._statement_cache_size,
                server_settings=dict(dsn.server_settings),
                connection_class=CorailConnection,
            )
        except asyncio.CancelledError as error:
            _forget_half_open(error)
            raise
        if self._direct:
            connection.send_cancels()
        return connection


async def _check_role(connection: DriverConnection, attributes: str) -> None:
    if attributes == _ANY:
        return
    column, value = _WANTED[attributes]
    role = await connection.fetchrow(HOST_ROLE)
    if role is None or role[column] is not value:
        raise asyncpg.TargetServerAttributeNotMatched(f"the server is not {attributes}")


def _forget_half_open(cancelled: asyncio.CancelledError) -> None:
    """Keep the event loop from reporting a failure that nobody can wait for any more.

    Cancelled between TCP and TLS, asyncpg leaves behind a future, and closing the socket makes it fail:
    "Future exception was never retrieved", at some later moment. Only the frames of the cancelled
    coroutines know it. Their variables are private to asyncpg and asyncio; a test pins them.
    """
    for frame, _ in traceback.walk_tb(cancelled.__traceback__):
        for name in ("protocol", "pr"):
            answer = getattr(frame.f_locals.get(name), "on_data", None)
            if isinstance(answer, asyncio.Future) and not answer.cancel() and not answer.cancelled():
                answer.exception()
