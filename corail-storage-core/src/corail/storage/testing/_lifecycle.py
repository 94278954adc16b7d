# ruff: noqa: S101 - contract tests are built on assert
"""C-30, ``aclose`` and ``check``: a storage before its first use, after its last, and asked how it is.

Closing needs an object of its own: one from ``reopen``, or else the fixture's, which then has to be
function-scoped.
"""

import json
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import anyio.lowlevel
import anyio.to_thread

from corail.storage.capabilities import CLOSE, DELETE, IDEMPOTENT_APPEND, MULTI_LOOP
from corail.storage.errors import StorageClosedError, StorageError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import (
    Call,
    error_of,
    in_threads,
    outcome,
    spread,
    together,
    turns_of,
)
from corail.storage.testing._reading import contents, fresh, message, reopened, rows_of

_REPORT: Final[dict[str, tuple[type, ...]]] = {
    "ok": (bool,),
    "latency": (float,),
    "versions": (dict,),
    "role": (str, type(None)),
    "writable": (bool, type(None)),
    "problem": (str, type(None)),
    "warnings": (list,),
}
_IO: Final = ("socket.connect", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen", "os.posix_spawn")

_watching: Final = threading.local()
_hooked = False


class Lifecycle(ContractBase):
    """Constructing, checking, closing."""

    @clause(reopens=True)
    async def test_c30_constructing_does_no_io(self, storage: StoragePort) -> None:
        """A new object connects to nothing and needs no event loop; an unused one can be dropped.

        Fix: connect on first use. (``reopen`` itself must not connect either.)
        """
        made: list[StoragePort] = []

        def construct() -> list[str]:
            with _io_of_this_thread() as events:
                made.extend(reopened(self) for _ in range(3))
            return events

        events = await anyio.to_thread.run_sync(construct)
        assert events == [], "constructing a storage did I/O"
        assert len({id(one) for one in (storage, *made)}) == 4, "reopen() returned an object twice"
        for unused in made:
            await unused.aclose()

    @clause()
    async def test_check_reports_without_writing(self, storage: StoragePort) -> None:
        """Every key with its type, ``ok`` for a storage that works, JSON, and nothing is written.

        Fix: return a complete ``CheckReport``; look a conversation up rather than create one.
        """
        before = await _rows_of_others(storage)
        report = await storage.check()
        shown: dict[str, Any] = {**report}
        for key, types in _REPORT.items():
            assert key in shown, f"the report lacks {key!r}"
            assert isinstance(shown[key], types), f"{key!r} is a {type(shown[key]).__name__}"
        assert shown.keys() <= {*_REPORT, "pool"}
        if "pool" in report:
            assert {"size", "idle", "limit"} == report["pool"].keys()
            assert all(type(count) is int for count in (shown["pool"].values())), "'pool' holds no counts"
        assert report["ok"] is True, f"the storage works, yet check says: {report['problem']}"
        assert report["problem"] is None
        assert report["latency"] >= 0
        assert all(isinstance(text, str) for text in (*report["versions"].values(), *report["warnings"]))
        json.dumps(shown)
        assert await _rows_of_others(storage) == before, "check wrote something"
        await together(*(storage.check for _ in range(self.writers)))

    @clause()
    async def test_aclose_can_be_repeated(self, storage: StoragePort) -> None:
        """Closing twice, and from several tasks at once, does nothing more than closing once.

        Fix: note that it is closed first, release then.
        """
        closing = _own(self, storage)
        await closing.append_message(fresh("close"), "user", "text")
        await together(*(closing.aclose for _ in range(3)))
        await closing.aclose()

    @clause(CLOSE)
    async def test_aclose_ends_every_method(self, storage: StoragePort) -> None:
        """After ``aclose`` every call raises ``StorageClosedError``; nothing is opened anew.

        Fix: ask whether it is closed first thing in every method, ``check`` included.
        """
        closing = _own(self, storage)
        conversation = fresh("close")
        await closing.append_message(conversation, "user", "text")
        await closing.aclose()
        for call in _every_call(closing, conversation):
            error = await error_of(call)
            assert isinstance(error, StorageClosedError), f"{call} after aclose gave {error!r}"

    @clause(CLOSE)
    async def test_aclose_comes_with_async_with(self, storage: StoragePort) -> None:
        """``async with`` gives the storage itself and closes it, also when the block raises.

        Fix: leave ``__aenter__`` and ``__aexit__`` as the port has them.
        """
        closing = _own(self, storage)

        async def use() -> None:
            async with closing as same:
                assert same is closing
                await same.append_message(fresh("close"), "user", "text")
                raise RuntimeError("of the block")

        error = await error_of(use)
        assert isinstance(error, RuntimeError), f"the block's own error was replaced by {error!r}"
        assert str(error) == "of the block", f"the block's own error was replaced by {error!r}"
        error = await error_of(closing.list_conversations)
        assert isinstance(error, StorageClosedError), f"after async with it gave {error!r}"

    @clause(CLOSE, reopens=True)
    async def test_aclose_drains_or_fails_what_waits(self, storage: StoragePort) -> None:
        """Appends that race with ``aclose`` end: acknowledged and stored, or with a ``StorageError``.

        Fix: drain what waits within a bound, fail the rest; leave nobody waiting.
        """
        turns = await turns_of(partial(storage.append_message, fresh("drain"), "user", "text"))
        for turn in spread(2 * turns, self.cancellations):
            conversation = fresh("drain")
            closing = reopened(self)
            # Open already, so that what is met is the waiting and not the connecting.
            await closing.create_conversation(conversation)
            appends = [
                partial(outcome, partial(closing.append_message, conversation, "user", f"text {n}"))
                for n in range(2 * self.writers)
            ]
            *results, _ = await together(*appends, partial(_close_after, closing, turn))
            found = await contents(storage, conversation)
            for number, result in enumerate(results):
                assert found.count(f"text {number}") <= 1, "an append is there twice"
                if not isinstance(result, StorageError):
                    assert f"text {number}" in found, "an append was acknowledged and is lost"

    @clause(CLOSE, reopens=True)
    async def test_aclose_leaves_other_objects_and_the_data_alone(self, storage: StoragePort) -> None:
        """Closing one object closes neither another on the same store nor the store.

        Fix: close only what this object opened.
        """
        conversation = fresh("close")
        async with reopened(self) as second:
            await second.append_message(conversation, "user", "text")
        assert await contents(storage, conversation) == ["text"]
        async with reopened(self) as third:
            assert await contents(third, conversation) == ["text"]
            assert len(await rows_of(third, [conversation])) == 1

    @clause(CLOSE, MULTI_LOOP, reopens=True)
    async def test_aclose_works_from_another_loop(
        self, storage: StoragePort, anyio_backend_name: str
    ) -> None:
        """What several loops used can be closed from any of them, even one that never used it.

        Fix: hand the connections of another loop to that loop, or drop them without waiting for it.
        """
        conversation = fresh("close")
        closing = reopened(self)
        await closing.append_message(conversation, "user", "here")
        use = partial(closing.append_message, conversation, "user", "there")
        await in_threads(anyio_backend_name, self.patience, [use])
        await in_threads(anyio_backend_name, self.patience, [closing.aclose])
        error = await error_of(partial(closing.get_messages, conversation))
        assert isinstance(error, StorageClosedError), f"gave {error!r}"
        assert await contents(storage, conversation) == ["here", "there"]


async def _rows_of_others(storage: StoragePort) -> list[dict[str, Any]]:
    # Another run of the kit may use the same store at this moment.
    return [row for row in await storage.list_conversations() if "kit-" not in row["id"]]


async def _close_after(storage: StoragePort, turns: int) -> None:
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    await storage.aclose()


def _own(contract: ContractBase, storage: StoragePort) -> StoragePort:
    return storage if contract.reopen is None else reopened(contract)


def _every_call(storage: StoragePort, conversation: str) -> list[Call[object]]:
    calls: list[Call[object]] = [
        partial(storage.get_messages, conversation),
        partial(storage.append_message, conversation, "user", "text"),
        partial(storage.create_conversation, conversation),
        partial(storage.conversation_exists, conversation),
        storage.list_conversations,
        partial(storage.update_title, conversation, "title"),
        partial(storage.append_messages, conversation, [message("text")]),
        partial(storage.get_recent_messages, conversation, 5),
        partial(storage.get_conversation, conversation),
        storage.page_conversations,
        partial(storage.page_messages, conversation),
        storage.check,
    ]
    if DELETE in storage.capabilities:
        calls.append(partial(storage.delete_conversation, conversation))
    if IDEMPOTENT_APPEND in storage.capabilities:
        calls.append(
            partial(storage.append_messages, conversation, [message("text")], idempotency_key="turn")
        )
    return calls


@contextmanager
def _io_of_this_thread() -> Generator[list[str]]:
    global _hooked
    if not _hooked:
        # Never removed, Python has no way to: it looks at one attribute and returns.
        sys.addaudithook(_watch)
        _hooked = True
    events: list[str] = []
    _watching.events = events
    try:
        yield events
    finally:
        del _watching.events


def _watch(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in _IO:
        events: list[str] | None = getattr(_watching, "events", None)
        if events is not None:
            events.append(event)
