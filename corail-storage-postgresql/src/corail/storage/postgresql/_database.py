"""One attempt at a statement, and how often: connections, time limits, retries under one deadline.

Knows pools, failures and tables, but no conversation. Everything above runs its statements through
``run`` (or, for appends, ``attempt``) and sees ``StorageError`` only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final, TypeVar

import asyncpg

from corail.storage.errors import StorageError, StorageUnavailableError
from corail.storage.postgresql import _schema
from corail.storage.postgresql._connect import Connector, CorailConnection
from corail.storage.postgresql._dsn import Dsn
from corail.storage.postgresql._failures import (
    NOT_PREPARED,
    TABLES_CHANGED,
    TABLES_UPGRADED,
    Effect,
    Failure,
    from_connecting,
    from_statement,
    no_connection_free,
    undecided,
)
from corail.storage.postgresql._leases import Lease, Leases
from corail.storage.postgresql._limits import Limits, Retries
from corail.storage.postgresql._pools import GivenPool, LoopPools, Pools
from corail.storage.postgresql._schema import Prepared
from corail.storage.postgresql._sql import Statements
from corail.storage.postgresql._types import Connection, Pool
from corail.storage.rows import PoolUse

T = TypeVar("T")

_LOGGER: Final = logging.getLogger("corail.storage.postgresql")

_IDLE_SECONDS: Final = 300.0
# asyncpg takes 0 for "no limit", so what is left of a deadline never gets there.
_SHORTEST: Final = 0.01


@dataclass(frozen=True, slots=True)
class Access:
    """What an operation is given: a connection, the statements, and the seconds it may take."""

    connection: Connection
    sql: Statements
    schema: str
    seconds: float
    warnings: Sequence[str]
    """SQLSTATEs of what the server has warned about during this operation."""


class Database:
    """The database behind one storage.

    Args:
        source: where to connect, or a pool of the caller's.
        limits: times and sizes.
        schema: where the tables belong; None to follow ``search_path``.
        auto_create: whether missing tables may be made.

    """

    def __init__(self, source: Dsn | Pool, limits: Limits, schema: str | None, *, auto_create: bool) -> None:
        self.limits = limits
        self._schema = schema
        self._auto_create = auto_create
        self._tables: Prepared | None = None
        self._reached = False
        self._connector: Connector | None = None
        self._pools: Pools
        if isinstance(source, Dsn):
            self.where = f"PostgreSQL at {source.describe()}"
            self._patience = limits.acquire_timeout + limits.connect_timeout * len(source.hosts)
            self._connector = Connector(
                source,
                connect_timeout=limits.connect_timeout,
                command_timeout=limits.command_timeout,
                statement_cache_size=limits.statement_cache_size,
            )
            self._settings = sorted(source.server_settings)
            self._pools = LoopPools(self._open_pool)
        else:
            self.where = "PostgreSQL (through the given pool)"
            self._patience = limits.acquire_timeout
            self._settings = []
            self._pools = GivenPool(source, self._prepare)

    async def run(
        self,
        operation: Callable[[Access], Awaitable[T]],
        *,
        changes: bool = False,
        within: float | None = None,
    ) -> T:
        """Run an operation that may be repeated, until it succeeds, is refused or time is up.

        Args:
            operation: what to do with a connection; must be idempotent.
            changes: whether it writes, for the message when its outcome stays unknown.
            within: seconds for all attempts; None for the limit of every call.

        """
        retries = Retries(monotonic() + (self.limits.deadline if within is None else within))
        unknown = False
        telling: Failure | None = None
        while True:
            result = await self.attempt(operation, retries)
            if not isinstance(result, Failure):
                return result
            unknown = unknown or result.effect is Effect.UNKNOWN
            # What a server said tells more than that a later attempt ran out of time.
            if telling is None or result.server_answered or not telling.server_answered:
                telling = result
            if result.effect is Effect.REFUSED or not await retries.pause():
                error = result.error if result.effect is Effect.REFUSED else telling.error
                raise undecided(error) if unknown and changes else error

    async def attempt(self, operation: Callable[[Access], Awaitable[T]], retries: Retries) -> T | Failure:
        """Run an operation once; return what it returned, or what went wrong.

        Raises ``StorageError`` only where another attempt cannot help: closed, or no usable tables.
        """
        leases: Leases | None = None
        try:
            leases = await self._pools.get(max(retries.left, _SHORTEST))
            lease = await leases.acquire(max(min(self._patience, retries.left), _SHORTEST))
        except StorageError:
            raise
        except _NotOpenedError as error:
            return self._if_ever_reached(error.failure)
        except Exception as error:  # noqa: BLE001 - judged there; what is not the driver's is raised again
            if isinstance(error, TimeoutError) and leases is not None and leases.exhausted:
                return no_connection_free(self.where, leases.pool.get_max_size())
            return self._if_ever_reached(from_connecting(error, self.where, self._settings))
        healthy = False
        tables: Prepared | None = None
        try:
            tables = self._current()
            # Not cut to what is left of the deadline: a statement given 10 ms would end up unknown.
            result = await operation(
                Access(
                    lease.connection,
                    tables.statements,
                    tables.schema,
                    self.limits.command_timeout,
                    lease.warnings,
                )
            )
            healthy = True
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - likewise
            failure = from_statement(error, self.where)
            if tables is not None and tables.older and failure.sqlstate in TABLES_UPGRADED:
                # The upgrade has gone on meanwhile: these were not executed, the next statements will be.
                self._pools.drop(leases)
                return Failure(Effect.NONE, failure.error, server_answered=True)
            self._react(failure, lease, leases)
            return failure
        else:
            return result
        finally:
            await leases.release(lease, healthy=healthy, seconds=self.limits.connect_timeout)

    @property
    def older(self) -> bool:
        """Whether the tables come from an earlier release, as far as is known."""
        return self._tables is not None and self._tables.older

    async def aclose(self) -> None:
        """Close what this opened."""
        await self._pools.aclose(self.limits.close_timeout)

    def pool_use(self) -> PoolUse | None:
        """Return how much of the running loop's pool is in use, or None where none is open."""
        leases = self._pools.current()
        return None if leases is None else leases.use()

    async def _open_pool(self) -> Leases:
        pool: Pool = await asyncpg.create_pool(
            connect=self._connector,
            connection_class=CorailConnection,
            max_size=self.limits.pool_size,
            # A floor is kept by a background task that warns for as long as the server is down.
            min_size=0,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            # Nothing here changes a session, so the round trip that resets it would be wasted: 191 us
            # with it, 65 us without. An open transaction is rolled back all the same.
            reset=_leave_as_it_is,
        )
        leases = Leases(pool, keep=True)
        try:
            await self._prepare(leases)
        except BaseException:
            pool.terminate()
            raise
        return leases

    async def _prepare(self, leases: Leases) -> None:
        healthy = False
        try:
            lease = await leases.acquire(self._patience)
        except Exception as error:
            raise _NotOpenedError(from_connecting(error, self.where, self._settings)) from error
        self._reached = True
        try:
            # A caller's pool need not have any limit of its own.
            async with asyncio.timeout(self.limits.deadline):
                tables = await _schema.prepare(
                    lease.connection,
                    self._schema,
                    auto_create=self._auto_create,
                    # Shorter than a command may take, so that the server's answer comes first.
                    lock_timeout=self.limits.command_timeout / 2,
                )
        except StorageError:
            raise
        except Exception as error:
            failure = from_statement(error, self.where)
            self._react(failure, lease, leases)
            if failure.effect is Effect.UNKNOWN:
                # Of the caller's statements none was sent yet, and looking again is harmless.
                failure = replace(failure, effect=Effect.NONE)
            raise _NotOpenedError(failure) from error
        else:
            healthy = True
            if self._connector is not None:
                self._connector.reached(lease.connection, backend=tables.backend)
        finally:
            await leases.release(lease, healthy=healthy, seconds=self.limits.connect_timeout)
        self._tables = tables

    def _current(self) -> Prepared:
        if self._tables is None:
            # Another loop found the tables changed between our get() and here.
            raise StorageUnavailableError(
                f"The tables of {self.where} are being looked at again; repeat the call."
            )
        return self._tables

    def _if_ever_reached(self, failure: Failure) -> Failure:
        """Report at once what keeps a storage from its first connection.

        A wrong host or port is told within the connect timeout; a server that was there before, or
        answers that it is starting, is waited for until the deadline.
        """
        self._reached = self._reached or failure.server_answered
        if self._reached:
            return failure
        return Failure(Effect.REFUSED, failure.error, failure.sqlstate)

    def _react(self, failure: Failure, lease: Lease, leases: Leases) -> None:
        if failure.effect is Effect.UNKNOWN:
            # Not a cancel request: it would end the commit's wait for a synchronous standby, and
            # needs the same network that just failed. After a crash the idle ones are dead as well.
            lease.close_now()
            self._pools.forget()
        elif failure.sqlstate == "25006":
            if self._connector is not None:
                self._connector.forget()
            self._pools.forget()
        elif failure.sqlstate in NOT_PREPARED:
            self._give_up_names()
        elif failure.sqlstate in TABLES_CHANGED:
            self._pools.drop(leases)

    def _give_up_names(self) -> None:
        """Fall back to unnamed statements: a pooler in transaction mode cannot keep named ones."""
        if self._connector is None:
            return
        if self._connector.without_names():
            _LOGGER.warning(
                "%s is behind a pooler that does not keep prepared statements. Going on with unnamed ones, "
                "which costs about half the speed. PgBouncer 1.21 or newer keeps them with "
                "max_prepared_statements; statement_cache_size=0 in the database URL silences this.",
                self.where,
            )
        self._pools.forget()


class _NotOpenedError(Exception):
    """The pool could not be opened; carries the judgement out of the opening task."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


async def _leave_as_it_is(connection: object) -> None:
    """Reset nothing."""
