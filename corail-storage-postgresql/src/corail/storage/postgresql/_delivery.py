"""Storing a batch of turns exactly once, whatever happens to the reply.

The rules were paid for with lost and doubled messages elsewhere: a retry sends the identical batch; a
duplicate is recognised by reading the uids back, never by an error's name; and what such a retry
finds is acknowledged only after another write to the same row has committed.
"""

from collections.abc import Sequence
from typing import Final

from corail.storage.errors import (
    AppendOutcomeUnknownError,
    InvalidInputError,
    StorageError,
    StorageSchemaError,
)
from corail.storage.postgresql import _numbering
from corail.storage.postgresql._batch import Turn, arguments, one_message, uid
from corail.storage.postgresql._database import Access, Database
from corail.storage.postgresql._failures import Effect, Failure
from corail.storage.postgresql._limits import Retries
from corail.storage.postgresql._older import UPGRADE

_DUPLICATE: Final = "23505"
# "canceling wait for synchronous replication": committed here, perhaps not on the standby.
_WARNING: Final = "01000"
_COLLISIONS: Final = 3
# The sequence of older tables, or their integer column, has come to its end.
OUT_OF_NUMBERS: Final = frozenset({"2200H", "22003"})


class Delivery:
    """One batch on its way to the tables, the same in every attempt.

    Args:
        turns: at least one; a turn with a caller's key must be alone.
        lock_timeout: seconds to wait in one attempt for another writer of the same conversation.

    """

    def __init__(self, turns: Sequence[Turn], *, lock_timeout: float) -> None:
        self._turns = turns
        self._one = len(turns) == 1 and len(turns[0].messages) == 1
        self._arguments = one_message(turns[0]) if self._one else arguments(turns)
        self._lock_timeout = lock_timeout
        self._collisions = 0
        self._made_room = False
        self.uncertain = False
        """Whether some attempt may have stored the batch without our knowing."""

    async def attempt(self, database: Database, retries: Retries) -> Failure | None:
        """Try once; None means stored, durable as far as the server makes it so.

        Raises ``InvalidInputError`` when the turn's key was used for other messages.
        """
        failure = await database.attempt(self._insert, retries)
        if failure is None:
            return None
        if failure.sqlstate in OUT_OF_NUMBERS and not self._made_room:
            return await self._make_room(database, retries, failure)
        if failure.sqlstate == _DUPLICATE or (self.uncertain and failure.effect is Effect.REFUSED):
            # Citus reports a duplicate as XX000: any refusal of a retry may be one.
            failure = await self._settle(database, retries, failure)
        if failure is not None and failure.effect is Effect.UNKNOWN:
            self.uncertain = True
        return failure

    def told(self, turn: Turn, error: StorageError) -> StorageError:
        """Return what the caller of one of the turns is told when this has ended with ``error``."""
        # A key that stands for other messages is certain: this turn is not stored.
        if self.uncertain and not isinstance(error, InvalidInputError):
            return unknown_outcome(turn, error)
        return error

    async def _make_room(self, database: Database, retries: Retries, failure: Failure) -> Failure:
        """Renumber conversations whose numbers have come to an end; the batch may then be repeated."""
        self._made_room = True

        async def make_room(access: Access) -> bool:
            ids = sorted({turn.conversation_id for turn in self._turns})
            return await _numbering.make_room(access.connection, access.schema, ids, "1s")

        made = await database.attempt(make_room, retries)
        if made is True:
            return _repeatable(failure)
        return _sequence_ended(failure) if made is False else made

    async def _settle(self, database: Database, retries: Retries, failure: Failure) -> Failure | None:
        stored = await database.attempt(self._acknowledge, retries)
        if stored is True:
            return None
        if stored is not False:
            return Failure(Effect.UNKNOWN, stored.error, stored.sqlstate, stored.server_answered)
        if failure.sqlstate != _DUPLICATE:
            return failure
        self._collisions += 1
        return _collision(failure) if self._collisions >= _COLLISIONS else _repeatable(failure)

    async def _insert(self, access: Access) -> Failure | None:
        # Less than the statement may take, so that a lock not granted is a definite answer.
        wait = min(self._lock_timeout, access.seconds * 0.8)
        await access.connection.execute(
            access.sql.append_one if self._one else access.sql.append,
            *self._arguments,
            f"{max(1, int(wait * 1000))}ms",
            timeout=access.seconds,
        )
        return _gave_up_waiting(access)

    async def _acknowledge(self, access: Access) -> bool | Failure:
        """Return whether the batch is stored, after another write to it has committed.

        If any of its uids is there, all of the batch was stored: deletions may have taken some away
        since, and sending those again would bring deleted conversations back.
        """
        if self._turns[0].keyed:
            found = await self._find_keyed(access, self._turns[0])
        else:
            found = await self._find_any(access)
        if found is None:
            return False
        await access.connection.execute(access.sql.barrier, found, timeout=access.seconds)
        # The wait of this write can be cancelled just as that of the append was.
        return _gave_up_waiting(access) or True

    async def _find_any(self, access: Access) -> str | None:
        ids = [turn.conversation_id for turn in self._turns]
        uids = [uid(turn.key, 0) for turn in self._turns]
        found: str | None = await access.connection.fetchval(
            access.sql.find_any, ids, uids, timeout=access.seconds
        )
        return found

    async def _find_keyed(self, access: Access, turn: Turn) -> str | None:
        offered = turn.by_uid()
        # One position more than the turn has, to notice a longer turn under the same key.
        wanted = [*offered, uid(turn.key, len(offered))]
        rows = await access.connection.fetch(
            access.sql.find_keyed, turn.conversation_id, wanted, timeout=access.seconds
        )
        stored = {row["uid"]: (row["role"], row["content"]) for row in rows}
        if stored and stored != offered:
            raise InvalidInputError(
                "idempotency_key was already used in this conversation for other messages; nothing was "
                "stored. Use a new key for new messages."
            )
        return turn.conversation_id if stored else None


def unknown_outcome(turn: Turn, error: StorageError) -> AppendOutcomeUnknownError:
    """Return the error for a turn that may or may not have been stored."""
    unknown = AppendOutcomeUnknownError(
        f"{error} The messages may or may not have been stored. Repeat exactly them in append_messages(...) "
        f"with idempotency_key={turn.key!r}, which this error carries: they are stored once.",
        idempotency_key=turn.key,
    )
    unknown.__cause__ = error.__cause__
    return unknown


def _gave_up_waiting(access: Access) -> Failure | None:
    if _WARNING in access.warnings:
        return Failure(Effect.UNKNOWN, StorageError("The server gave up waiting for its standby."))
    return None


def _repeatable(failure: Failure) -> Failure:
    return Failure(Effect.NONE, failure.error, failure.sqlstate, failure.server_answered)


def _sequence_ended(failure: Failure) -> Failure:
    error = StorageSchemaError(
        "The sequence that numbers the messages of an earlier release's tables has come to its end. Run "
        f"{UPGRADE}: its first steps give every conversation numbers of its own. Nothing was stored."
    )
    return Failure(Effect.REFUSED, error, failure.sqlstate, failure.server_answered)


def _collision(failure: Failure) -> Failure:
    error = StorageError(
        "The numbers of a conversation's messages collide with stored ones: its counter was changed by "
        "something else. Nothing was stored."
    )
    return Failure(Effect.REFUSED, error, failure.sqlstate, failure.server_answered)
