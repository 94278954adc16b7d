"""The steps of an upgrade of older tables: what each does, and how it sees that it is done.

Each step can be interrupted and run again, and every one but the last few runs beside the earlier
release. No connecting and no command line here.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from corail.storage.postgresql import _numbering, _older, _sql_upgrade
from corail.storage.postgresql._locking import change
from corail.storage.postgresql._sql import filled, quoted
from corail.storage.postgresql._sql_tables import COMMENT
from corail.storage.postgresql._types import DriverConnection

BUSY_SECONDS: Final = 120.0
"""How long a step tries to get hold of a table before the upgrade stops."""
_AT_ONCE: Final = 100
_CHECK: Final = "messages_written_by_this_release"
_COMPLETE: Final = "conversations_complete"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an upgrade."""

    title: str
    sql: Sequence[str]
    """What it runs, for whoever wants to read it first."""
    done: Callable[[], Awaitable[bool]]
    run: Callable[[], Awaitable[None]]
    finish: bool = False
    """Whether it belongs to those that shut out the earlier release."""


class Upgrade:
    """The upgrade of the tables in one schema.

    Args:
        connection: one of its own, to the server itself and not to a pooler.
        schema: where the tables are.
        progress: is told what a long step has come to.

    """

    def __init__(self, connection: DriverConnection, schema: str, progress: Callable[[str], None]) -> None:
        self._connection = connection
        self._schema = schema
        self._progress = progress

    def steps(self) -> list[Step]:
        """Return all steps in order."""
        instant = Step(
            "columns and a table that both releases can live with",
            ["-- as on the first connection of a storage: nullable columns, and the table message_uids"],
            self._is_usable,
            self._make_usable,
        )
        swap = Step(
            "the primary key of messages becomes (conversation_id, id)",
            self._fill(_sql_upgrade.SWAP_PRIMARY_KEY, constraint="messages_pkey"),
            self._key_is_own,
            self._swap_key,
        )
        refuse = Step(
            "writers of the earlier release are refused from here on",
            self._fill(_sql_upgrade.REFUSE_OLD_WRITERS),
            self._refuses_old_writers,
            self._refuse_old_writers,
            finish=True,
        )
        adopt = Step(
            "rows whose text or time this release would read otherwise",
            self._fill(_sql_upgrade.TO_ADOPT, _sql_upgrade.ADOPT),
            self._changed_over,
            self._adopt,
            finish=True,
        )
        number = Step(
            "conversations get a counter, a hundred at a time",
            self._fill(_sql_upgrade.LOCK_CONVERSATIONS, _sql_upgrade.NUMBER),
            self._changed_over,
            self._number_all,
            finish=True,
        )
        over = Step(
            "storages change over",
            self._fill(_sql_upgrade.COMPLETE, _sql_upgrade.LOCK_TABLE, *_sql_upgrade.CHANGE_OVER),
            self._changed_over,
            self._change_over,
            finish=True,
        )
        require = Step(
            "what is now always there is required",
            self._fill(_sql_upgrade.COMPLETE, _sql_upgrade.VALIDATE, *_sql_upgrade.REQUIRE),
            self._is_required,
            self._require,
            finish=True,
        )
        return [
            instant,
            self._index("messages_conversation_id_id_key", _sql_upgrade.INDEX_IDS, self._key_is_own),
            self._index("messages_conversation_id_uid_key", _sql_upgrade.INDEX_UIDS),
            self._index("idx_conversations_created_at", _sql_upgrade.INDEX_LIST),
            swap,
            refuse,
            self._index(
                "idx_conversations_unnumbered",
                _sql_upgrade.INDEX_UNNUMBERED,
                self._changed_over,
                finish=True,
            ),
            adopt,
            number,
            over,
            require,
        ]

    def _fill(self, *constants: str, **names: str) -> list[str]:
        return [filled(constant, self._schema, **names) for constant in constants]

    def _name(self, relation: str) -> str:
        return f"{quoted(self._schema)}.{relation}"

    async def _change(self, needed: Callable[[], Awaitable[Sequence[str]]]) -> None:
        await change(self._connection, self._schema, needed, within=BUSY_SECONDS)

    def _index(
        self,
        name: str,
        sql: str,
        superseded: Callable[[], Awaitable[bool]] | None = None,
        *,
        finish: bool = False,
    ) -> Step:
        async def done() -> bool:
            if superseded is not None and await superseded():
                return True
            return await self._connection.fetchval(_sql_upgrade.INDEX_STATE, self._name(name)) is True

        async def run() -> None:
            # There, but not valid: left by a run that was interrupted.
            if await self._connection.fetchval(_sql_upgrade.INDEX_STATE, self._name(name)) is False:
                self._progress(f"{name} was left unfinished; dropped")
                await self._connection.execute(
                    filled(_sql_upgrade.DROP_INDEX, self._schema, index=quoted(name))
                )
            await self._connection.execute(filled(sql, self._schema))

        return Step(f"index {name}, beside everybody", self._fill(sql), done, run, finish)

    async def _is_usable(self) -> bool:
        return await self._changed_over() or not await _older.missing_steps(self._connection, self._schema)

    async def _make_usable(self) -> None:
        await _older.take_steps(self._connection, self._schema, within=BUSY_SECONDS)

    async def _key_is_own(self) -> bool:
        return await _numbering.key_is_own(self._connection, self._schema)

    async def _swap_key(self) -> None:
        async def needed() -> Sequence[str]:
            key = await self._connection.fetchrow(_sql_upgrade.PRIMARY_KEY, self._name("messages"))
            if key is None or await self._key_is_own():
                return []
            return self._fill(_sql_upgrade.SWAP_PRIMARY_KEY, constraint=quoted(key["name"]))

        await self._change(needed)

    async def _refuses_old_writers(self) -> bool:
        state = await self._connection.fetchval(_sql_upgrade.CONSTRAINT_STATE, self._name("messages"), _CHECK)
        return state is not None

    async def _refuse_old_writers(self) -> None:
        async def needed() -> Sequence[str]:
            if await self._refuses_old_writers():
                return []
            return self._fill(_sql_upgrade.REFUSE_OLD_WRITERS)

        await self._change(needed)

    async def _adopt(self) -> None:
        position: tuple[str, int] = ("", -(2**62))
        adopted = 0
        while True:
            rows = await self._connection.fetch(*self._fill(_sql_upgrade.TO_ADOPT), *position, _AT_ONCE)
            if not rows:
                break
            ids, numbers = [row["conversation_id"] for row in rows], [row["id"] for row in rows]
            await self._connection.execute(*self._fill(_sql_upgrade.ADOPT), ids, numbers)
            position = (ids[-1], numbers[-1])
            adopted += len(rows)
        self._progress(f"{adopted} rows")

    async def _number_all(self) -> None:
        total = 0
        numbered = _AT_ONCE
        # What busy storages make meanwhile is never none; the last few wait for the change-over.
        while numbered >= _AT_ONCE:
            numbered = await self._number_once()
            total += numbered
        self._progress(f"{total} conversations")

    async def _number_once(self) -> int:
        """Give every conversation a counter that has none now; others may come meanwhile."""
        last: str | None = None
        total = 0
        while True:
            rows = await self._connection.fetch(*self._fill(_sql_upgrade.UNNUMBERED), last, _AT_ONCE)
            if not rows:
                return total
            ids = [row["id"] for row in rows]
            async with self._connection.transaction():
                await _numbering.lock(self._connection, self._schema, ids)
                total += await _numbering.number(self._connection, self._schema, ids)
            last = ids[-1]

    async def _changed_over(self) -> bool:
        comment = await self._connection.fetchval(_sql_upgrade.VERSION, self._name("conversations"))
        return (comment or "").startswith(COMMENT) or await self._is_required()

    async def _change_over(self) -> None:
        await self._connection.execute(*self._fill(_sql_upgrade.COMPLETE))

        async def needed() -> Sequence[str]:
            await self._connection.execute(*self._fill(_sql_upgrade.LOCK_TABLE))
            # Those that were made since the last look: a handful, found by the index.
            await self._number_once()
            return self._fill(*_sql_upgrade.CHANGE_OVER)

        await self._change(needed)

    async def _is_required(self) -> bool:
        required = await self._connection.fetchval(_sql_upgrade.REQUIRED, self._name("conversations"))
        left = await self._connection.fetchval(
            _sql_upgrade.CONSTRAINT_STATE, self._name("conversations"), _COMPLETE
        )
        return bool(required) and left is None

    async def _require(self) -> None:
        await self._connection.execute(*self._fill(_sql_upgrade.COMPLETE))
        if not await self._connection.fetchval(
            _sql_upgrade.CONSTRAINT_STATE, self._name("conversations"), _COMPLETE
        ):
            await self._connection.execute(*self._fill(_sql_upgrade.VALIDATE))

        async def needed() -> Sequence[str]:
            return self._fill(*_sql_upgrade.REQUIRE)

        await self._change(needed)
