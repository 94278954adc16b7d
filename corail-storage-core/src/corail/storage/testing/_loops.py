# ruff: noqa: S101 - contract tests are built on assert
"""C-22: one object serves any task, thread and event loop at once; and loops that end take nothing along."""

from functools import partial

import anyio
import anyio.lowlevel

from corail.storage.capabilities import MULTI_LOOP, TOTAL_ORDER
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import Call, in_threads, together
from corail.storage.testing._reading import consistent, contents, fresh, row_of
from corail.storage.testing._writing import assert_each_once, assert_own_order, write_batches, write_singles


class Loops(ContractBase):
    """Threads with event loops of their own, on the one object of the fixture."""

    @clause(MULTI_LOOP)
    async def test_c22_threads_append_at_once(self, storage: StoragePort, anyio_backend_name: str) -> None:
        """Several threads, each in its own loop, and this loop append to one conversation.

        Fix: keep what belongs to a loop (pools, locks, futures) once per loop, or use none.
        """
        conversation = fresh("c22")
        calls: list[Call[list[str]]] = [
            partial((write_singles, write_batches)[n % 2], storage, conversation, f"thread{n}", self.appends)
            for n in range(self.threads)
        ]

        async def here() -> list[list[str]]:
            return [await write_singles(storage, conversation, "here", self.appends)]

        there = partial(in_threads, anyio_backend_name, self.patience, calls)
        ours, theirs = await together(here, there)
        written = [*ours, *theirs]
        found = await consistent(storage, conversation)
        assert_each_once(found, written)
        if TOTAL_ORDER in storage.capabilities:
            assert_own_order(found, written)

    @clause(MULTI_LOOP)
    async def test_c22_threads_use_everything_at_once(
        self, storage: StoragePort, anyio_backend_name: str
    ) -> None:
        """Every thread creates, titles, reads and lists, without disturbing the others.

        Fix: guard shared state with a lock of ``threading`` that is never held across an await.
        """

        async def use(number: int) -> str:
            conversation = fresh(f"c22-{number}")
            for n in range(self.appends):
                await storage.create_conversation(conversation, {"number": number})
                await storage.append_message(conversation, "user", f"{number}.{n}")
                await storage.update_title(conversation, f"title {n}")
                assert len(await contents(storage, conversation)) == n + 1, "a thread missed its own append"
                assert (await row_of(storage, conversation))["title"] == f"title {n}"
                await storage.page_conversations(limit=5)
            return conversation

        calls = [partial(use, number) for number in range(self.threads)]
        for number, conversation in enumerate(await in_threads(anyio_backend_name, self.patience, calls)):
            assert await contents(storage, conversation) == [f"{number}.{n}" for n in range(self.appends)]

    @clause(MULTI_LOOP)
    async def test_c22_loops_that_end_leave_it_working(
        self, storage: StoragePort, anyio_backend_name: str
    ) -> None:
        """Many short loops use it one after another, half of them ending in the middle of a call.

        Fix: notice that a loop has closed, drop what belonged to it, and open anew.
        """
        conversation = fresh("c22")
        await storage.create_conversation(conversation)
        finished: list[str] = []

        async def visit(number: int) -> None:
            await storage.append_message(conversation, "user", f"whole {number}")
            finished.append(f"whole {number}")
            if number % 2:
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(storage.append_message, conversation, "user", f"cut {number}")
                        await anyio.lowlevel.checkpoint()
                        scope.cancel()

        for number in range(self.short_loops):
            await in_threads(anyio_backend_name, self.patience, [partial(visit, number)])
            assert f"whole {number}" in await contents(storage, conversation)
        found = await consistent(storage, conversation)
        assert [text for text in found if text.startswith("whole")] == finished
        assert len(set(found)) == len(found), "a cancelled append was stored twice"
