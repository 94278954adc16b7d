# ruff: noqa: S101 - contract tests are built on assert
"""``append_messages``: order, atomicity, and keys that make a repeat harmless."""

from collections.abc import Iterator, Sequence
from functools import partial

from corail.storage.capabilities import ATOMIC_APPEND, DELETE, IDEMPOTENT_APPEND
from corail.storage.errors import InvalidInputError, StorageError, UnsupportedOperationError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import error_of, outcome, together
from corail.storage.testing._reading import consistent, contents, fresh, message, reopened, rows_of
from corail.storage.testing._strategies import plain
from corail.storage.testing._writing import (
    assert_each_once,
    assert_whole_batches,
    readers,
    watched,
    write_batches,
    write_singles,
)


class Batches(ContractBase):
    """Several messages in one call."""

    @clause()
    async def test_append_messages_keeps_the_order_of_the_batch(self, storage: StoragePort) -> None:
        """A batch is stored in its order, whatever iterable it comes as, and is left unchanged.

        Fix: number the messages by their place in the batch.
        """
        conversation = fresh("batch")
        batch = [message(f"text {n}", f"role {n % 3}") for n in range(25)]

        def generated() -> Iterator[dict[str, str]]:
            yield from batch

        await storage.append_messages(conversation, batch)
        await storage.append_messages(conversation, tuple(batch))
        await storage.append_messages(conversation, generated())
        assert await storage.get_messages(conversation) == batch * 3

    @clause()
    async def test_append_messages_of_nothing_does_nothing(self, storage: StoragePort) -> None:
        """An empty batch creates no conversation and does not count as a change.

        Fix: return before anything else once the arguments were checked.
        """
        unknown, known = fresh("batch"), fresh("batch")
        await storage.append_message(known, "user", "text")
        before = await rows_of(storage, [unknown, known])
        for conversation in (unknown, known):
            await storage.append_messages(conversation, [])
            await storage.append_messages(conversation, iter(()))
        if IDEMPOTENT_APPEND in storage.capabilities:
            await storage.append_messages(unknown, [], idempotency_key="empty")
        assert await rows_of(storage, [unknown, known]) == before
        assert await storage.conversation_exists(unknown) is False, "an empty batch created the conversation"

    @clause(ATOMIC_APPEND)
    async def test_append_messages_is_contiguous_and_never_seen_in_part(self, storage: StoragePort) -> None:
        """Among other writers a batch stays together, and no reader sees a part of it.

        Fix: one transaction, or one section under the conversation's lock, for the whole batch.
        """
        await _whole(self, storage, storage)

    @clause(ATOMIC_APPEND, reopens=True)
    async def test_append_messages_is_atomic_between_two_objects(self, storage: StoragePort) -> None:
        """The same where the other writer and the readers use another object.

        Fix: the lock must be the store's, not the object's.
        """
        async with reopened(self) as second:
            await _whole(self, storage, second)

    @clause(IDEMPOTENT_APPEND)
    async def test_append_messages_stores_a_key_once(self, storage: StoragePort) -> None:
        """Repeating the same messages under a key does nothing, also after others were appended.

        Fix: remember the key with the messages, in the same transaction.
        """
        conversation = fresh("key")
        batch = [message("one"), message("two", "assistant")]
        await storage.append_messages(conversation, batch, idempotency_key="turn 1")
        await storage.append_messages(conversation, batch, idempotency_key="turn 1")
        await storage.append_message(conversation, "user", "three")
        await storage.append_messages(conversation, iter(batch), idempotency_key="turn 1")
        assert await consistent(storage, conversation) == ["one", "two", "three"]
        # A key is what makes a repeat: the same text under another key, or none, is a new message.
        await storage.append_messages(conversation, batch, idempotency_key="turn 2")
        await storage.append_messages(conversation, batch)
        assert await consistent(storage, conversation) == ["one", "two", "three", *["one", "two"] * 2]

    @clause(IDEMPOTENT_APPEND)
    async def test_append_messages_refuses_a_key_with_other_messages(self, storage: StoragePort) -> None:
        """Other content, role, order or number under a used key raises ``InvalidInputError``.

        Fix: compare what is stored for the key with what is offered; a silent no-op loses messages.
        """
        conversation = fresh("key")
        stored = [message("one"), message("two")]
        await storage.append_messages(conversation, stored, idempotency_key="turn")
        for other in (
            [*stored, message("three")],
            stored[:1],
            stored[::-1],
            [message("one"), message("TWO")],
            [message("one"), message("two", "assistant")],
            [message("onetwo")],
        ):
            again = partial(storage.append_messages, conversation, other, idempotency_key="turn")
            error = await error_of(again)
            assert isinstance(error, InvalidInputError), f"took {other} under a key of {stored}: {error!r}"
            assert await consistent(storage, conversation) == ["one", "two"]

    @clause(IDEMPOTENT_APPEND)
    async def test_append_messages_keys_belong_to_their_conversation(self, storage: StoragePort) -> None:
        """The same key in another conversation is another key.

        Fix: make (conversation, key) unique, not the key.
        """
        first, second = fresh("key"), fresh("key")
        await storage.append_messages(first, [message("of the first")], idempotency_key="turn")
        await storage.append_messages(second, [message("of the second")], idempotency_key="turn")
        assert await contents(storage, first) == ["of the first"]
        assert await contents(storage, second) == ["of the second"]

    @clause(IDEMPOTENT_APPEND)
    async def test_append_messages_keys_are_compared_code_point_by_code_point(
        self, storage: StoragePort
    ) -> None:
        """Keys that look alike are different keys; 1 to 255 characters are taken, others refused.

        Fix: store the key as it is, and call ``check_idempotency_key``.
        """
        conversation = fresh("key")
        keys = [key for key in plain(storage) if key] + ["x" * 255, "\u00e9" * 255, "y" * 255]
        keys = (
            keys if all(map(str.isascii, plain(storage))) is False else [key for key in keys if key.isascii()]
        )
        for repeat in range(2):
            for number, key in enumerate(keys):
                batch = [message(f"text {number}")]
                await storage.append_messages(conversation, batch, idempotency_key=key)
            assert len(await contents(storage, conversation)) == len(keys), f"in round {repeat}"
        for key in ("", "x" * 256):
            refused = partial(storage.append_messages, conversation, [message("text")], idempotency_key=key)
            error = await error_of(refused)
            assert isinstance(error, InvalidInputError), f"took a key of {len(key)} characters: {error!r}"
        assert len(await contents(storage, conversation)) == len(keys)

    @clause(IDEMPOTENT_APPEND, DELETE)
    async def test_append_messages_keys_go_with_their_conversation(self, storage: StoragePort) -> None:
        """After a delete the key is new again.

        Fix: delete keys with the conversation.
        """
        conversation = fresh("key")
        await storage.append_messages(conversation, [message("before")], idempotency_key="turn")
        await storage.delete_conversation(conversation)
        await storage.append_messages(conversation, [message("after")], idempotency_key="turn")
        assert await consistent(storage, conversation) == ["after"]

    @clause(IDEMPOTENT_APPEND)
    async def test_append_messages_stores_a_key_once_among_concurrent_repeats(
        self, storage: StoragePort
    ) -> None:
        """Repeats that run at once all succeed and store one batch.

        Fix: let a unique constraint or one lock decide; looking first and storing then is a race.
        """
        await _once(self, [storage])

    @clause(IDEMPOTENT_APPEND, reopens=True)
    async def test_append_messages_stores_a_key_once_between_two_objects(self, storage: StoragePort) -> None:
        """The same from two objects: a retry often comes from another replica.

        Fix: keep keys in the store.
        """
        async with reopened(self) as second:
            await _once(self, [storage, second])

    @clause()
    async def test_append_messages_with_a_key_is_honoured_or_refused(self, storage: StoragePort) -> None:
        """Without ``idempotent_append`` a key raises ``UnsupportedOperationError``: it is never ignored.

        Fix: leave the port's default, or call it for keys.
        """
        conversation = fresh("key")
        keyed = partial(storage.append_messages, conversation, [message("text")], idempotency_key="turn")
        error = await error_of(keyed)
        if IDEMPOTENT_APPEND in storage.capabilities:
            assert error is None, f"claimed, yet refused with {error!r}"
            return
        assert isinstance(error, UnsupportedOperationError), f"gave {error!r}"
        assert not await storage.conversation_exists(conversation), "refused, yet a conversation is left"


