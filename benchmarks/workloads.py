"""The five kinds of work; their sizes and yardsticks stand in ``plan``. Standard library only."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from benchmarks.adapter import LacksError, Message
from benchmarks.workload import Timed, Workload, WrongAnswerError

_CHECKED: Final = 20


class Appends(Workload):
    """Agents append one message after the other, each to its own conversation or all to one."""

    operation = "appends"

    def __init__(self, *base: Any, agents: int, each: int, shared: bool = False) -> None:
        super().__init__(*base)
        self._agents = agents
        self._each = each
        self._shared = shared
        self._work: list[tuple[str, Sequence[Message]]] = []

    async def stage(self) -> None:
        """Make the conversations."""
        ids = [self.new_id() for _ in range(1 if self._shared else self._agents)]
        await self.create(ids)
        self._work = [(ids[agent % len(ids)], self.stream.take(self._each)) for agent in range(self._agents)]

    async def unit(self) -> Timed:
        """Append, every agent awaiting each append before its next."""
        latencies: list[float] = []
        append = self.adapter.append

        async def agent(conversation_id: str, messages: Sequence[Message]) -> None:
            for role, content in messages:
                started = perf_counter()
                await append(conversation_id, role, content)
                latencies.append(perf_counter() - started)

        await asyncio.gather(*(agent(*share) for share in self._work))
        return Timed(len(latencies), latencies)

    async def verify(self) -> None:
        """Compare the last conversation, or all writers' messages in the shared one."""
        shares = self._work if self._shared else self._work[-1:]
        messages = [message for _, share in shares for message in share]
        await self.expect(shares[0][0], messages, ordered=not self._shared)


class Reads(Workload):
    """One client reads a conversation, whole or its tail, one read after the other."""

    operation = "reads"

    def __init__(self, *base: Any, messages: int, each: int, tail: int | None = None) -> None:
        super().__init__(*base)
        self._messages = messages
        self._each = each
        self._tail = tail
        self._id = self.new_id()
        self._stored: Sequence[Message] = ()

    async def prepare(self) -> None:
        """Store the conversation."""
        if self._tail is not None:
            # Its absence must show before the set-up, not after it.
            await self.adapter.recent(self._id, self._tail)
        self._stored = self.stream.take(self._messages)
        await self.adapter.fill({self._id: self._stored})

    async def unit(self) -> Timed:
        """Read."""
        latencies: list[float] = []
        expected = self._messages if self._tail is None else self._tail
        for _ in range(self._each):
            started = perf_counter()
            if self._tail is None:
                found = await self.adapter.read(self._id)
            else:
                found = await self.adapter.recent(self._id, self._tail)
            latencies.append(perf_counter() - started)
            if len(found) != expected:
                raise WrongAnswerError(f"{self.adapter.name} read {len(found)} messages, not {expected}")
        return Timed(len(latencies), latencies)

    async def verify(self) -> None:
        """Compare text by text."""
        if self._tail is None:
            await self.expect(self._id, self._stored)
            return
        found = await self.adapter.recent(self._id, self._tail)
        if [self.adapter.text(one) for one in found] != [one.content for one in self._stored[-self._tail :]]:
            raise WrongAnswerError(f"{self.adapter.name} returned another tail than it was given")


class Turns(Workload):
    """Agents answer: does the conversation exist, read it, append the question, append the answer.

    The conversation grows by two messages with every turn and starts so short that the mean
    history of a unit is ``history`` messages.
    """

    operation = "turns"

    def __init__(self, *base: Any, agents: int, each: int, history: int) -> None:
        super().__init__(*base)
        self._agents = agents
        self._each = each
        self._start = max(0, history - each + 1)
        self._asks = True
        self._work: list[tuple[str, Sequence[Message]]] = []
        self._last: Sequence[Message] = ()

    async def prepare(self) -> None:
        """Find out whether there is an existence check; without one the turn does less, and says so."""
        try:
            await self.adapter.exists(self.new_id())
        except LacksError:
            self._asks = False
            self.notes.append("no existence check, the turn goes without")

    async def stage(self) -> None:
        """Store the histories."""
        histories = {self.new_id(): self.stream.take(self._start) for _ in range(self._agents)}
        await self.adapter.fill(histories)
        self._work = [(conversation_id, self.stream.take(2 * self._each)) for conversation_id in histories]
        self._last = [*histories[self._work[-1][0]], *self._work[-1][1]]

    async def unit(self) -> Timed:
        """Answer; a latency is that of a whole turn."""
        latencies: list[float] = []
        adapter, start = self.adapter, self._start

        async def agent(conversation_id: str, messages: Sequence[Message]) -> None:
            for index in range(0, len(messages), 2):
                question, answer = messages[index : index + 2]
                started = perf_counter()
                if self._asks and not await adapter.exists(conversation_id):
                    raise WrongAnswerError(f"{adapter.name} does not know a conversation it was given")
                history = await adapter.read(conversation_id)
                await adapter.append(conversation_id, *question)
                await adapter.append(conversation_id, *answer)
                latencies.append(perf_counter() - started)
                if len(history) != start + index:
                    raise WrongAnswerError(f"{adapter.name} read {len(history)}, not {start + index}")

        await asyncio.gather(*(agent(*share) for share in self._work))
        return Timed(len(latencies), latencies)

    async def verify(self) -> None:
        """Compare the last conversation."""
        await self.expect(self._work[-1][0], self._last)


