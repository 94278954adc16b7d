"""Broken backends whose pages and tails repeat, skip or fail."""

from collections.abc import Sequence

from corail.storage.cursors import decode_cursor, parse_instant
from corail.storage.errors import InvalidInputError
from corail.storage.rows import ConversationPage, ConversationRow, MessagePage
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import ReferenceStorage


@caught_by("page_conversations")
class CursorRepeatsOnTies(ReferenceStorage):
    """The next page begins with everything of the cursor's instant."""

    def rows_after(self, cursor: str | None) -> list[ConversationRow]:
        if cursor is None:
            return self.rows()
        created_at, conversation_id = decode_cursor(cursor)
        return [
            row
            for row in self.rows()
            if parse_instant(row["created_at"]) <= created_at and row["id"] != conversation_id
        ]


@caught_by("page_conversations")
class CursorSkipsOnTies(ReferenceStorage):
    """The next page begins before the cursor's instant."""

    def rows_after(self, cursor: str | None) -> list[ConversationRow]:
        if cursor is None:
            return self.rows()
        created_at, _ = decode_cursor(cursor)
        return [row for row in self.rows() if parse_instant(row["created_at"]) < created_at]


@caught_by("get_recent_messages")
class LimitOfTheDriver(ReferenceStorage):
    """The limit goes to the database as it is, and the driver refuses what has more than 64 bits."""

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        found = await super().get_recent_messages(conversation_id, limit)
        limit.to_bytes(8, "big", signed=True)
        return found


class _Numbered(ReferenceStorage):
    def number(self, cursor: str) -> int:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise InvalidInputError("after is not a cursor of this method.")
        return int(cursor)


@caught_by("page_conversations")
class PagesByOffset(_Numbered):
    """The cursor counts rows: a create repeats one, a delete skips one."""

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        # For the checks of the arguments.
        await super().page_conversations(limit=limit, after=None if isinstance(after, str) else after)
        start = 0 if after is None else self.number(after)
        rows = self.rows()[start:]
        return {"items": rows[:limit], "next": str(start + limit) if len(rows) > limit else None}


@caught_by("page_conversations")
class CursorRowLookedUp(ReferenceStorage):
    """The next page begins after the cursor's row, and at the end if that was deleted."""

    def rows_after(self, cursor: str | None) -> list[ConversationRow]:
        rows = self.rows()
        if cursor is None:
            return rows
        _, conversation_id = decode_cursor(cursor)
        ids = [row["id"] for row in rows]
        return rows[ids.index(conversation_id) + 1 :] if conversation_id in ids else []


@caught_by("page_conversations")
class LastPageHasNext(ReferenceStorage):
    """A full last page has a cursor, behind which there is nothing."""

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        page = await super().page_conversations(limit=limit, after=after)
        items = page["items"]
        return {"items": items, "next": self.cursor(items, len(items)) if items else None}


@caught_by("page_conversations")
class CursorNotEscaped(ReferenceStorage):
    """The cursor joins time and id with a character that ids may hold."""

    def cursor(self, rows: Sequence[ConversationRow], limit: int) -> str:
        last = rows[limit - 1]
        plain: ConversationRow = {**last, "id": last["id"].partition("\n")[0].strip() or "x"}
        return super().cursor([plain], 1)


@caught_by("page_messages")
class MessagesSkipAnEdge(ReferenceStorage):
    """One message is lost between two pages."""

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        page = await super().page_messages(conversation_id, limit=limit, after=after)
        return {**page, "next": page["next"] and str(int(page["next"]) + 1)}


@caught_by("page_messages")
class ItemIdsNotAccepted(ReferenceStorage):
    """Items carry ids that ``after`` does not know."""

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        page = await super().page_messages(conversation_id, limit=limit, after=after)
        for item in page["items"]:
            item["id"] = f"message-{item.get('id')}"
        return page


@caught_by("page_messages")
class ItemIdsPerPage(ReferenceStorage):
    """Ids of items are numbered on each page anew."""

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        page = await super().page_messages(conversation_id, limit=limit, after=after)
        for number, item in enumerate(page["items"], start=1):
            item["id"] = str(number)
        return page


@caught_by("page_conversations")
class PagesWithoutCounts(ReferenceStorage):
    """Pages are built elsewhere than the list, and count nothing."""

    def rows_after(self, cursor: str | None) -> list[ConversationRow]:
        return [{**row, "message_count": 0} for row in super().rows_after(cursor)]
