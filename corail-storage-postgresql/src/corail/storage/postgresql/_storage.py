"""``PostgreSQLStorage``: the port on PostgreSQL. Checks and escapes on the way in, shapes on the way out.

What is sent stands in ``_sql``, how often in ``_database``, and how appends are kept exact in ``_delivery``.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from corail.storage import capabilities
from corail.storage.cursors import decode_cursor, encode_cursor
from corail.storage.errors import StorageClosedError, StorageConfigurationError
from corail.storage.port import StoragePort
from corail.storage.postgresql import _check, _rows, _settings
from corail.storage.postgresql._batch import turn
from corail.storage.postgresql._database import Access, Database
from corail.storage.postgresql._group import GroupCommit
from corail.storage.postgresql._lookups import Lookups
from corail.storage.postgresql._loops import PerLoop
from corail.storage.postgresql._pools import CLOSED
from corail.storage.postgresql._text import escape, escape_metadata
from corail.storage.postgresql._types import Pool
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessagePage
from corail.storage.validation import (
    MAX_CONTENT_BYTES,
    check_conversation_id,
    check_cursor,
    check_idempotency_key,
    check_limit,
    check_message,
    check_message_cursor,
    check_messages,
    check_metadata,
    check_page_limit,
    check_title,
    lookup_id,
)

_LARGEST: Final = 2**63 - 1


class PostgreSQLStorage(StoragePort):
    """Conversations in PostgreSQL: durable, in one permanent order, the same from every replica.

    One object serves any number of tasks, threads and event loops; each loop gets its own pool.
    Nothing is connected before the first call, which also makes missing tables. All times are in
    seconds.

    Args:
        dsn: ``postgresql://user:password@host:5432/database``, several hosts and TLS parameters
            included; None means ``CORAIL_DATABASE_URL``.
        pool: an asyncpg pool of your own instead; it is used in its own loop and never closed here.
            Behind PgBouncer give it unnamed statements (``statement_cache_size=0``).
        schema: the schema of the tables; None means ``CORAIL_DB_SCHEMA``, or else the first one of
            ``search_path`` that has them.
        pool_size: connections per event loop, 1 to 1,000; None means ``CORAIL_DB_POOL_SIZE``, or 10.
        connect_timeout: for each host, name resolution, TLS and authentication included; None means
            the URL's ``connect_timeout``, or 5.
        acquire_timeout: for a connection while all are in use.
        command_timeout: for one statement; None means the URL's ``command_timeout``, or 15.
        deadline: for one call with all its retries. A server that was reachable before is waited
            for this long, so that a failover passes unnoticed.
        close_timeout: how long ``aclose`` waits for calls under way.
        max_content_bytes: bytes of UTF-8 in one message or title, up to 64 MiB.
        auto_create: make missing tables on first use; False where only migrations may.

    Raises ``StorageConfigurationError`` for a missing or malformed setting.

    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        pool: Pool | None = None,
        schema: str | None = None,
        pool_size: int | None = None,
        connect_timeout: float | None = None,
        acquire_timeout: float = 10.0,
        command_timeout: float | None = None,
        deadline: float = 30.0,
        close_timeout: float = 10.0,
        max_content_bytes: int = MAX_CONTENT_BYTES,
        auto_create: bool = True,
    ) -> None:
        if pool is not None and dsn is not None:
            raise StorageConfigurationError("Give either dsn= or pool=, not both.")
        source = _settings.database_url(dsn) if pool is None else None
        given = source if source is not None else _settings.given_pool(pool)
        self._schema = _settings.schema_name(schema)
        self._ignored = () if source is None else source.ignored
        self._max_content_bytes = _settings.content_limit(max_content_bytes)
        limits = _settings.limits(
            source,
            pool_size=pool_size,
            connect_timeout=connect_timeout,
            acquire_timeout=acquire_timeout,
            command_timeout=command_timeout,
            deadline=deadline,
            close_timeout=close_timeout,
        )
        automatic = _settings.switch("auto_create", auto_create)
        self._database = Database(given, limits, self._schema, auto_create=automatic)
        self._writers: PerLoop[GroupCommit] = PerLoop(_abandon)
        self._readers: PerLoop[Lookups] = PerLoop(_abandon)
        self._closed = False
        # A pool of the caller's belongs to one loop.
        self.capabilities = capabilities.ALL - ({capabilities.MULTI_LOOP} if pool is not None else set())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._database.where}, schema={self._schema!r}>"

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        known = self._known(conversation_id)
        if known is None:
            return []
        return _rows.messages(await self._lookups().messages.get(known))

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        known, count = self._known(conversation_id), check_limit(limit)
        if known is None or count == 0:
            return []

        async def recent(access: Access) -> list[dict[str, str]]:
            found = await access.connection.fetch(
                access.sql.recent, known, min(count, _LARGEST), timeout=access.seconds
            )
            return _rows.messages(found)

        return await self._database.run(recent)

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        known = check_conversation_id(conversation_id)
        message = check_message(role, content, max_bytes=self._max_content_bytes)
        await self._writer().append(turn(known, [message], None))

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        known = check_conversation_id(conversation_id)
        checked = check_messages(messages, max_bytes=self._max_content_bytes)
        key = check_idempotency_key(idempotency_key)
        self._require_open()
        if checked:
            await self._writer().append(turn(known, checked, key))

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        known = escape(check_conversation_id(conversation_id))
        text = json.dumps(escape_metadata(check_metadata(metadata) or {}), allow_nan=False)

        async def create(access: Access) -> None:
            await access.connection.execute(access.sql.create, known, text, timeout=access.seconds)

        await self._database.run(create, changes=True)

    async def conversation_exists(self, conversation_id: str) -> bool:
        known = self._known(conversation_id)
        return known is not None and await self._lookups().existence.get(known)

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        known = self._known(conversation_id)
        if known is None:
            return None

        async def row(access: Access) -> ConversationRow | None:
            found = await access.connection.fetchrow(access.sql.row, known, timeout=access.seconds)
            return None if found is None else _rows.conversations([found])[0]

        return await self._database.run(row)

    async def list_conversations(self) -> list[dict[str, Any]]:
        async def rows(access: Access) -> list[dict[str, Any]]:
            found = await access.connection.fetch(access.sql.list, timeout=access.seconds)
            # Plain dicts as they are: copying 5,000 of them took a millisecond.
            return cast("list[dict[str, Any]]", _rows.conversations(found))

        return await self._database.run(rows)

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        count, cursor = check_page_limit(limit), check_cursor(after)
        position = () if cursor is None else decode_cursor(cursor)

        async def page(access: Access) -> ConversationPage:
            sql = access.sql.next_page if position else access.sql.first_page
            start = (position[0], escape(position[1])) if position else ()
            # One row more than asked for tells whether there is a next page.
            found = await access.connection.fetch(sql, count + 1, *start, timeout=access.seconds)
            items = _rows.conversations(found[:count])
            more = len(found) > count
            return {
                "items": items,
                "next": encode_cursor(items[-1]["created_at"], items[-1]["id"]) if more else None,
            }

        return await self._database.run(page)

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        known, count = self._known(conversation_id), check_page_limit(limit)
        last = check_message_cursor(after)
        if known is None:
            return {"items": [], "next": None}

        async def page(access: Access) -> MessagePage:
            found = await access.connection.fetch(
                access.sql.page_messages, known, last, count + 1, timeout=access.seconds
            )
            items = _rows.message_items(found[:count])
            return {"items": items, "next": str(found[count - 1]["id"]) if len(found) > count else None}

        return await self._database.run(page)

    async def update_title(self, conversation_id: str, title: str) -> None:
        known, text = self._known(conversation_id), check_title(title, max_bytes=self._max_content_bytes)
        if known is None:
            return

        async def update(access: Access) -> None:
            await access.connection.execute(access.sql.title, known, escape(text), timeout=access.seconds)

        await self._database.run(update, changes=True)

    async def delete_conversation(self, conversation_id: str) -> None:
        known = self._known(conversation_id)
        if known is None:
            return

        async def born(access: Access) -> object:
            return await access.connection.fetchval(access.sql.created_at, known, timeout=access.seconds)

        created_at = await self._database.run(born)

        async def delete(access: Access) -> None:
            await access.connection.execute(access.sql.delete, known, created_at, timeout=access.seconds)

        if created_at is not None:
            await self._database.run(delete, changes=True)

    async def check(self) -> CheckReport:
        return await _check.report(self._database, self._ignored)

    async def aclose(self) -> None:
        self._closed = True
        # Appends first: they are drained through the pools.
        await self._writers.clear(GroupCommit.aclose, self._database.limits.close_timeout)
        await self._database.aclose()

    def _known(self, conversation_id: str) -> str | None:
        """Return the id to look up, escaped, or None when no such id can exist."""
        self._require_open()
        known = lookup_id(conversation_id)
        return None if known is None else escape(known)

    def _require_open(self) -> None:
        if self._closed:
            raise StorageClosedError(CLOSED)

    def _lookups(self) -> Lookups:
        return self._readers.current() or self._readers.replace(self._open_reader)

    def _open_reader(self, present: Lookups | None) -> Lookups:
        self._require_open()
        return present or Lookups(self._database)

    def _writer(self) -> GroupCommit:
        return self._writers.current() or self._writers.replace(self._open_writer)

    def _open_writer(self, present: GroupCommit | None) -> GroupCommit:
        self._require_open()
        return present or GroupCommit(self._database)


def _abandon(group: object) -> None:
    """Let go of what waits in a loop that no longer runs: its callers are gone with it."""
