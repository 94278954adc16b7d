"""Storing a batch of turns exactly once, whatever happens to the reply.

The rules were paid for with lost and doubled messages elsewhere: a retry sends the identical batch; a
duplicate is recognised by reading the uids back, never by an error's name; and what such a retry
finds is acknowledged only after another write to the same row has committed.
"""

from collections.abc import Sequence
from typing import Final

from asyncpg import PostgresLogMessage

from corail.storage.errors import (
    AppendOutcomeUnknownError,
    InvalidInputError,
    StorageError,
)
from corail.storage.postgresql._batch import Turn, arguments, uid
from corail.storage.postgresql._database import Access, Database, Retries
from corail.storage.postgresql._failures import Effect, Failure

_DUPLICATE: Final = "23505"
# "canceling wait for synchronous replication": committed here, perhaps not on the standby.
_WARNING: Final = "01000"
_COLLISIONS: Final = 3


async def append(database: Database, turns: Sequence[Turn], *, lock_timeout: float, retries: Retries) -> None:
    """Store every turn of the batch, or none.

    Args:
        database: where.
        turns: at least one; a turn with a caller's key must be alone.
        lock_timeout: seconds to wait in one attempt for another writer of the same conversation.
        retries: the time there is for all attempts.

    Raises ``AppendOutcomeUnknownError`` with the first turn's key when the outcome stays unknown,
    ``InvalidInputError`` when the key was used for other messages; after any other error nothing
    was stored.

    """
    insertion = _Insertion(turns, lock_timeout)
    unknown = False
    collisions = 0
    while True:
        failure = await database.attempt(insertion.insert, retries)
        if failure is None:
            return
        if failure.sqlstate == _DUPLICATE or (unknown and failure.effect is Effect.REFUSED):
            # Citus reports a duplicate as XX000: any refusal of a retry may be one.
            settled = await database.attempt(insertion.settle, retries)
            if settled is True:
                return
            if settled is not False:
                failure, unknown = settled, True
            elif failure.sqlstate == _DUPLICATE:
                collisions += 1
                failure = _collision(failure) if collisions >= _COLLISIONS else _repeatable(failure)
        unknown = unknown or failure.effect is Effect.UNKNOWN
        if failure.effect is Effect.REFUSED or not await retries.pause():
            raise _unknown(turns[0], failure.error) if unknown else failure.error


class _Insertion:
    """The statements of one batch; the batch never changes between attempts."""

    def __init__(self, turns: Sequence[Turn], lock_timeout: float) -> None:
        self._turns = turns
        self._arguments = arguments(turns)
        self._lock_timeout = lock_timeout

    async def insert(self, access: Access) -> Failure | None:
        """Send the batch."""
        warnings: list[str] = []

        def notice(_connection: object, message: PostgresLogMessage) -> None:
            warnings.append(str(getattr(message, "sqlstate", "")))

        # Less than the statement may take, so that a lock not granted is a definite answer.
        wait = min(self._lock_timeout, access.seconds * 0.8)
        access.connection.add_log_listener(notice)
        try:
            await access.connection.execute(
                access.sql.append, *self._arguments, f"{max(1, int(wait * 1000))}ms", timeout=access.seconds
            )
        finally:
            access.connection.remove_log_listener(notice)
        if _WARNING in warnings:
            return Failure(
                Effect.UNKNOWN,
                StorageError("The wait for the synchronous standby was cancelled on the server."),
            )
        return None

    async def settle(self, access: Access) -> bool:
        """Return whether the batch is stored, and durable as far as this server makes it so.

        If any of its uids is there, all of the batch was stored: later deletions may have taken
        some away, and sending those again would bring deleted conversations back.
        """
        found = False
        for turn in self._turns:
            # One position more than the turn has, to notice a longer turn under the same key.
            wanted = [*turn.uids, uid(turn.key, len(turn.contents))]
            rows = await access.connection.fetch(
                access.sql.stored, turn.conversation_id, wanted, timeout=access.seconds
            )
            stored = {row["uid"]: (row["role"], row["content"]) for row in rows}
            if not stored:
                continue
            if turn.keyed and stored != turn.by_uid():
                raise InvalidInputError(
                    "idempotency_key was already used in this conversation for other messages; nothing was "
                    "stored. Use a new key for new messages."
                )
            await access.connection.execute(access.sql.barrier, turn.conversation_id, timeout=access.seconds)
            found = True
        return found


def _repeatable(failure: Failure) -> Failure:
    return Failure(Effect.NONE, failure.error, failure.sqlstate, failure.server_answered)


def _collision(failure: Failure) -> Failure:
    error = StorageError(
        "The numbers of this conversation's messages collide with stored ones: its counter was changed by "
        "something else. Nothing was stored."
    )
    error.__cause__ = failure.error.__cause__
    return Failure(Effect.REFUSED, error, failure.sqlstate, failure.server_answered)


def _unknown(turn: Turn, error: StorageError) -> AppendOutcomeUnknownError:
    unknown = AppendOutcomeUnknownError(
        f"{error} The messages may or may not have been stored. Repeat exactly them in append_messages(...) "
        f"with idempotency_key={turn.key!r}, which this error carries: they are stored once.",
        idempotency_key=turn.key,
    )
    unknown.__cause__ = error.__cause__
    return unknown
