"""Memory and PostgreSQL give the same answers to any sequence of calls."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeGuard

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corail.storage.errors import StorageError
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.postgresql import PostgreSQLStorage

Step = tuple[Any, ...]

IDS = st.sampled_from(["a", "A", "a ", "é", "e\u0301", "\x00", "\ud800", "\ud83d\ude00", "", "x" * 256])
TEXTS = st.one_of(
    st.sampled_from(["", "\x00", "\x01", "\x01\x02", "\ud7ff", "\ud83d\ude00", "'; --", "a\r\nb"]),
    st.text(st.characters(codec=None), max_size=20),
)
ROLES = st.sampled_from(["user", "assistant", "\x00", "", "r" * 65])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": TEXTS}), max_size=3)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15) | TEXTS
METADATA = st.dictionaries(
    TEXTS,
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
    ),
    max_size=3,
)

STEPS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("create_conversation"), IDS, st.none() | METADATA),
    st.tuples(st.just("append_message"), IDS, ROLES, TEXTS),
    st.tuples(st.just("append_messages"), IDS, MESSAGES, st.none() | st.sampled_from(["k1", "k2", ""])),
    st.tuples(st.just("update_title"), IDS, TEXTS),
    st.tuples(st.just("delete_conversation"), IDS),
    st.tuples(st.just("get_messages"), IDS),
    st.tuples(st.just("get_recent_messages"), IDS, st.integers(-1, 5)),
    st.tuples(st.just("conversation_exists"), IDS),
    st.tuples(st.just("get_conversation"), IDS),
    st.tuples(st.just("walk_messages"), IDS, st.integers(0, 3)),
    st.tuples(st.just("walk_conversations"), st.integers(0, 3)),
    st.tuples(st.just("list_conversations")),
)


def without_times(value: Any) -> Any:
    """Return a result without what two storages need not share: times and opaque message ids."""
    if is_dict(value):
        return {k: without_times(v) for k, v in value.items() if k not in {"created_at", "updated_at"}}
    return [without_times(element) for element in value] if is_list(value) else value


def is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


class Subject:
    """A storage of its own ids, so that examples can share one; answers are without the prefix."""

    def __init__(self, storage: StoragePort, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix

    async def answer(self, step: Step) -> Any:
        name, *arguments = step
        try:
            return without_times(await self._call(name, arguments))
        except (StorageError, TypeError) as error:
            return type(error).__name__

    async def _call(self, name: str, arguments: list[Any]) -> Any:
        if name in {"walk_conversations", "list_conversations"}:
            pages = self._conversation_pages if name == "walk_conversations" else self._list
            return [self._mine(row) for row in await pages(*arguments) if row["id"].startswith(self._prefix)]
        # An impossible id stays impossible: the prefix would make the empty one a good one.
        known = self._prefix + arguments[0] if 0 < len(arguments[0]) < 256 else arguments[0]
        if name == "walk_messages":
            return await self._message_pages(known, arguments[1])
        if name == "append_messages":
            return await self._storage.append_messages(known, arguments[1], idempotency_key=arguments[2])
        method: Callable[..., Awaitable[Any]] = getattr(self._storage, name)
        result = await method(known, *arguments[1:])
        return self._mine(result) if name == "get_conversation" and result else result

    def _mine(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "id": row["id"].removeprefix(self._prefix)}

    async def _list(self) -> list[dict[str, Any]]:
        return await self._storage.list_conversations()

    async def _conversation_pages(self, limit: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = await self._storage.page_conversations(limit=limit, after=after)
            rows += [dict(row) for row in page["items"]]
            after = page["next"]
            if after is None:
                return rows

    async def _message_pages(self, known: str, limit: int) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page = await self._storage.page_messages(known, limit=limit, after=after)
            items += [{"role": item["role"], "content": item["content"]} for item in page["items"]]
            after = page["next"]
            if after is None:
                return items


async def compare(memory: StoragePort, postgresql: StoragePort, steps: Sequence[Step]) -> None:
    prefix = uuid.uuid4().hex
    subjects = Subject(memory, prefix), Subject(postgresql, prefix)
    for step in [*steps, ("list_conversations",), ("walk_conversations", 2)]:
        expected, answer = [await subject.answer(step) for subject in subjects]
        assert answer == expected, f"PostgreSQL and memory disagree on {step!r}"


def test_memory_and_postgresql_agree_on_every_answer(database_url: str) -> None:
    memory, postgresql = MemoryStorage(), PostgreSQLStorage(database_url)
    with asyncio.Runner() as runner:

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(STEPS, max_size=15))
        def agree(steps: list[Step]) -> None:
            runner.run(compare(memory, postgresql, steps))

        agree()
        runner.run(postgresql.aclose())
