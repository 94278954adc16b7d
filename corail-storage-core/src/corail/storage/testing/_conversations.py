# ruff: noqa: S101 - contract tests are built on assert
"""C-10 to C-15: creating, listing and titling conversations, and whose the returned values are."""

import copy
from functools import partial
from typing import Any

import anyio

from corail.storage.capabilities import DETAILS
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import together
from corail.storage.testing._reading import (
    contents,
    fresh,
    instant,
    is_list,
    is_object,
    message,
    row_of,
    rows_of,
)


class Conversations(ContractBase):
    """Rows: how they come to be, what they hold, in which order they are listed."""

    @clause()
    async def test_c10_second_create_changes_nothing(self, storage: StoragePort) -> None:
        """Creating what exists changes neither title, time, count, messages nor metadata.

        Fix: insert only if absent, in one step; never "set" or "replace".
        """
        conversation = fresh("c10")
        await storage.create_conversation(conversation, {"first": [1]})
        await storage.append_message(conversation, "user", "text")
        await storage.update_title(conversation, "title")
        before = await row_of(storage, conversation)
        for metadata in (None, {}, {"first": [2]}, {"second": True}):
            await storage.create_conversation(conversation, metadata)
            assert await row_of(storage, conversation) == before, f"changed by metadata={metadata}"
        assert await contents(storage, conversation) == ["text"]

    @clause()
    async def test_c10_create_does_not_touch_what_an_append_made(self, storage: StoragePort) -> None:
        """A conversation made by an append exists: creating it later changes nothing.

        Fix: let both ways of creating use the same "insert if absent".
        """
        conversation = fresh("c10")
        await storage.append_message(conversation, "user", "text")
        before = await row_of(storage, conversation)
        await storage.create_conversation(conversation, {"late": True})
        assert await row_of(storage, conversation) == before
        assert await contents(storage, conversation) == ["text"]

    @clause()
    async def test_c10_concurrent_creates_make_one(self, storage: StoragePort) -> None:
        """Many creates of one id at once succeed, and leave one row with the metadata of one of them.

        Fix: do not look first and insert then; let the store decide (``ON CONFLICT DO NOTHING``).
        """
        conversation = fresh("c10")
        creates = [partial(storage.create_conversation, conversation, {"n": n}) for n in range(self.writers)]
        await together(*creates)
        row = await row_of(storage, conversation)
        if DETAILS in storage.capabilities:
            assert row["metadata"] in [{"n": n} for n in range(self.writers)]
            await storage.create_conversation(conversation, {"n": -1})
            assert (await row_of(storage, conversation))["metadata"] == row["metadata"]

    @clause()
    async def test_c11_append_creates_the_conversation(self, storage: StoragePort) -> None:
        """Appending to an unknown id creates it, with an empty title.

        Fix: insert the conversation with its first message, in one transaction.
        """
        single, batch = fresh("c11"), fresh("c11")
        await storage.append_message(single, "user", "text")
        await storage.append_messages(batch, [message("text")])
        for conversation in (single, batch):
            assert await storage.conversation_exists(conversation) is True
            row = await row_of(storage, conversation)
            assert (row["title"], row["message_count"]) == ("", 1)
            assert await contents(storage, conversation) == ["text"]

    @clause()
    async def test_c12_messages_are_dicts_of_role_and_content(self, storage: StoragePort) -> None:
        """Messages have exactly the keys ``role`` and ``content``, in the order of the appends.

        Fix: build new dicts; ids and times belong on pages (``page_messages``).
        """
        conversation = fresh("c12")
        expected = [message(f"text {n}", ("system", "user", "assistant")[n % 3]) for n in range(self.appends)]
        for one in expected:
            await storage.append_message(conversation, one["role"], one["content"])
        found = await storage.get_messages(conversation)
        assert found == expected
        assert {type(one) for one in found} == {dict}, "messages are no plain dicts"

    @clause()
    async def test_c12_unknown_and_empty_conversations_have_no_messages(self, storage: StoragePort) -> None:
        """An unknown id gives ``[]``, and reading it does not create it.

        Fix: look up without inserting (no ``setdefault``, no ``defaultdict``).
        """
        unknown, empty = fresh("c12"), fresh("c12")
        await storage.create_conversation(empty)
        for conversation in (unknown, empty):
            assert await storage.get_messages(conversation) == []
            assert await storage.get_recent_messages(conversation, 5) == []
            assert (await storage.page_messages(conversation))["items"] == []
        assert await storage.get_conversation(unknown) is None
        assert await storage.conversation_exists(unknown) is False, "reading created the conversation"
        assert await storage.conversation_exists(empty) is True
        assert [row["id"] for row in await rows_of(storage, [unknown, empty])] == [empty]

    @clause()
    async def test_get_recent_messages_is_the_tail(self, storage: StoragePort) -> None:
        """The last ``limit`` messages, oldest of them first; 0 gives none, too many gives all.

        Fix: mind ``messages[-0:]``, turn round what was read in descending order, and cut a limit to the
        largest number your database takes.
        """
        conversation = fresh("recent")
        for n in range(7):
            await storage.append_message(conversation, "user", f"text {n}")
        every = await storage.get_messages(conversation)
        for limit in (0, 1, 3, 6, 7, 8, 1000, 10**9, 10**20):
            expected = every[max(0, 7 - limit) :]
            assert await storage.get_recent_messages(conversation, limit) == expected, f"limit={limit}"

    @clause()
    async def test_c13_rows_have_the_promised_shape(self, storage: StoragePort) -> None:
        """``id``, ``title``, ``created_at`` in UTC, ``message_count``; more with ``details``.

        Fix: give times as ISO 8601 text in UTC, counts as ``int``, an unset title as ``""``.
        """
        conversation = fresh("c13")
        await storage.create_conversation(conversation)
        row = await row_of(storage, conversation)
        assert {"id", "title", "created_at", "message_count"} <= row.keys()
        assert (row["id"], row["title"], row["message_count"]) == (conversation, "", 0)
        assert type(row["message_count"]) is int
        created = instant(row["created_at"])
        if DETAILS in storage.capabilities:
            assert {"updated_at", "metadata"} <= row.keys(), "promised by the capability 'details'"
            assert instant(row["updated_at"]) >= created
            assert row["metadata"] == {}

    @clause()
    async def test_c13_counts_follow_every_append(self, storage: StoragePort) -> None:
        """``message_count`` is the number of messages, after single appends and batches.

        Fix: count in the transaction that stores, or count the messages.
        """
        conversation = fresh("c13")
        for expected, batch in enumerate([1, 2, 3], start=1):
            await storage.append_message(conversation, "user", "single")
            await storage.append_messages(conversation, [message("batch")] * batch)
            count = (await row_of(storage, conversation))["message_count"]
            assert count == len(await contents(storage, conversation))
            assert count == expected + sum(range(1, expected + 1))

    @clause()
    async def test_c13_newest_come_first_in_one_fixed_order(self, storage: StoragePort) -> None:
        """Rows come by descending ``created_at``; two lists of the same rows are the same.

        Fix: order by creation, then by id; appends and titles do not move a conversation.
        """
        ids = [fresh("c13") for _ in range(self.appends)]
        for conversation in ids:
            await storage.create_conversation(conversation)
        first = [row["id"] for row in await rows_of(storage, ids)]
        await storage.append_message(ids[0], "user", "text")
        await storage.update_title(ids[1], "title")
        rows = await rows_of(storage, ids)
        times = [instant(row["created_at"]) for row in rows]
        assert times == sorted(times, reverse=True), "the newest is not first"
        assert [row["id"] for row in rows] == first, "the order changed without a create or delete"

    @clause()
    async def test_get_conversation_is_the_row_of_the_list(self, storage: StoragePort) -> None:
        """One row, equal to the one in the list; None for an unknown id.

        Fix: build rows in one place.
        """
        conversation = fresh("row")
        await storage.create_conversation(conversation, {"key": "value"})
        await storage.append_messages(conversation, [message("text")] * 3)
        await storage.update_title(conversation, "title")
        assert await storage.get_conversation(conversation) == await row_of(storage, conversation)
        assert await storage.get_conversation(fresh("row")) is None

    @clause(DETAILS)
    async def test_c13_updated_at_follows_appends_and_titles(self, storage: StoragePort) -> None:
        """An append, a batch and a title move ``updated_at`` forward, and leave ``created_at`` alone.

        Fix: set it in the same statement.
        """
        conversation = fresh("c13")
        await storage.create_conversation(conversation)
        before = await row_of(storage, conversation)
        for change in (
            partial(storage.append_message, conversation, "user", "text"),
            partial(storage.append_messages, conversation, [message("text")]),
            partial(storage.update_title, conversation, "title"),
        ):
            row = before
            # The clock of a store may be coarse: repeated for a while, it has to move.
            for _ in range(200):
                await change()
                row = await row_of(storage, conversation)
                if row["updated_at"] != before["updated_at"]:
                    break
                await anyio.sleep(0.01)
            assert instant(row["updated_at"]) > instant(before["updated_at"]), (
                f"{change.func.__name__} did not move it"
            )
            assert row["created_at"] == before["created_at"]
            before = row

    @clause()
    async def test_c14_title_of_an_unknown_id_does_nothing(self, storage: StoragePort) -> None:
        """Titling an unknown conversation neither fails nor creates it.

        Fix: ``UPDATE ... WHERE id = ...``, no upsert.
        """
        unknown = fresh("c14")
        await storage.update_title(unknown, "title")
        assert await storage.conversation_exists(unknown) is False, "a title created the conversation"
        assert await rows_of(storage, [unknown]) == []
        await storage.create_conversation(unknown)
        assert (await row_of(storage, unknown))["title"] == "", "the title was remembered"

    @clause()
    async def test_c14_titles_replace_each_other(self, storage: StoragePort) -> None:
        """The last title counts, an empty one included; nothing else changes, no other conversation.

        Fix: set the title, whatever it is.
        """
        conversation, other = fresh("c14"), fresh("c14")
        for one in (conversation, other):
            await storage.create_conversation(one, {"key": "value"})
            await storage.append_message(one, "user", "text")
        before = await row_of(storage, conversation)
        for title in ("first", "second", ""):
            await storage.update_title(conversation, title)
            row = await row_of(storage, conversation)
            assert row["title"] == title
            same = row.keys() - {"title", "updated_at"}
            assert {key: row[key] for key in same} == {key: before[key] for key in same}
        assert (await row_of(storage, other))["title"] == ""
        assert await contents(storage, conversation) == ["text"]

    @clause()
    async def test_c15_returned_values_are_the_callers(self, storage: StoragePort) -> None:
        """Changing what a call returned, or what it was given, changes nothing that is stored.

        Fix: copy on the way in and on the way out, nested values included.
        """
        conversation = fresh("c15")
        metadata: dict[str, Any] = {"list": [1, {"deep": "value"}]}
        batch = [message("second"), message("third")]
        await storage.create_conversation(conversation, metadata)
        await storage.append_message(conversation, "user", "first")
        await storage.append_messages(conversation, batch)
        reads = (
            partial(storage.get_messages, conversation),
            partial(storage.get_recent_messages, conversation, 2),
            partial(rows_of, storage, [conversation]),
            partial(storage.get_conversation, conversation),
            partial(storage.page_messages, conversation),
        )
        # Copied at once: what is compared later must not be what is spoilt now.
        before = [copy.deepcopy(await read()) for read in reads]
        spoil(metadata)
        spoil(batch)
        for read in reads:
            spoil(await read())
        for page in (await storage.page_conversations(), await storage.list_conversations()):
            spoil(page)
        assert [await read() for read in reads] == before, "a change outside reached the store"


def spoil(value: object) -> None:
    """Change everything changeable inside a value."""
    if is_object(value):
        for item in value.values():
            spoil(item)
        value.clear()
        value["spoilt"] = True
    elif is_list(value):
        for item in value:
            spoil(item)
        value.clear()
        value.append({"role": "spoilt", "content": "spoilt"})
