"""Writers that go on while something is done to the server, and the count of what became of it."""

import asyncio
from collections import Counter
from time import monotonic
from types import TracebackType
from typing import Final, Self

from corail.storage.port import StoragePort
from tests.postgresql.observing import eventually

_CONVERSATIONS: Final = 3
_STALLED_SECONDS: Final = 0.5


class Writers:
    """Tasks that append one message after another; use it as an async context manager.

    Args:
        storages: which the writers share.
        count: how many writers.
        prefix: of their conversations, so that several groups can be told apart.

    Attributes:
        acknowledged: contents whose append returned, in that order.
        longest: seconds that the slowest append took.

    """

    def __init__(self, *storages: StoragePort, count: int = 8, prefix: str = "c") -> None:
        self._storages = storages
        self._count = count
        self._prefix = prefix
        self._writing = True
        self._tasks: list[asyncio.Task[None]] = []
        self.acknowledged: list[str] = []
        self.longest = 0.0
        # When each of them was acknowledged.
        self._moments = [monotonic()]

    async def more(self, count: int = 200) -> None:
        """Wait until so many more appends have been acknowledged."""
        wanted = len(self.acknowledged) + count

        async def written() -> bool:
            self._raise()
            return len(self.acknowledged) >= wanted

        assert await eventually(written, within=40)

    async def stored_after(self, moment: float) -> float:
        """Wait for the next append after a moment; return how long after it that was stored."""
        seen = len(self._moments)

        async def written() -> bool:
            self._raise()
            return self._moments[-1] > moment

        assert await eventually(written, within=40)
        return next(each for each in self._moments[max(0, seen - 1) :] if each > moment) - moment

    async def stalled(self) -> None:
        """Wait until no append gets through any more."""

        async def nothing() -> bool:
            self._raise()
            return monotonic() - self._moments[-1] > _STALLED_SECONDS

        assert await eventually(nothing)

    async def verdict(self, storage: StoragePort, *, may_lose: bool = False) -> str:
        """Compare what is stored with what was acknowledged; return the figures."""
        stored: list[str] = []
        for number in range(_CONVERSATIONS):
            known = f"{self._prefix}{number}"
            contents = [message["content"] for message in await storage.get_messages(known)]
            stored += contents
            row = await storage.get_conversation(known)
            assert row is not None
            assert row["message_count"] == len(contents)
            for writer in range(number, self._count, _CONVERSATIONS):
                mine = [
                    int(content.partition("/")[2]) for content in contents if content.startswith(f"{writer}/")
                ]
                assert mine == sorted(mine)
        lost = Counter(self.acknowledged) - Counter(stored)
        doubled = Counter(stored) - Counter(set(stored))
        figures = (
            f"{lost.total()} lost and {doubled.total()} doubled of {len(self.acknowledged)} acknowledged, "
            f"longest {self.longest:.1f} s"
        )
        assert may_lose or not lost, figures
        assert not doubled, figures
        assert len(stored) + lost.total() == len(self.acknowledged), figures
        return figures

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write(writer)) for writer in range(self._count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writing = False
        if error is not None:
            for task in self._tasks:
                task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None:
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    def _raise(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _write(self, writer: int) -> None:
        storage = self._storages[writer % len(self._storages)]
        number = 0
        while self._writing:
            content = f"{writer}/{number}"
            started = monotonic()
            await storage.append_message(f"{self._prefix}{writer % _CONVERSATIONS}", "user", content)
            self.acknowledged.append(content)
            self._moments.append(monotonic())
            self.longest = max(self.longest, self._moments[-1] - started)
            number += 1
