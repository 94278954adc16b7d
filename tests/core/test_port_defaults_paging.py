"""The default pages: nothing twice, nothing missing, whatever happens between two of them."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corail.storage.cursors import decode_cursor, encode_cursor, parse_instant
from corail.storage.errors import InvalidInputError
from corail.storage.rows import ConversationPage, MessagePage
from tests.core.six_methods import SixMethods

IDS = st.text(st.characters(), min_size=1, max_size=12)
UNREADABLE = ("not a time", "0001-01-01T00:00:00+23:59")  # the second is before the first day in UTC
# Few enough for ties, and written in every way that ISO 8601 has for one instant.
TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.000001+00:00",
        "2026-01-02T00:00:00+00:00",
        *UNREADABLE,
    ]
)


class Listed(SixMethods):
    """Lists what the test says, in another order each time."""

    def __init__(self, times: dict[str, str]) -> None:
        super().__init__()
        self.times = times
        self.random = random.Random(0)  # noqa: S311 - an order, not a secret

    async def list_conversations(self) -> list[dict[str, Any]]:
        rows = [
            {"id": name, "title": "", "created_at": time, "message_count": 0}
            for name, time in self.times.items()
        ]
        self.random.shuffle(rows)
        return rows


def page(storage: Listed, limit: int, after: str | None) -> tuple[list[str], str | None]:
    """One page as ids, and the cursor of the next."""
    found: ConversationPage = asyncio.run(storage.page_conversations(limit=limit, after=after))
    assert len(found["items"]) == limit if found["next"] is not None else len(found["items"]) <= limit
    return [row["id"] for row in found["items"]], found["next"]


def rest(storage: Listed, limit: int, after: str | None = None) -> list[str]:
    """All ids from ``after`` on, page by page."""
    ids, following = page(storage, limit, after)
    while following is not None:
        more, following = page(storage, limit, following)
        ids += more
    return ids


@given(st.dictionaries(IDS, TIMES, max_size=8), st.integers(1, 9))
def test_every_conversation_is_on_one_page_in_the_same_order(times: dict[str, str], limit: int) -> None:
    storage = Listed(times)
    ids = rest(storage, limit)
    assert sorted(ids) == sorted(times)
    assert ids == rest(storage, 1) == rest(storage, 9)


@given(st.dictionaries(IDS, TIMES, max_size=8), st.integers(1, 9))
def test_the_newest_come_first_and_what_has_no_time_last(times: dict[str, str], limit: int) -> None:
    ids = rest(Listed(times), limit)
    timed = [parse_instant(times[name]) for name in ids if times[name] not in UNREADABLE]
    assert timed == sorted(timed, reverse=True)
    assert all(times[name] in UNREADABLE for name in ids[len(timed) :])


@given(
    st.dictionaries(IDS, TIMES, min_size=2, max_size=8),
    st.integers(1, 7),
    st.dictionaries(IDS, TIMES, max_size=3),
    st.data(),
)
def test_what_comes_and_goes_between_pages_moves_nothing_else(
    times: dict[str, str], limit: int, created: dict[str, str], data: st.DataObject
) -> None:
    storage = Listed(dict(times))
    whole = rest(storage, 9)
    seen, following = page(storage, limit, None)
    deleted = data.draw(st.sets(st.sampled_from(sorted(times))))
    created = {name: time for name, time in created.items() if name not in times}
    storage.times = {**{n: t for n, t in times.items() if n not in deleted}, **created}
    if following is not None:
        seen += rest(storage, limit, following)
    assert len(seen) == len(set(seen))  # nothing twice
    kept = [name for name in whole if name not in deleted]
    # Nothing that stayed is missing, and in the order it had.
    assert [name for name in seen if name in kept] == kept


def test_a_page_may_continue_after_a_conversation_that_is_gone() -> None:
    storage = Listed(dict.fromkeys("abcde", "2026-01-01T00:00:00Z"))
    first, following = page(storage, 2, None)
    assert first == ["e", "d"]
    storage.times = dict.fromkeys("abc", "2026-01-01T00:00:00Z")
    assert rest(storage, 2, following) == ["c", "b", "a"]


def test_the_last_page_may_be_full_and_says_that_it_is_the_last() -> None:
    storage = Listed(dict.fromkeys("abcd", "2026-01-01T00:00:00Z"))
    assert page(storage, 4, None) == (["d", "c", "b", "a"], None)
    assert page(Listed({}), 4, None) == ([], None)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_of_an_impossible_size_is_refused(limit: int) -> None:
    with pytest.raises(InvalidInputError, match="one page holds 1 to 1000 items"):
        asyncio.run(Listed({}).page_conversations(limit=limit))
    with pytest.raises(InvalidInputError, match="one page holds 1 to 1000 items"):
        asyncio.run(Listed({}).page_messages("c", limit=limit))


@given(IDS, st.datetimes())
@example("\ud83d\ude00\n\x00", parse_instant("0001-01-01"))
def test_a_cursor_comes_back_as_what_it_was_made_of(name: str, instant: Any) -> None:
    cursor = encode_cursor(instant.isoformat(), name)
    assert cursor.isascii()
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    assert decode_cursor(cursor) == (parse_instant(instant.isoformat()), name)


@given(st.text(st.characters(), max_size=40) | st.text("ABCabc019-_=", max_size=40))
@example("")
@example("=")
@example("\u00b2")
@example("-1")
@example("9" * 19)
@example("MjAyNi0wMS0wMQ==")
@example(encode_cursor("0001-01-01T00:00:00+23:59", "c"))  # before the first instant in UTC
@example(encode_cursor("9999-12-31T23:59:59-23:59", "c"))  # after the last
@example(encode_cursor("2026-01-01", ""))
def test_any_other_text_is_refused_as_a_cursor(text: str) -> None:
    try:
        decode_cursor(text)
    except InvalidInputError as error:
        assert str(error) == "after is not a cursor of this method; pass the 'next' of an earlier page."  # noqa: PT017
    storage = SixMethods()
    for ask in (storage.page_conversations(after=text), storage.page_messages("c", after=text)):
        try:
            asyncio.run(ask)
        except InvalidInputError as error:
            assert "pass the 'next' of an earlier page" in str(error)  # noqa: PT017


@pytest.mark.parametrize("after", ["", "-1", "1.0", " 1", "1 ", "+1", "\u00b2", "\u0661", "9" * 19, "x"])
def test_a_cursor_of_messages_is_a_count_in_plain_digits(after: str) -> None:
    with pytest.raises(InvalidInputError, match="after is not a cursor"):
        asyncio.run(SixMethods().page_messages("c", after=after))


def test_a_cursor_of_another_type_is_a_type_error() -> None:
    for ask in (SixMethods().page_conversations, Listed({}).page_conversations):
        with pytest.raises(TypeError, match="after must be a str, not int"):
            asyncio.run(ask(after=3))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@given(st.integers(0, 7), st.integers(1, 4), st.integers(0, 5))
def test_pages_of_messages_follow_a_conversation_that_grows(before: int, limit: int, more: int) -> None:
    async def read() -> list[str]:
        storage = SixMethods()
        await storage.append_messages("c", [{"role": "user", "content": str(n)} for n in range(before)])
        seen: list[str] = []
        found: MessagePage = await storage.page_messages("c", limit=limit)
        grown = False
        while True:
            seen += [item["content"] for item in found["items"]]
            if found["next"] is None:
                return seen
            if not grown:
                later = [{"role": "user", "content": str(before + n)} for n in range(more)]
                await storage.append_messages("c", later)
                grown = True
            found = await storage.page_messages("c", limit=limit, after=found["next"])

    expected = before + (more if before > limit else 0)
    assert asyncio.run(read()) == [str(n) for n in range(expected)]


def test_pages_of_an_unknown_conversation_are_empty() -> None:
    assert asyncio.run(SixMethods().page_messages("unknown")) == {"items": [], "next": None}


def test_items_have_the_keys_of_the_contract_only() -> None:
    class Chatty(SixMethods):
        async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
            return [{"role": "user", "content": conversation_id, "internal": "column"}]

    found = asyncio.run(Chatty().page_messages("c"))
    assert found == {"items": [{"role": "user", "content": "c"}], "next": None}
