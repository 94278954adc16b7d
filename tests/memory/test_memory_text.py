"""Whatever text goes in comes out, however the log's numbers must grow to hold it."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corail.storage.errors import InvalidInputError
from corail.storage.memory import MemoryStorage

# Surrogates included: by default hypothesis leaves them out.
ANY_CHARACTER = st.characters(exclude_categories=())
ROLES = st.text(ANY_CHARACTER, min_size=1, max_size=64)
CONTENTS = st.text(ANY_CHARACTER)
IDS = st.text(ANY_CHARACTER, min_size=1, max_size=255)

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@settings(max_examples=200, deadline=None)
@given(
    conversation_id=IDS,
    title=CONTENTS,
    batches=st.lists(st.lists(st.tuples(ROLES, CONTENTS), min_size=1, max_size=4), max_size=6),
)
def test_any_text_comes_back_from_every_read(
    conversation_id: str, title: str, batches: list[list[tuple[str, str]]]
) -> None:
    expected = [{"role": role, "content": content} for batch in batches for role, content in batch]

    async def main() -> None:
        storage = MemoryStorage()
        await storage.create_conversation(conversation_id, {title: [title, {"deep": title}]})
        await storage.update_title(conversation_id, title)
        for batch in batches:
            await storage.append_messages(
                conversation_id, [{"role": role, "content": content} for role, content in batch]
            )
        assert await storage.get_messages(conversation_id) == expected
        assert await storage.get_recent_messages(conversation_id, 3) == expected[-3:]
        page = await storage.page_messages(conversation_id)
        assert [(item["role"], item["content"]) for item in page["items"]] == [
            (message["role"], message["content"]) for message in expected
        ]
        row = await storage.get_conversation(conversation_id)
        assert row is not None
        assert (row["id"], row["title"]) == (conversation_id, title)
        assert row.get("metadata") == {title: [title, {"deep": title}]}
        assert (await storage.page_conversations())["items"] == [row]

    anyio.run(main)


async def test_surrogates_at_the_edges_of_two_messages_stay_apart() -> None:
    storage = MemoryStorage()
    halves = [{"role": "user", "content": "\ud83d"}, {"role": "user", "content": "\ude00"}]
    await storage.append_messages("c", halves)
    await storage.append_message("c", "user", "\ud83d\ude00")
    assert await storage.get_messages("c") == [*halves, {"role": "user", "content": "\ud83d\ude00"}]


async def test_lone_surrogates_in_metadata_do_not_join() -> None:
    storage = MemoryStorage()
    await storage.create_conversation("c", {"\ud83d\ude00": "\ud83d\ude00"})
    row = await storage.get_conversation("c")
    assert row is not None
    assert row.get("metadata") == {"\ud83d\ude00": "\ud83d\ude00"}


@pytest.mark.parametrize("sizes", [[65_535, 1], [65_536], [1, 70_000, 0, 2], [30_000, 30_000, 30_000]])
async def test_text_beyond_64_kib_stays_addressed(sizes: list[int]) -> None:
    storage = MemoryStorage()
    contents = [chr(ord("a") + number) * size for number, size in enumerate(sizes)]
    for content in contents:
        await storage.append_message("c", "user", content)
    assert [message["content"] for message in await storage.get_messages("c")] == contents
    assert (await storage.get_recent_messages("c", 1))[0]["content"] == contents[-1]


@pytest.mark.parametrize("count", [256, 257, 70_000])
async def test_every_message_may_have_a_role_of_its_own(count: int) -> None:
    storage = MemoryStorage()
    messages = [{"role": f"role {number}", "content": str(number)} for number in range(count)]
    await storage.append_message("c", "first", "")
    await storage.append_messages("c", messages)
    assert await storage.get_messages("c") == [{"role": "first", "content": ""}, *messages]


async def test_a_limit_of_bytes_is_honoured_and_named() -> None:
    storage = MemoryStorage(max_content_bytes=4)
    await storage.append_message("c", "user", "éé")
    await storage.update_title("c", "four")
    with pytest.raises(InvalidInputError, match="at most 4 are allowed"):
        await storage.append_message("c", "user", "ééé")
    with pytest.raises(InvalidInputError, match="at most 4 are allowed"):
        await storage.append_messages(
            "c", [{"role": "user", "content": "fine"}, {"role": "user", "content": "fives"}]
        )
    with pytest.raises(InvalidInputError, match="at most 4 are allowed"):
        await storage.update_title("unknown", "fives")
    assert await storage.get_messages("c") == [{"role": "user", "content": "éé"}]


async def test_a_message_that_one_append_takes_a_batch_takes_too() -> None:
    huge = "x" * (64 * 1024 * 1024 + 1)
    storage = MemoryStorage(max_content_bytes=len(huge))
    await storage.append_messages("c", [{"role": "user", "content": huge}], idempotency_key="once")
    await storage.append_messages("c", [{"role": "user", "content": huge}], idempotency_key="once")
    (message,) = await storage.get_messages("c")
    assert message["content"] == huge


async def test_what_is_returned_is_the_callers_to_change() -> None:
    storage = MemoryStorage()
    given: dict[str, object] = {"tags": ["a"], "nested": {"deep": [1]}}
    await storage.create_conversation("c", given)
    given["tags"] = "changed"
    for _ in range(2):
        row = await storage.get_conversation("c")
        assert row is not None
        metadata = row.get("metadata", {})
        assert metadata == {"tags": ["a"], "nested": {"deep": [1]}}
        metadata["tags"].append("b")
        metadata["nested"]["deep"].clear()
    await storage.create_conversation("bare")
    bare = await storage.get_conversation("bare")
    assert bare is not None
    bare.get("metadata", {})["mine"] = True
    assert [row["metadata"] for row in await storage.list_conversations()] == [
        {},
        {"tags": ["a"], "nested": {"deep": [1]}},
    ]