async def _whole(contract: ContractBase, storage: StoragePort, second: StoragePort) -> None:
    conversation = fresh("atomic")
    writes = [
        partial(write_batches, storage, conversation, "a", contract.appends),
        partial(write_batches, second, conversation, "b", contract.appends),
        partial(write_singles, storage, conversation, "c", contract.appends),
    ]
    written, seen = await watched(writes, readers([second], conversation)[:2])
    final = await consistent(storage, conversation)
    assert_each_once(final, written)
    for view in (*(view for views in seen for view in views), final):
        assert_whole_batches(view)


async def _once(contract: ContractBase, storages: Sequence[StoragePort]) -> None:
    batch = [message("one"), message("two")]
    for attempt in range(5):
        conversation = fresh("key")
        # In every second attempt the conversation is there already.
        if attempt % 2:
            await storages[0].create_conversation(conversation)
        repeats = [
            partial(storages[n % len(storages)].append_messages, conversation, batch, idempotency_key="turn")
            for n in range(contract.writers)
        ]
        results = await together(*(partial(outcome, repeat) for repeat in repeats))
        failed = [result for result in results if isinstance(result, StorageError)]
        assert not failed, f"{len(failed)} of {len(repeats)} equal repeats failed: {failed[0]!r}"
        assert await consistent(storages[0], conversation) == ["one", "two"]
