"""Every Python string comes back from PostgreSQL as it went in, and sorts there as it does here."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._text import escape, escape_metadata, unescape, unescape_metadata
from tests.postgresql.observing import Observer

SPECIAL = (
    "\x00\x01\x02\x03\x7f\x80\ud7fe\ud7ff\ud800\udbff\udc00\udfff\ue000\ufeff\ufffe\uffff\U00010000\U0010ffff"
)
CHARACTERS = st.one_of(st.sampled_from(SPECIAL), st.characters(categories=None))
TEXT = st.text(CHARACTERS, max_size=40)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(-(2.0**53) + 1, 2.0**53 - 1, allow_nan=False),
    TEXT,
)
METADATA = st.dictionaries(
    TEXT,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(TEXT)
@example("\x00\x01\x02")
@example("\ud7ff\x02\ud7ff\x80")
@example("\ud83d\ude00")
def test_escaping_is_undone(text: str) -> None:
    escaped = escape(text)
    assert unescape(escaped) == text
    assert "\x00" not in escaped
    escaped.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x01\ud7ff")))
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert escape(text) == text


@given(TEXT, TEXT)
@example("\x00", "\x01\x01")
@example("\ud7ff", "\ud7ff\x02")
@example("\ud7ff\x02", "\ud7ff")
@example("\udfff", "\ue000")
@example("\ud7ff\U0010ffff", "\ud800")
@example("\ud7ff", "\ud800")
@example("\ud7ff\x01", "\ud7ff\x02")
def test_different_texts_stay_different_and_in_order(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)
    assert (escape(one).encode() < escape(other).encode()) == (one < other)


@given(st.lists(CHARACTERS, min_size=255, max_size=255).map("".join))
@settings(max_examples=20)
def test_an_id_takes_at_most_six_bytes_per_character(text: str) -> None:
    assert len(escape(text).encode()) <= 1530


def test_the_longest_id_of_the_worst_character_takes_1530_bytes() -> None:
    assert max(len(escape(chr(code) * 255).encode()) for code in range(0xD7FF, 0xE000)) == 1530


@given(METADATA)
def test_metadata_is_escaped_and_back_keys_included(metadata: dict[str, Any]) -> None:
    escaped = escape_metadata(metadata)
    assert unescape_metadata(escaped) == metadata
    assert len(escaped) == len(metadata)
    repr(escaped).encode("utf-8")


@pytest.mark.anyio
async def test_the_server_sorts_and_returns_hostile_texts_as_python_does(observer: Observer) -> None:
    chance = random.Random(2026)  # noqa: S311 - the same texts every time
    texts = {"".join(chance.choices(SPECIAL, k=chance.randrange(5))) for _ in range(6_000)}
    texts |= {chr(code) for code in range(0x110000) if code % 97 == 0 or 0xD7F0 <= code <= 0xE010}
    rows = await observer.fetch(
        'SELECT t FROM unnest($1::text[]) AS t ORDER BY t COLLATE "C"', [escape(text) for text in texts]
    )
    assert [unescape(row["t"]) for row in rows] == sorted(texts)


@pytest.mark.anyio
@given(conversation_id=TEXT.filter(bool), role=TEXT.filter(bool), content=TEXT, title=TEXT)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_ids_roles_contents_and_titles_come_back_equal(
    storage: PostgreSQLStorage, conversation_id: str, role: str, content: str, title: str
) -> None:
    await storage.append_message(conversation_id, role, content)
    await storage.update_title(conversation_id, title)
    row = await storage.get_conversation(conversation_id)
    assert row is not None
    assert (row["id"], row["title"]) == (conversation_id, title)
    assert (await storage.get_messages(conversation_id))[-1] == {"role": role, "content": content}
    page = await storage.page_messages(conversation_id, limit=1000)
    assert (page["items"][-1]["role"], page["items"][-1]["content"]) == (role, content)
    await storage.delete_conversation(conversation_id)
    assert not await storage.conversation_exists(conversation_id)


@pytest.mark.anyio
@given(metadata=METADATA)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_metadata_comes_back_equal(storage: PostgreSQLStorage, metadata: dict[str, Any]) -> None:
    await storage.create_conversation("c", metadata)
    row = await storage.get_conversation("c")
    assert row is not None
    assert row.get("metadata") == metadata
    await storage.delete_conversation("c")


@pytest.mark.anyio
async def test_two_adjacent_lone_surrogates_are_not_the_character_they_would_make(
    storage: PostgreSQLStorage,
) -> None:
    metadata = {"\ud83d\ude00": "\ud83d\ude00", "\U0001f600": "\U0001f600", "list": ["\ud83d", "\ude00"]}
    await storage.create_conversation("c", metadata)
    row = await storage.get_conversation("c")
    assert row is not None
    assert row.get("metadata") == metadata


@pytest.mark.anyio
async def test_equal_looking_ids_are_different_conversations(storage: PostgreSQLStorage) -> None:
    ids = ["é", "e\u0301", "É", "\ud83d\ude00", "\U0001f600", "\x00", "\x01\x01", "\x01", "a", "a ", "A"]
    for conversation_id in ids:
        await storage.append_message(conversation_id, "user", conversation_id)
    for conversation_id in ids:
        assert await storage.get_messages(conversation_id) == [{"role": "user", "content": conversation_id}]
    assert [row["id"] for row in await storage.list_conversations()] == ids[::-1]


@pytest.mark.anyio
@pytest.mark.parametrize("character", ["\x00", "\x01", "\ud7ff", "\udfff", "\U0010ffff", "x"])
async def test_the_longest_ids_roles_keys_and_contents_fit(
    open_storage: Callable[..., PostgreSQLStorage], character: str
) -> None:
    storage = open_storage(max_content_bytes=3_000)
    conversation_id, role, key = character * 255, character * 64, character * 255
    content = character * (3_000 // max(1, len(character.encode("utf-8", "surrogatepass"))))
    for _ in range(2):
        await storage.append_messages(
            conversation_id, [{"role": role, "content": content}], idempotency_key=key
        )
    assert await storage.get_messages(conversation_id) == [{"role": role, "content": content}]
