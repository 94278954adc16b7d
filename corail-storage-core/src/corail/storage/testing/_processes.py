# ruff: noqa: S101 - contract tests are built on assert
"""C-32 for ``persistent``: what was acknowledged outlives the object and the process, a kill included."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import anyio.to_thread

from corail.storage.capabilities import ATOMIC_APPEND, IDEMPOTENT_APPEND, PERSISTENT, TOTAL_ORDER
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import together
from corail.storage.testing._reading import consistent, contents, fresh, message, reopened, row_of
from corail.storage.testing._reopening import target_of
from corail.storage.testing._turns import ACKNOWLEDGED, PARTS, Orders, append_turn, key, turn
from corail.storage.testing._writing import assert_own_order

_PROGRAM: Final = "corail.storage.testing._writer"
_TASKS: Final = 3
_WRITERS: Final = 2


class Written(NamedTuple):
    """What one killed process had acknowledged."""

    writer: str
    turns: list[int]
    """The next turn of each task: all before it were acknowledged."""


class Processes(ContractBase):
    """Writer processes that end without a warning."""

    @clause(PERSISTENT, reopens=True)
    async def test_c32_data_outlives_the_object(self, storage: StoragePort) -> None:
        """What one object wrote and closed, a new one has: messages, title, metadata, count.

        Fix: write through; nothing may wait for a flush that ``aclose`` never does.
        """
        conversation = fresh("c32")
        async with reopened(self) as first:
            await first.create_conversation(conversation, {"key": "value"})
            await first.append_messages(conversation, [message("one"), message("two", "assistant")])
            await first.update_title(conversation, "title")
            row = await row_of(first, conversation)
        async with reopened(self) as second:
            assert await row_of(second, conversation) == row
            assert await second.get_messages(conversation) == [message("one"), message("two", "assistant")]
        assert await row_of(storage, conversation) == row

    @clause(PERSISTENT, reopens=True, allowance=3)
    async def test_c32_killed_writers_lose_nothing_acknowledged(
        self, storage: StoragePort, anyio_backend_name: str
    ) -> None:
        """Processes are killed in the middle of writing: what they had acknowledged is there once.

        With ``atomic_append`` each batch is whole or absent; with ``idempotent_append`` the turn that
        was under way can be repeated under its key. Fix: acknowledge after the commit, not before.
        """
        for kill in range(self.kills):
            conversations = [fresh("kill") for _ in range(_TASKS)]
            # Later in every round: the first kill falls among the first uses.
            acknowledged = 1 + 20 * kill
            runs = [
                partial(
                    anyio.to_thread.run_sync,
                    partial(_run_and_kill, self, f"w{n}", conversations, anyio_backend_name, acknowledged),
                )
                for n in range(_WRITERS)
            ]
            written = await together(*runs)
            async with reopened(self) as survivor:
                for task, conversation in enumerate(conversations):
                    found = await contents(survivor, conversation)
                    await _judge(survivor, found, task, written)
                    await _repeat(survivor, conversation, task, written)
            for conversation in conversations:
                found = await consistent(storage, conversation)
                assert len(set(found)) == len(found), "a message is there twice"


def _run_and_kill(
    contract: ContractBase, writer: str, conversations: Sequence[str], backend: str, acknowledged: int
) -> Written:
    target = target_of(type(contract).reopen)
    orders = Orders(
        module=target.module,
        name=target.name,
        file=target.file,
        backend=backend,
        conversations=list(conversations),
        writer=writer,
    )
    lines, errors = _lines_until_killed(contract, json.dumps(orders), acknowledged)
    assert len(lines) >= acknowledged, (
        f"a writer process got only {len(lines)} turns acknowledged. It said: {errors[-2000:]}"
    )
    turns = [0] * len(conversations)
    for line in lines:
        _, task, number = line.split()
        turns[int(task)] = int(number) + 1
    return Written(writer, turns)


def _lines_until_killed(contract: ContractBase, orders: str, acknowledged: int) -> tuple[list[str], str]:
    # What the test can import, the writer can too; the root last, for test modules that import their
    # neighbours from there. -P: not whatever stands in the working directory.
    path = os.pathsep.join([*sys.path, str(contract.request.config.rootpath)])
    with (
        # A file: nobody reads a pipe of errors in time, and a writer that logs much would wait for that.
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-P", "-m", _PROGRAM],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        # A writer that hangs is killed as well; then there are too few acknowledgements.
        watchdog = threading.Timer(contract.patience, process.kill)
        watchdog.start()
        # The last line may be half a line.
        said = (line for line in process.stdout if line.startswith(ACKNOWLEDGED) and line.endswith("\n"))
        try:
            # It may have ended already, and says why among the errors.
            with suppress(BrokenPipeError):
                process.stdin.write(f"{orders}\n")
                process.stdin.flush()
            lines = list(islice(said, acknowledged))
        finally:
            process.kill()
            watchdog.cancel()
        # What it managed to say before it died counts too.
        lines += said
        process.wait()
        errors.seek(0)
        return lines, errors.read()


async def _judge(storage: StoragePort, found: Sequence[str], task: int, written: Sequence[Written]) -> None:
    for writer, turns in written:
        expected = [one["content"] for n in range(turns[task]) for one in turn(writer, task, n)]
        lost = [text for text in expected if text not in found]
        assert not lost, f"{len(lost)} of {len(expected)} acknowledged messages are gone with the process"
        assert len(set(found)) == len(found), "a message is there twice"
        if TOTAL_ORDER in storage.capabilities:
            assert_own_order(found, [expected])
        unfinished = [one["content"] for one in turn(writer, task, turns[task])]
        there = [text for text in unfinished if text in found]
        if ATOMIC_APPEND in storage.capabilities:
            assert there in ([], unfinished), (
                f"atomic_append: of {PARTS} messages of a batch cut off by the kill, only {there} are there"
            )


async def _repeat(storage: StoragePort, conversation: str, task: int, written: Sequence[Written]) -> None:
    if IDEMPOTENT_APPEND not in storage.capabilities:
        return
    for writer, turns in written:
        for number in range(max(0, turns[task] - 1), turns[task] + 1):
            again = turn(writer, task, number)
            await append_turn(storage, conversation, again, key(writer, task, number))
            found = await contents(storage, conversation)
            counts = [found.count(one["content"]) for one in again]
            assert counts == [1] * len(again), "a turn repeated under its key is not there exactly once"
