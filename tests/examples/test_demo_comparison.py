"""The comparison behind the demos sees every way in which a storage could break its promise."""

from dataclasses import replace
from typing import Final

import pytest

from chitchat.checking import compare
from chitchat.dataset import Conversation
from corail.storage.memory import MemoryStorage

pytestmark = pytest.mark.anyio

_TEXTS: Final = ["one", "two", "two", "three"]


def _messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text} for text in texts]


@pytest.fixture
def conversation() -> Conversation:
    return Conversation("chat-1", "", {}, _messages(*_TEXTS))


async def _holding(*texts: str) -> MemoryStorage:
    storage = MemoryStorage()
    await storage.append_messages("chat-1", _messages(*texts))
    return storage


async def test_an_identical_conversation_is_good(conversation: Conversation) -> None:
    result = await compare(await _holding(*_TEXTS), [conversation], {"chat-1": 4})
    assert (result.good, result.identical, result.messages, result.unacknowledged) == (True, 1, 4, 0)


async def test_lost_messages_are_counted(conversation: Conversation) -> None:
    result = await compare(await _holding("one", "two"), [conversation], {"chat-1": 4})
    assert (result.good, result.lost) == (False, 2)


async def test_a_lost_conversation_is_counted(conversation: Conversation) -> None:
    result = await compare(MemoryStorage(), [conversation], {"chat-1": 4})
    assert (result.good, result.lost) == (False, 4)


@pytest.mark.parametrize(
    "stored",
    [
        ("one", "two", "two", "three", "three"),
        ("one", "one", "two", "two", "three"),
        ("one", "two", "two", "two"),
        ("two", "one", "two", "three"),
        ("one", "two", "two", "thre"),
    ],
)
async def test_doubled_altered_and_misplaced_messages_are_seen(
    conversation: Conversation, stored: tuple[str, ...]
) -> None:
    result = await compare(await _holding(*stored), [conversation], {"chat-1": 4})
    assert (result.good, result.different) == (False, 1)


async def test_a_wrong_role_is_seen(conversation: Conversation) -> None:
    other = replace(
        conversation, messages=[*conversation.messages[:3], {"role": "assistant", "content": "three"}]
    )
    result = await compare(await _holding(*_TEXTS), [other], {"chat-1": 4})
    assert (result.good, result.different) == (False, 1)


async def test_a_torn_batch_is_seen(conversation: Conversation) -> None:
    result = await compare(await _holding("one", "two"), [conversation], {})
    assert (result.good, result.torn) == (False, 1)


async def test_a_conversation_stored_message_by_message_may_be_in_part(conversation: Conversation) -> None:
    result = await compare(await _holding("one", "two"), [conversation], {"chat-1": 1}, by_message={"chat-1"})
    assert (result.good, result.unacknowledged, result.identical) == (True, 1, 0)
