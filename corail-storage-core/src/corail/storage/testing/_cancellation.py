# ruff: noqa: S101 - contract tests are built on assert
"""C-23 and C-24: after a cancelled call the object works, and a first use that failed can be repeated."""

from collections.abc import Sequence
from functools import partial

import anyio
import anyio.lowlevel

from corail.storage.capabilities import ATOMIC_APPEND, DELETE, IDEMPOTENT_APPEND, TOTAL_ORDER
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import (
    Call,
    Cancelled,
    cancelled_after,
    cancelled_at,
    spread,
    together,
    turns_of,
)
from corail.storage.testing._reading import consistent, contents, fresh, message, reopened, row_of
from corail.storage.testing._writing import PARTS, assert_whole_batches


class Cancellation(ContractBase):
    """Calls that are cancelled at each of their awaits, and at moments spread over their time."""

    @clause()
    async def test_c23_append_cancelled_at_each_await(self, storage: StoragePort) -> None:
        """Wherever an append is cancelled, the next one works; it is stored once or not at all.

        Fix: release locks and connections in ``finally``; shield nothing that may wait for ever.
        """
        conversation = fresh("c23")
        kept: list[str] = []
        for moment in range(self.cancellations):
            append = partial(storage.append_message, conversation, "user", f"cut {moment}")
            went = await cancelled_at(append, moment)
            await _carry_on(storage, conversation, f"cut {moment}", went, kept)
            if not went.reached:
                break
        await _judge(storage, conversation, kept)

    @clause()
    async def test_c23_append_cancelled_at_any_time(self, storage: StoragePort) -> None:
        """The same at moments spread over the time an append takes, while others append.

        Fix: what waits on behalf of several callers must outlive the cancellation of one.
        """
        conversation = fresh("c23")
        # Measured on the second use: the first may have to connect.
        await storage.create_conversation(conversation)
        turns = await turns_of(partial(storage.append_message, conversation, "user", "first"))
        kept = ["first"]
        for moment, turn in enumerate(spread(turns, self.cancellations)):
            append = partial(storage.append_message, conversation, "user", f"cut {moment}")
            went = await cancelled_after(append, turn)
            await _carry_on(storage, conversation, f"cut {moment}", went, kept)
        await _judge(storage, conversation, kept)

    @clause()
    async def test_c23_other_calls_cancelled_at_each_await(self, storage: StoragePort) -> None:
        """Every method can be cancelled anywhere and called again.

        Fix: as above; a cache or a shared future must not keep the cancellation.
        """
        conversation = fresh("c23")
        await storage.append_messages(conversation, [message("text")] * 3)
        calls: list[Call[object]] = [
            partial(storage.create_conversation, conversation, {"key": "value"}),
            partial(storage.update_title, conversation, "title"),
            partial(storage.get_messages, conversation),
            partial(storage.get_recent_messages, conversation, 2),
            partial(storage.conversation_exists, conversation),
            partial(storage.get_conversation, conversation),
            partial(storage.list_conversations),
            partial(storage.page_conversations, limit=2),
            partial(storage.page_messages, conversation, limit=2),
            partial(storage.check),
        ]
        if DELETE in storage.capabilities:
            calls.append(partial(storage.delete_conversation, conversation))
        for call in calls:
            for moment in range(self.cancellations):
                went = await cancelled_at(call, moment)
                await call()
                if not went.reached:
                    break
        await storage.append_message(conversation, "user", "after")
        assert (await consistent(storage, conversation))[-1] == "after"

    @clause()
    async def test_c23_neighbours_of_a_cancelled_append_arrive(self, storage: StoragePort) -> None:
        """Of many appends at once every second is cancelled: the others are acknowledged and stored.

        Fix: a batch that carries several callers' messages does not belong to any one of them.
        """
        conversation = fresh("c23")
        # Measured on the second use: the first may have to connect.
        await storage.create_conversation(conversation)
        turns = await turns_of(partial(storage.append_message, conversation, "user", "first"))
        for turn in spread(turns, 6):
            whole = await _half_cancelled(
                turn,
                [
                    partial(storage.append_message, conversation, "user", f"{turn}.{n}")
                    for n in range(2 * self.writers)
                ],
            )
            assert whole == self.writers, "an append next to a cancelled one did not return"
            found = await contents(storage, conversation)
            missing = [n for n in range(1, 2 * self.writers, 2) if found.count(f"{turn}.{n}") != 1]
            assert not missing, f"acknowledged beside a cancelled append, yet not there once: {missing}"
        found = await consistent(storage, conversation)
        assert len(set(found)) == len(found), "a message is there twice"

    @clause()
    async def test_c23_neighbours_of_a_cancelled_read_arrive(self, storage: StoragePort) -> None:
        """Of many reads of one conversation every second is cancelled: the others get their answer.

        Fix: readers that share one query must not share the fate of the one who asked first.
        """
        conversation = fresh("c23")
        await storage.append_message(conversation, "user", "text")
        turns = await turns_of(partial(storage.get_messages, conversation))
        for turn in spread(turns, 6):
            reads = [partial(storage.get_messages, conversation) for _ in range(2 * self.writers)]
            assert await _half_cancelled(turn, reads) == self.writers, (
                "a read next to a cancelled one did not return"
            )

    @clause(ATOMIC_APPEND)
    async def test_append_messages_is_atomic_when_cancelled(self, storage: StoragePort) -> None:
        """A batch that is cancelled anywhere is stored whole or not at all.

        Fix: one transaction; its commit is the only moment at which anything becomes visible.
        """
        conversation = fresh("atomic")
        for moment in range(self.cancellations):
            batch = [message(f"cut.{moment}.{part}") for part in range(PARTS)]
            went = await cancelled_at(partial(storage.append_messages, conversation, batch), moment)
            await storage.append_message(conversation, "user", f"next.{moment}")
            found = await consistent(storage, conversation)
            assert_whole_batches(found)
            assert found.count(f"cut.{moment}.0") <= 1, "a cancelled batch is there twice"
            assert found.count(f"cut.{moment}.0") == 1 or not went.finished, "an acknowledged batch is lost"
            if not went.reached:
                break

    @clause(IDEMPOTENT_APPEND)
    async def test_append_messages_can_be_repeated_when_cancelled(self, storage: StoragePort) -> None:
        """A keyed batch that was cancelled anywhere, repeated under its key, is there once.

        Fix: store the key with the messages; forget a key that is only "in flight" when its call ends.
        """
        conversation = fresh("key")
        expected: list[str] = []
        for moment in range(self.cancellations):
            batch = [message(f"{moment}.{part}") for part in range(2)]
            append = partial(storage.append_messages, conversation, batch, idempotency_key=f"turn {moment}")
            went = await cancelled_at(append, moment)
            await append()
            expected += [one["content"] for one in batch]
            assert sorted(await consistent(storage, conversation)) == sorted(expected)
            if not went.reached:
                break

    @clause(reopens=True)
    async def test_c24_first_use_cancelled_at_each_await(self, storage: StoragePort) -> None:
        """A first use that is cancelled while it connects or makes tables can simply be repeated.

        Fix: publish a pool or "ready" flag only when it is complete; do not cache a failed start.
        """
        conversation = fresh("c24")
        for moment in range(self.cancellations):
            async with reopened(self) as unused:
                first = partial(unused.append_message, conversation, "user", f"cut {moment}")
                went = await cancelled_at(first, moment)
                await unused.append_message(conversation, "user", f"next {moment}")
                found = await contents(storage, conversation)
                assert found.count(f"next {moment}") == 1, "the repeated first use did not store its message"
                assert found.count(f"cut {moment}") in ([1] if went.finished else [0, 1])
            if not went.reached:
                break
        await consistent(storage, conversation)

    @clause(reopens=True)
    async def test_c24_first_use_by_many_at_once(self, storage: StoragePort) -> None:
        """Several new objects, each first used by many tasks at once, all work.

        Fix: open once, and let the others wait for it; let only one make the tables.
        """
        conversations = [fresh("c24") for _ in range(self.writers)]
        async with reopened(self) as first, reopened(self) as second:
            await together(
                *(
                    partial(unused.append_message, conversation, "user", "text")
                    for conversation in conversations
                    for unused in (first, second)
                )
            )
        for conversation in conversations:
            assert await consistent(storage, conversation) == ["text", "text"]


