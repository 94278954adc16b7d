# ruff: noqa: S101 - contract tests are built on assert
"""``delete_conversation``: everything of one conversation goes, nothing of another."""

from functools import partial

from corail.storage.capabilities import DELETE, DETAILS
from corail.storage.errors import UnsupportedOperationError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import error_of, together
from corail.storage.testing._reading import consistent, contents, fresh, message, reopened, row_of, rows_of
from corail.storage.testing._strategies import plain
from corail.storage.testing._writing import assert_own_order, write_batches, write_singles


class Deletion(ContractBase):
    """Deleting, and starting again under the same id."""

    @clause(DELETE)
    async def test_delete_conversation_removes_everything(self, storage: StoragePort) -> None:
        """The row, the messages and the existence are gone; an unknown id, or a second delete, does nothing.

        Fix: delete messages with their conversation (``ON DELETE CASCADE``).
        """
        conversation = fresh("delete")
        await storage.create_conversation(conversation, {"key": "value"})
        await storage.append_messages(conversation, [message("text")] * 3)
        for _ in range(2):
            await storage.delete_conversation(conversation)
            assert await storage.conversation_exists(conversation) is False
            assert await storage.get_messages(conversation) == []
            assert await storage.get_recent_messages(conversation, 5) == []
            assert await storage.get_conversation(conversation) is None
            assert await storage.page_messages(conversation) == {"items": [], "next": None}
            assert await rows_of(storage, [conversation]) == []
        await storage.delete_conversation(fresh("delete"))

    @clause(DELETE)
    async def test_delete_conversation_leaves_nothing_behind(self, storage: StoragePort) -> None:
        """The same id starts afresh: no old message, title, metadata or count comes back.

        Fix: delete counters, titles, keys and caches too.
        """
        conversation = fresh("delete")
        for text in ("first", "second"):
            await storage.create_conversation(conversation, {"life": text})
            row = await row_of(storage, conversation)
            assert (row["title"], row["message_count"]) == ("", 0), "something of an earlier life is left"
            if DETAILS in storage.capabilities:
                assert row["metadata"] == {"life": text}
            await storage.append_message(conversation, "user", text)
            await storage.append_messages(conversation, [message(text)] * 2)
            assert await consistent(storage, conversation) == [text] * 3
            await storage.update_title(conversation, text)
            await storage.delete_conversation(conversation)
        await storage.append_message(conversation, "user", "third")
        assert await consistent(storage, conversation) == ["third"]
        assert (await row_of(storage, conversation))["title"] == ""

    @clause(DELETE)
    async def test_delete_conversation_touches_no_other(self, storage: StoragePort) -> None:
        """Conversations whose ids begin alike, or would match as a pattern, stay.

        Fix: compare whole ids; escape them in key patterns.
        """
        prefix = fresh("delete")
        ids = [prefix + ending for ending in plain(storage)]
        for conversation in ids:
            await storage.append_message(conversation, "user", ascii(conversation))
        while ids:
            await storage.delete_conversation(ids.pop())
            left = {row["id"] for row in await storage.list_conversations() if row["id"].startswith(prefix)}
            assert left == set(ids), "deleting one conversation changed which others exist"
            if len(ids) % 8 == 0:
                for conversation in ids:
                    assert await contents(storage, conversation) == [ascii(conversation)]

    @clause(DELETE)
    async def test_delete_conversation_among_appends_leaves_it_consistent(self, storage: StoragePort) -> None:
        """Appends that race with deletes stand in one of the conversation's lives, whole and in order.

        Fix: let append and delete take the same lock; never leave messages without their conversation.
        """
        conversation = fresh("delete")

        async def delete() -> list[str]:
            for _ in range(self.appends):
                await storage.delete_conversation(conversation)
            return []

        written = await together(
            delete,
            *(
                partial(write, storage, conversation, f"{write.__name__}{n}", self.appends)
                for n in range(2)
                for write in (write_singles, write_batches)
            ),
        )
        last = await together(
            *(partial(write_singles, storage, conversation, f"last{n}", 2) for n in range(self.writers))
        )
        found = await consistent(storage, conversation)
        assert len(set(found)) == len(found), "a message is there twice"
        kept = [[text for text in texts if text in found] for texts in (*written, *last)]
        assert kept[len(written) :] == last, "an append after the last delete is lost"
        assert_own_order(found, kept)

    @clause(DELETE, reopens=True)
    async def test_delete_conversation_is_seen_by_another_object(self, storage: StoragePort) -> None:
        """What one object deleted, another neither shows nor continues.

        Fix: remember nothing of a conversation that another object may delete.
        """
        conversation = fresh("delete")
        async with reopened(self) as second:
            for _ in range(2):
                await storage.append_message(conversation, "user", "text")
                assert await contents(second, conversation) == ["text"]
                await second.append_message(conversation, "user", "more")
                await second.delete_conversation(conversation)
                assert await contents(storage, conversation) == []
                assert await storage.conversation_exists(conversation) is False

    @clause()
    async def test_delete_conversation_works_or_is_refused(self, storage: StoragePort) -> None:
        """Without ``delete`` it raises ``UnsupportedOperationError``; it never does nothing in silence.

        Fix: leave the port's default.
        """
        conversation = fresh("delete")
        await storage.append_message(conversation, "user", "text")
        error = await error_of(partial(storage.delete_conversation, conversation))
        if error is None:
            assert not await storage.conversation_exists(conversation), "neither refused nor deleted"
        else:
            assert DELETE not in storage.capabilities, f"claimed, yet refused with {error!r}"
            assert isinstance(error, UnsupportedOperationError), f"gave {error!r}"
            assert await contents(storage, conversation) == ["text"]
