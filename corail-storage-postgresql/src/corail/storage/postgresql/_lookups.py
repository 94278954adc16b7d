"""Reading conversations whole and asking whether they exist, one at a time or many in one query."""

from collections.abc import Mapping, Sequence

from asyncpg import Record

from corail.storage.postgresql._coalesce import Coalescer
from corail.storage.postgresql._database import Access, Database

Message = Record | tuple[str, str]
"""Role and content."""


class Lookups:
    """The shared look-ups of one event loop; ids and results are escaped.

    Args:
        database: what is asked.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        deadline = database.limits.deadline
        self.messages: Coalescer[Sequence[Message]] = Coalescer(
            self._messages, self._many_messages, deadline=deadline
        )
        self.existence: Coalescer[bool] = Coalescer(self._exists, self._many_exist, deadline=deadline)

    async def _messages(self, conversation_id: str, within: float) -> Sequence[Message]:
        async def fetch(access: Access) -> Sequence[Record]:
            return await access.connection.fetch(access.sql.messages, conversation_id, timeout=access.seconds)

        return await self._database.run(fetch, within=within)

    async def _many_messages(self, conversation_ids: Sequence[str]) -> Mapping[str, Sequence[Message]]:
        async def fetch(access: Access) -> Sequence[Record]:
            return await access.connection.fetch(
                access.sql.many_messages, list(conversation_ids), timeout=access.seconds
            )

        found: dict[str, Sequence[Message]] = dict.fromkeys(conversation_ids, ())
        for conversation_id, roles, contents, large in await self._database.run(fetch):
            if large:
                # Too long or with too large a message to share: left out, and so read alone.
                found.pop(conversation_id, None)
            elif roles:
                found[conversation_id] = list(zip(roles, contents, strict=True))
        return found

    async def _exists(self, conversation_id: str, within: float) -> bool:
        async def exists(access: Access) -> bool:
            answer = await access.connection.fetchval(
                access.sql.exists, conversation_id, timeout=access.seconds
            )
            return bool(answer)

        return await self._database.run(exists, within=within)

    async def _many_exist(self, conversation_ids: Sequence[str]) -> Mapping[str, bool]:
        async def fetch(access: Access) -> Sequence[Record]:
            return await access.connection.fetch(
                access.sql.many_exist, list(conversation_ids), timeout=access.seconds
            )

        existing = {row["id"] for row in await self._database.run(fetch)}
        return {conversation_id: conversation_id in existing for conversation_id in conversation_ids}