async def _carry_on(
    storage: StoragePort, conversation: str, text: str, went: Cancelled, kept: list[str]
) -> None:
    if went.finished:
        kept.append(text)
    await storage.append_message(conversation, "user", f"after {text}")
    kept.append(f"after {text}")
    row = await row_of(storage, conversation)
    assert row["message_count"] >= len(kept)


async def _judge(storage: StoragePort, conversation: str, kept: Sequence[str]) -> None:
    found = await consistent(storage, conversation)
    assert len(set(found)) == len(found), "a cancelled append was stored twice"
    known = [text for text in found if text in kept]
    assert sorted(known) == sorted(kept), "an acknowledged append is lost"
    if TOTAL_ORDER in storage.capabilities:
        assert known == list(kept), "acknowledged appends changed their order"


async def _half_cancelled(turn: int, calls: Sequence[Call[object]]) -> int:
    """Start all calls, cancel those with even numbers after some turns; return how many others ended."""
    finished = 0

    async def run(call: Call[object], scope: anyio.CancelScope, *, counted: bool) -> None:
        nonlocal finished
        with scope:
            await call()
            finished += counted

    scopes = [anyio.CancelScope() for _ in calls]
    async with anyio.create_task_group() as tasks:
        for number, (call, scope) in enumerate(zip(calls, scopes, strict=True)):
            tasks.start_soon(partial(run, call, scope, counted=number % 2 == 1))
        for _ in range(turn):
            await anyio.lowlevel.checkpoint()
        for scope in scopes[::2]:
            scope.cancel()
    return finished
