"""``RedisStorage``: the port on Redis. Checks and bytes on the way in, shapes on the way out.

How keys lie stands in ``_layout``, what is sent in ``_scripts``, how often in ``_server``.
"""

import os
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any, Final

from corail.storage.cursors import decode_cursor, encode_cursor
from corail.storage.errors import (
    AppendOutcomeUnknownError,
    InvalidInputError,
    StorageClosedError,
    StorageError,
)
from corail.storage.port import StoragePort
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessagePage
from corail.storage.validation import (
    MAX_CONTENT_BYTES,
    CheckedMessage,
    check_conversation_id,
    check_cursor,
    check_idempotency_key,
    check_limit,
    check_message_cursor,
    check_messages,
    check_metadata,
    check_page_limit,
    check_title,
    lookup_id,
)

from corail.storage import capabilities
from corail.storage.redis import _check, _index, _rows, _scripts, _settings
from corail.storage.redis._layout import Layout, encode
from corail.storage.redis._server import Access, Server, repeatable

# The server takes a million arguments to one command, and does nothing else while it stores them.
_MAX_BATCH: Final = 100_000
_LARGEST: Final = 2**53


class RedisStorage(StoragePort):
    """Conversations in Redis, Valkey or Redis Cluster: ordered, the same for every replica of a service.

    One object serves any number of tasks, threads and event loops; each loop gets its own
    connections. Nothing is connected before the first call. All times are in seconds.

    Args:
        url: ``redis://user:password@host:6379/0``, ``rediss://`` for TLS, ``unix:///path/to/socket``,
            or ``redis+cluster://host1:6379,host2:6379`` (``rediss+cluster://``); None means
            ``CORAIL_REDIS_URL``.
        prefix: what every key begins with; None means ``CORAIL_REDIS_PREFIX``, or ``corail``.
        ttl: how long a conversation lives after its creation or last append; 0 for ever; None means
            ``CORAIL_REDIS_TTL``, or for ever.
        cluster: whether the server belongs to a cluster; None for what the URL says, or else the
            server is asked.
        max_content_bytes: bytes of UTF-8 in one message or title, up to 64 MiB.
        pool_size: commands at once, so connections to each node, for each event loop; 1 to 1,000.
        connect_timeout: for one connection.
        acquire_timeout: for a connection while all are in use.
        command_timeout: for one command and its answer.
        deadline: for one call with all its repetitions, up to 300. A server that was reachable
            before is waited for this long, so that a failover passes unnoticed.
        close_timeout: how long ``aclose`` waits for calls under way.

    Raises ``StorageConfigurationError`` for a missing or malformed setting.

    """

    # Named one by one: a capability that a later core adds to ALL is not one that this keeps.
    capabilities = frozenset(
        {
            capabilities.PERSISTENT,
            capabilities.ANY_TEXT,
            capabilities.DETAILS,
            capabilities.DELETE,
            capabilities.CLOSE,
            capabilities.TOTAL_ORDER,
            capabilities.MULTI_LOOP,
            capabilities.ATOMIC_APPEND,
            capabilities.IDEMPOTENT_APPEND,
        }
    )

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        ttl: float | None = None,
        cluster: bool | None = None,
        max_content_bytes: int = MAX_CONTENT_BYTES,
        pool_size: int = 16,
        connect_timeout: float = 5.0,
        acquire_timeout: float = 10.0,
        command_timeout: float = 15.0,
        deadline: float = 30.0,
        close_timeout: float = 10.0,
    ) -> None:
        endpoint = _settings.endpoint(url, cluster)
        self._prefix = _settings.prefix(prefix)
        self._ttl = _settings.ttl(ttl)
        self._max_content_bytes = _settings.content_limit(max_content_bytes)
        limits = _settings.limits(
            pool_size=pool_size,
            connect_timeout=connect_timeout,
            acquire_timeout=acquire_timeout,
            command_timeout=command_timeout,
            deadline=deadline,
            close_timeout=close_timeout,
        )
        self._layout = Layout(self._prefix)
        self._server = Server(endpoint, limits)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._server.where}, prefix={self._prefix!r}>"

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return await self._messages(lookup_id(conversation_id), 0)

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        known, count = lookup_id(conversation_id), check_limit(limit)
        return await self._messages(known, -min(count, _LARGEST)) if count else []

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        await self.append_messages(conversation_id, [{"role": role, "content": content}])

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
        if len(checked) > _MAX_BATCH:
            raise InvalidInputError(
                f"messages are {len(checked)}; one append_messages holds at most {_MAX_BATCH}. Append them "
                "in several calls."
            )
        if checked:
            await self._append(known, checked, key)

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        keys = self._layout.conversation(check_conversation_id(conversation_id))
        text = _rows.metadata_text(check_metadata(metadata))

        async def create(access: Access) -> None:
            await access.script(_scripts.CREATE, keys.all_keys, (keys.id, text, self._ttl))

        await self._server.run(create, undecided=repeatable)

    async def conversation_exists(self, conversation_id: str) -> bool:
        known = lookup_id(conversation_id)
        return known is not None and await self._ask("EXISTS", self._layout.conversation(known).meta) == 1

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        known = lookup_id(conversation_id)
        if known is None:
            return None
        keys = self._layout.conversation(known)

        async def row(access: Access) -> ConversationRow | None:
            return _rows.conversation(keys.id, await access.command("HMGET", keys.meta, *_rows.FIELDS))

        return await self._server.run(row)

    async def list_conversations(self) -> list[dict[str, Any]]:
        rows = await self._server.run(lambda access: _index.everything(access, self._layout))
        return [dict(row) for row in rows]

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        count, cursor = check_page_limit(limit), check_cursor(after)
        start = None
        if cursor is not None:
            created_at, last = decode_cursor(cursor)
            start = _rows.stamp_of(created_at) + encode(last)
        items, more = await self._server.run(lambda access: _index.page(access, self._layout, count, start))
        return {
            "items": items,
            "next": encode_cursor(items[-1]["created_at"], items[-1]["id"]) if more else None,
        }

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        known, count = lookup_id(conversation_id), check_page_limit(limit)
        last = min(check_message_cursor(after), _LARGEST)
        if known is None:
            return {"items": [], "next": None}
        key = self._layout.conversation(known).messages

        async def page(access: Access) -> MessagePage:
            # One message more than asked for tells whether there is a next page.
            found: list[bytes] = await access.command("LRANGE", key, last, last + count)
            items = [_rows.message_item(raw, last + place) for place, raw in enumerate(found[:count], 1)]
            return {"items": items, "next": str(last + count) if len(found) > count else None}

        return await self._server.run(page)

    async def update_title(self, conversation_id: str, title: str) -> None:
        known, text = lookup_id(conversation_id), check_title(title, max_bytes=self._max_content_bytes)
        if known is None:
            return
        key = self._layout.conversation(known).meta

        async def update(access: Access) -> None:
            await access.script(_scripts.TITLE, (key,), (encode(text),))

        await self._server.run(update, undecided=repeatable)

    async def delete_conversation(self, conversation_id: str) -> None:
        known = lookup_id(conversation_id)
        if known is None:
            return
        keys = self._layout.conversation(known)
        created: bytes | None = await self._ask("HGET", keys.meta, "created")

        async def delete(access: Access) -> None:
            await access.script(_scripts.DELETE, keys.all_keys, (keys.id, created or b""))

        if created is not None:
            await self._server.run(delete, undecided=repeatable)

    async def check(self) -> CheckReport:
        started = perf_counter()
        try:
            # Twice, since the first connection taken may have been closed in the meantime; no more,
            # since a probe wants an answer.
            found = await self._server.run(_check.look, attempts=2)
            report = _check.report_on(self._server.where, *found)
        except StorageClosedError:
            raise
        except StorageError as error:
            report = _check.failed(error)
        report["latency"] = perf_counter() - started
        return report

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _append(self, conversation_id: str, messages: list[CheckedMessage], key: str | None) -> None:
        keys = self._layout.conversation(conversation_id)
        # Sent along with every repetition, so that an answer that was lost never doubles a message.
        token = os.urandom(16).hex() if key is None else key
        arguments = (
            keys.id,
            encode(token),
            _rows.digest(messages),
            "0" if key is None else "1",
            self._ttl,
            *(_rows.message(item.role, item.content) for item in messages),
        )

        async def append(access: Access) -> int:
            stored: int = await access.script(_scripts.APPEND, keys.all_keys, arguments)
            return stored

        def undecided(error: StorageError) -> StorageError:
            unknown = AppendOutcomeUnknownError(
                f"{error} The messages may or may not have been stored. To repeat them safely: "
                f"append_messages(conversation_id, messages, idempotency_key={token!a})"
                f"{', within ten minutes' if key is None else ''}.",
                idempotency_key=token,
            )
            unknown.__cause__ = error.__cause__
            return unknown

        if await self._server.run(append, undecided=undecided) < 0:
            raise InvalidInputError(
                f"idempotency_key {token!a} was used for other messages in this conversation; a key stands "
                "for one batch of messages. Use a new key for new messages."
            )

    async def _messages(self, known: str | None, start: int) -> list[dict[str, str]]:
        if known is None:
            return []
        key = self._layout.conversation(known).messages

        async def fetch(access: Access) -> list[dict[str, str]]:
            found: list[bytes] = await access.command("LRANGE", key, start, -1)
            return [_rows.read_message(raw) for raw in found]

        return await self._server.run(fetch)

    async def _ask(self, *command: str | bytes) -> Any:
        async def ask(access: Access) -> Any:
            return await access.command(*command)

        return await self._server.run(ask)
