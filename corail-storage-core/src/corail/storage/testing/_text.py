# ruff: noqa: S101 - contract tests are built on assert
"""C-01 and C-02: ids are compared, and texts come back, code point for code point."""

from functools import partial

from hypothesis.strategies import lists

from corail.storage.capabilities import ANY_TEXT, DELETE
from corail.storage.errors import InvalidInputError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import error_of
from corail.storage.testing._examples import for_examples
from corail.storage.testing._reading import contents, escaped, fresh, held, message, row_of, rows_of
from corail.storage.testing._strategies import CONFUSABLE, ROLES, TEXTS, UNSTORABLE, texts


class Text(ContractBase):
    """Ids, contents, roles and titles."""

    @clause()
    async def test_c01_ids_are_compared_code_point_by_code_point(self, storage: StoragePort) -> None:
        """Ids that look alike are different conversations.

        Fix: store the id as it is; no normalisation, case folding, trimming, pattern or collation.
        """
        prefix = fresh("c01")
        # Behind the prefix and in front of it: trimming may happen at either end.
        ids = [
            *(prefix + ending for ending in (*CONFUSABLE, *UNSTORABLE)),
            *(beginning + prefix for beginning in (" ", "\t", "\n", "\ufeff", "\u200b", "\x00", "\ud800")),
        ]
        known = [
            one for one in ids if await held(storage, partial(storage.append_message, one, "user", one), one)
        ]
        for one in known:
            assert escaped(await contents(storage, one)) == escaped([one]), (
                "two different ids share a conversation, or one lost its message"
            )
            assert await storage.conversation_exists(one), f"{one!a} does not exist after an append"
        listed = [row["id"] for row in await storage.list_conversations() if prefix in row["id"]]
        assert sorted(escaped(listed)) == sorted(escaped(known)), "the list shows other ids than were created"

    @clause()
    async def test_c01_ids_have_1_to_255_characters(self, storage: StoragePort) -> None:
        """Ids of 255 characters work, longer and empty ones are refused and nothing is stored.

        Fix: call ``check_conversation_id`` in every write; count characters, not bytes.
        """
        for letter in ("x", "\u00e9", "\U0001f600"):
            longest = fresh("c01").ljust(255, letter)
            await storage.create_conversation(longest)
            await storage.append_message(longest, "user", "kept")
            await storage.update_title(longest, "title")
            assert await contents(storage, longest) == ["kept"], "an id of 255 characters lost its message"
            assert (await row_of(storage, longest))["title"] == "title"
            for bad in (longest + letter, ""):
                for write in (
                    partial(storage.create_conversation, bad),
                    partial(storage.append_message, bad, "user", "text"),
                    partial(storage.append_messages, bad, [message("text")]),
                ):
                    error = await error_of(write)
                    assert isinstance(error, InvalidInputError), (
                        f"{write.func.__name__} took an id of {len(bad)} characters: {error!r}"
                    )
                assert await rows_of(storage, [bad]) == [], "a refused id was stored"
            # Cut to fit, it would be this one.
            assert await contents(storage, longest) == ["kept"], (
                "a refused write reached another conversation"
            )

    @clause()
    async def test_c01_impossible_ids_are_looked_up_as_unknown(self, storage: StoragePort) -> None:
        """Limits bind writes: reading, titling and deleting an impossible id finds nothing.

        Fix: call ``lookup_id`` in reads, titles and deletes, and answer None as for an unknown id.
        """
        for impossible in ("", "x" * 256, "\U0001f600" * 300):
            assert await storage.get_messages(impossible) == []
            assert await storage.get_recent_messages(impossible, 5) == []
            assert await storage.conversation_exists(impossible) is False
            assert await storage.get_conversation(impossible) is None
            assert await storage.page_messages(impossible) == {"items": [], "next": None}
            await storage.update_title(impossible, "title")
            if DELETE in storage.capabilities:
                await storage.delete_conversation(impossible)

    @clause()
    async def test_c02_hostile_content_comes_back_equal(self, storage: StoragePort) -> None:
        """What was stored comes back code point for code point; what cannot be held is refused.

        Fix: escape reversibly what the store cannot hold, or raise ``InvalidInputError``.
        """
        conversation = fresh("c02")
        kept = [
            text
            for text in (*TEXTS, *UNSTORABLE)
            if await held(storage, partial(storage.append_message, conversation, "user", text), text)
        ]
        assert escaped(await contents(storage, conversation)) == escaped(kept)
        assert await contents(storage, conversation) == kept, "a long text was altered"

    @clause()
    async def test_c02_hostile_roles_and_titles_come_back_equal(self, storage: StoragePort) -> None:
        """Roles and titles are text like any other: not folded, trimmed or mapped.

        Fix: store both as they are; titles may be empty and long.
        """
        conversation = fresh("c02")
        roles = [
            role
            for role in (*ROLES, *UNSTORABLE)
            if await held(storage, partial(storage.append_message, conversation, role, "text"), role)
        ]
        found = [found["role"] for found in await storage.get_messages(conversation)]
        assert escaped(found) == escaped(roles)
        for title in (*TEXTS, *UNSTORABLE):
            if await held(storage, partial(storage.update_title, conversation, title), title):
                row = await storage.get_conversation(conversation)
                assert row is not None
                assert ascii(row["title"]) == ascii(title)

    @clause(allowance=None)
    async def test_c02_any_text_comes_back_equal(self, storage: StoragePort) -> None:
        """Texts that hypothesis made up, in one batch, come back in order and equal.

        Fix: look at the example in the failure; it is the shortest that goes wrong.
        """

        async def check(batch: list[str]) -> None:
            conversation = fresh("c02")
            await storage.append_messages(conversation, [message(text) for text in batch])
            assert escaped(await contents(storage, conversation)) == escaped(batch)

        batches = lists(texts(storage), min_size=1, max_size=4)
        await for_examples(batches, check, self.text_examples, self.patience)

    @clause()
    async def test_c02_roles_have_1_to_64_characters(self, storage: StoragePort) -> None:
        """Empty and longer roles are refused and nothing is stored.

        Fix: call ``check_role`` before any I/O.
        """
        conversation = fresh("c02")
        for role in ("", "x" * 65, "\u00e9" * 65):
            for write in (
                partial(storage.append_message, conversation, role, "text"),
                partial(storage.append_messages, conversation, [message("text", role)]),
            ):
                error = await error_of(write)
                assert isinstance(error, InvalidInputError), f"a role of {len(role)} characters: {error!r}"
        assert not await storage.conversation_exists(conversation), "a refused append left a conversation"

    @clause()
    async def test_c02_large_content_is_whole_or_refused(self, storage: StoragePort) -> None:
        """Large content is stored whole or refused with ``InvalidInputError``; it is never cut.

        Fix: call ``check_content`` with the backend's limit, in bytes of UTF-8.
        """
        limit = 16 * 1024 * 1024
        for content in ("\u00e9" * 2**17, "x" * 2**20, "x" * (limit + 1), "\u00e9" * (limit // 2 + 1)):
            conversation = fresh("c02")
            error = await error_of(partial(storage.append_message, conversation, "user", content))
            if error is None:
                back = await contents(storage, conversation)
                # Compared by size first: a failure must not print megabytes.
                assert [len(text) for text in back] == [len(content)], "content was cut"
                assert back == [content], "content was altered"
            else:
                size = len(content.encode())
                assert isinstance(error, InvalidInputError), f"{size} bytes gave a {type(error).__name__}"
                assert size > 2**20 or ANY_TEXT not in storage.capabilities, (
                    f"{size} bytes were refused; the smallest limit with any_text is 1 MiB"
                )
                assert content not in str(error), "C-31: the message of the error repeats the content"
                assert not await storage.conversation_exists(conversation), (
                    "refused, yet a conversation is left"
                )