class Listing(Workload):
    """One client lists all conversations of the database, or its first page."""

    operation = "lists"

    def __init__(
        self, *base: Any, conversations: int, messages: int, each: int, page: int | None = None
    ) -> None:
        super().__init__(*base)
        self._conversations = conversations
        self._messages = messages
        self._each = each
        self._page = page

    async def prepare(self) -> None:
        """Store the conversations, unless this database has them."""
        if not await self._find()():
            fill = {self.new_id(): self.stream.take(self._messages) for _ in range(self._conversations)}
            await self.adapter.fill(fill)

    async def unit(self) -> Timed:
        """List."""
        latencies: list[float] = []
        find = self._find()
        expected = min(self._page or self._conversations, self._conversations)
        for _ in range(self._each):
            started = perf_counter()
            found = await find()
            latencies.append(perf_counter() - started)
            if len(found) != expected:
                raise WrongAnswerError(f"{self.adapter.name} listed {len(found)}, not {expected}")
        return Timed(len(latencies), latencies)

    async def verify(self) -> None:
        """Check the counts."""
        for row in await self._find()():
            if row["message_count"] != self._messages:
                raise WrongAnswerError(f"{self.adapter.name} counted {row['message_count']} messages")

    def _find(self) -> Callable[[], Any]:
        page = self._page
        return self.adapter.list if page is None else lambda: self.adapter.page(page)


class Load(Workload):
    """The whole data set goes in, one part per repetition.

    With ``bulk`` by ``fill``. Without it one ``append`` after the other, of the first ``subset``
    messages of each part: the rate is the same, and waiting for the rest would show nothing.
    """

    operation = "messages"
    once = True

    def __init__(self, *base: Any, parts: int, bulk: bool, subset: int, share: float = 1.0) -> None:
        super().__init__(*base)
        self._bulk = bulk
        self._subset = subset
        conversations = self.texts.conversations[: int(len(self.texts.conversations) * share)]
        self._parts = [{self.new_id(): one for one in conversations[part::parts]} for part in range(parts)]
        self._part: Mapping[str, Sequence[Message]] = {}

    async def stage(self) -> None:
        """Take the next part."""
        self._part = self._parts.pop(0)
        if not self._bulk:
            self._part = _first(self._part, self._subset)
            await self.create(self._part)

    async def unit(self) -> Timed:
        """Store it."""
        latencies: list[float] = []
        if self._bulk:
            await self.adapter.fill(self._part)
            return Timed(sum(map(len, self._part.values())), latencies)
        for conversation_id, messages in self._part.items():
            for role, content in messages:
                started = perf_counter()
                await self.adapter.append(conversation_id, role, content)
                latencies.append(perf_counter() - started)
        return Timed(len(latencies), latencies)

    async def verify(self) -> None:
        """Compare some conversations."""
        some = random.Random(1).sample(sorted(self._part), min(_CHECKED, len(self._part)))  # noqa: S311 - a sample
        for conversation_id in some:
            await self.expect(conversation_id, self._part[conversation_id])


KINDS: Final[Mapping[str, type[Workload]]] = {
    kind.__name__: kind for kind in (Appends, Reads, Turns, Listing, Load)
}


def _first(part: Mapping[str, Sequence[Message]], count: int) -> Mapping[str, Sequence[Message]]:
    chosen: dict[str, Sequence[Message]] = {}
    for conversation_id, messages in part.items():
        if count <= 0:
            break
        chosen[conversation_id] = messages[:count]
        count -= len(messages)
    return chosen
