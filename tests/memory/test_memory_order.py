"""Lists and pages keep the order of creation, whatever the clock does and whatever is deleted."""

import time
from datetime import UTC, datetime

import pytest

from corail.storage.errors import InvalidInputError
from corail.storage.memory import MemoryStorage
from corail.storage.rows import MessageItem

pytestmark = pytest.mark.anyio

NOON = int(datetime(2031, 5, 1, 12, tzinfo=UTC).timestamp())


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_clock_that_stands_still_makes_no_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: NOON * 10**9)
    storage = MemoryStorage()
    for conversation_id in "bac":
        await storage.create_conversation(conversation_id)
    rows = await storage.list_conversations()
    assert [(row["id"], row["created_at"]) for row in rows] == [
        ("c", "2031-05-01T12:00:00.000002+00:00"),
        ("a", "2031-05-01T12:00:00.000001+00:00"),
        ("b", "2031-05-01T12:00:00.000000+00:00"),
    ]


async def test_a_clock_that_goes_back_does_not_change_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    seconds = NOON
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)
    for conversation_id in "abc":
        await storage.append_message(conversation_id, "user", conversation_id)
        seconds -= 3600
    await storage.append_message("a", "user", "again")
    assert [row["id"] for row in await storage.list_conversations()] == ["c", "b", "a"]
    (first, second) = (await storage.page_messages("a"))["items"]
    assert first.get("created_at", "") < second.get("created_at", "")


async def test_messages_years_apart_keep_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    seconds = NOON
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)
    expected: list[str] = []
    for gap in (0, 1, 4_000, 10_000, 10**9):
        seconds += gap
        expected.append(datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds"))
        await storage.append_message("c", "user", "")
    page = await storage.page_messages("c")
    assert [item.get("created_at") for item in page["items"]] == expected
    row = await storage.get_conversation("c")
    assert row is not None
    assert (row["created_at"], row.get("updated_at")) == (expected[0], expected[-1])


async def test_updated_at_follows_appends_and_titles_only(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = MemoryStorage()
    seconds = NOON
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)

    async def updated() -> str | None:
        nonlocal seconds
        row = await storage.get_conversation("c")
        assert row is not None
        seconds += 60
        return row.get("updated_at")

    await storage.create_conversation("c")
    created = await updated()
    await storage.create_conversation("c", {"ignored": True})
    await storage.get_messages("c")
    await storage.append_messages("c", [])
    assert await updated() == created
    await storage.append_message("c", "user", "")
    appended = await updated()
    assert appended == "2031-05-01T12:02:00.000000+00:00"
    await storage.update_title("c", "")
    assert await updated() == "2031-05-01T12:03:00.000000+00:00"


async def test_pages_of_conversations_neither_repeat_nor_skip_across_deletes() -> None:
    storage = MemoryStorage()
    for number in range(20):
        await storage.create_conversation(str(number))
    first = await storage.page_conversations(limit=5)
    assert [row["id"] for row in first["items"]] == ["19", "18", "17", "16", "15"]
    # The row of the cursor, rows on both sides of it, and a new one on top.
    for gone in ("15", "17", "14", "12"):
        await storage.delete_conversation(gone)
    await storage.create_conversation("new")
    second = await storage.page_conversations(limit=5, after=first["next"])
    assert [row["id"] for row in second["items"]] == ["13", "11", "10", "9", "8"]
    # Deleted and created again: a new conversation, listed where new ones are.
    await storage.delete_conversation("3")
    await storage.create_conversation("3")
    third = await storage.page_conversations(limit=1000, after=second["next"])
    assert [row["id"] for row in third["items"]] == ["7", "6", "5", "4", "2", "1", "0"]
    assert third["next"] is None


@pytest.mark.parametrize("limit", [1, 3, 4, 10, 11, 1000])
async def test_pages_add_up_to_the_list(limit: int) -> None:
    storage = MemoryStorage()
    for number in range(10):
        await storage.append_message(f"{number}\n\ud800", "user", "x")
    listed: list[str] = []
    after: str | None = None
    while True:
        page = await storage.page_conversations(limit=limit, after=after)
        assert 1 <= len(page["items"]) <= limit
        listed += [row["id"] for row in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert listed == [row["id"] for row in await storage.list_conversations()]


async def test_a_page_of_nothing_is_the_last() -> None:
    storage = MemoryStorage()
    assert await storage.page_conversations() == {"items": [], "next": None}
    assert await storage.page_messages("unknown") == {"items": [], "next": None}
    assert await storage.page_messages("", after="7") == {"items": [], "next": None}
    await storage.create_conversation("c")
    assert await storage.page_messages("c") == {"items": [], "next": None}


async def test_message_ids_are_numbers_from_one_and_cursors_at_once() -> None:
    storage = MemoryStorage()
    for number in range(1, 8):
        await storage.append_message("c", "user", str(number))

    async def page(limit: int, after: str | None) -> tuple[list[str], str | None]:
        found = await storage.page_messages("c", limit=limit, after=after)
        assert [item["content"] for item in found["items"]] == _ids(found["items"])
        return _ids(found["items"]), found["next"]

    assert await page(3, None) == (["1", "2", "3"], "3")
    assert await page(3, "3") == (["4", "5", "6"], "6")
    assert await page(3, "6") == (["7"], None)
    assert await page(3, "7") == ([], None)
    assert await page(3, "0") == (["1", "2", "3"], "3")
    assert await page(1000, "999999999999999999") == ([], None)


async def test_a_reader_follows_a_growing_conversation_from_the_last_id() -> None:
    storage = MemoryStorage()
    seen: list[str] = []
    last: str | None = None
    for number in range(5):
        await storage.append_message("c", "user", str(number))
        page = await storage.page_messages("c", after=last)
        assert page["next"] is None
        seen += [item["content"] for item in page["items"]]
        last = _ids(page["items"])[-1]
    assert seen == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("after", ["", "-1", "1.0", " 1", "²", "\u0661", "x", "1" * 5000])
async def test_what_no_message_has_for_an_id_is_refused(after: str) -> None:
    storage = MemoryStorage()
    with pytest.raises(InvalidInputError, match="pass the 'next' of an earlier page"):
        await storage.page_messages("c", after=after)


async def test_what_is_no_cursor_is_refused() -> None:
    storage = MemoryStorage()
    for after in ("", "5", "not a cursor", "é"):
        with pytest.raises(InvalidInputError, match="not a cursor"):
            await storage.page_conversations(after=after)


def _ids(items: list[MessageItem]) -> list[str]:
    return [item.get("id", "") for item in items]
