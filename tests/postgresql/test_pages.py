"""Pages of conversations: ties, hostile ids, and changes between two pages; and how they are planned."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from corail.storage.postgresql import PostgreSQLStorage, _sql
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio

IDS = [
    "a",
    "b",
    "A",
    "a\x00",
    "\x00",
    "\x01",
    "\ud7ff",
    "\ud800",
    "\udfff",
    "\ue000",
    "é",
    "e\u0301",
    "\U0001f600",
]


async def walk(storage: PostgreSQLStorage, limit: int) -> list[str]:
    ids: list[str] = []
    after: str | None = None
    while True:
        page = await storage.page_conversations(limit=limit, after=after)
        assert len(page["items"]) <= limit
        ids += [row["id"] for row in page["items"]]
        after = page["next"]
        if after is None:
            return ids


async def test_conversations_created_in_the_same_instant_have_one_fixed_order(
    storage: PostgreSQLStorage, observer: Observer
) -> None:
    shuffled = random.Random(3).sample(IDS, len(IDS))  # noqa: S311 - the same order every time
    for conversation_id in shuffled:
        await storage.create_conversation(conversation_id)
    await observer.execute("UPDATE conversations SET created_at = '2026-01-01'")
    # Newest first, and so the ids of one instant from the last to the first.
    expected = sorted(IDS, reverse=True)
    assert [row["id"] for row in await storage.list_conversations()] == expected
    for limit in (1, 2, 5, len(IDS), 1000):
        assert await walk(storage, limit) == expected


async def test_times_are_iso_8601_in_utc_whatever_the_session_is_set_to(
    url: str, open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    storage = open_storage(
        with_parameters(
            url, timezone="Asia/Kathmandu", datestyle="German", lc_time="C", intervalstyle="iso_8601"
        )
    )
    await storage.append_message("c", "user", "hello")
    # No fraction of a second, and one that ends in zeros: both are written in full.
    expected = {
        "created_at": "2026-01-01T22:00:00.000000+00:00",
        "updated_at": "2026-12-31T23:59:59.100000+00:00",
    }
    await observer.execute("UPDATE conversations SET created_at = '2026-01-01 23:00:00+01'")
    await observer.execute("UPDATE conversations SET updated_at = '2026-12-31 23:59:59.1Z'")
    await observer.execute("UPDATE messages SET created_at = '2026-06-01 00:00:00.000001Z'")
    (item,) = (await storage.page_messages("c"))["items"]
    assert item.get("created_at") == "2026-06-01T00:00:00.000001+00:00"
    page = await storage.page_conversations()
    for row in (*await storage.list_conversations(), *page["items"], await storage.get_conversation("c")):
        assert row is not None
        assert {column: row.get(column) for column in expected} == expected


async def test_what_comes_and_goes_between_two_pages_repeats_and_skips_nothing(
    storage: PostgreSQLStorage,
) -> None:
    for number in range(9):
        await storage.create_conversation(f"c{number}")
    first = await storage.page_conversations(limit=3)
    assert [row["id"] for row in first["items"]] == ["c8", "c7", "c6"]
    await storage.create_conversation("newer")
    await storage.delete_conversation("c6")  # where the next page begins
    await storage.delete_conversation("c4")
    await storage.append_message("c0", "user", "x")  # an append does not move a conversation
    second = await storage.page_conversations(limit=3, after=first["next"])
    assert [row["id"] for row in second["items"]] == ["c5", "c3", "c2"]
    third = await storage.page_conversations(limit=3, after=second["next"])
    assert [row["id"] for row in third["items"]] == ["c1", "c0"]
    assert third["next"] is None


async def test_an_exactly_full_last_page_has_no_next(storage: PostgreSQLStorage) -> None:
    for number in range(4):
        await storage.create_conversation(f"c{number}")
        await storage.append_message("c0", "user", str(number))
    assert (await storage.page_conversations(limit=4))["next"] is None
    assert (await storage.page_conversations(limit=3))["next"] is not None
    assert (await storage.page_messages("c0", limit=4))["next"] is None
    page = await storage.page_messages("c0", limit=3)
    assert page["next"] is not None
    rest = await storage.page_messages("c0", limit=3, after=page["next"])
    assert [item["content"] for item in rest["items"]] == ["3"]
    # After the last one there is nothing yet, and then there is.
    last = rest["items"][-1].get("id")
    assert (await storage.page_messages("c0", after=last))["items"] == []
    await storage.append_message("c0", "user", "4")
    assert [item["content"] for item in (await storage.page_messages("c0", after=last))["items"]] == ["4"]


def nodes(plan: dict[str, Any]) -> set[str]:
    return {plan["Node Type"]}.union(*(nodes(child) for child in plan.get("Plans", [])))


ARGUMENTS = {
    "first_page": ["51"],
    "next_page": ["51", "now() - interval '10 minutes'", "'c600'"],
    "messages": ["'c7'"],
    "recent": ["'c7'", "5"],
    "page_messages": ["'c7'", "3", "51"],
    "row": ["'c7'"],
    "exists": ["'c7'"],
    "created_at": ["'c7'"],
    "title": ["'c7'", "'t'"],
    "delete": ["'c7'", "now()"],
    "find_keyed": ["'c7'", "ARRAY[gen_random_uuid()]"],
    "many_messages": ["ARRAY['c7', 'c8']"],
    "many_exist": ["ARRAY['c7', 'c8']"],
}


async def test_no_call_reads_much_more_than_it_returns(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    await storage.create_conversation("first use")
    await observer.execute(
        """
        INSERT INTO conversations (id, created_at, last_id, message_count)
        SELECT 'c' || n, now() - n * interval '1 second', 20, 20 FROM generate_series(1, 2000) AS n
        """
    )
    await observer.execute(
        """
        INSERT INTO messages (conversation_id, id, uid, role, content)
        SELECT 'c' || n, m, gen_random_uuid(), 'user', repeat('x', 200)
        FROM generate_series(1, 2000) AS n, generate_series(1, 20) AS m
        """
    )
    await observer.execute("ANALYZE conversations; ANALYZE messages")
    statements = _sql.statements(schema)
    for name, arguments in ARGUMENTS.items():
        sql: str = getattr(statements, name)
        for position, value in reversed(list(enumerate(arguments, 1))):
            sql = sql.replace(f"${position}", value)
        explained = await observer.fetchval(f"EXPLAIN (FORMAT JSON) {sql}")
        used = nodes(json.loads(explained)[0]["Plan"])
        assert "Seq Scan" not in used, name
        if name.endswith("page"):
            # In the order of the index: sorting would read every conversation for each page.
            assert not used & {"Sort", "Incremental Sort"}, name
