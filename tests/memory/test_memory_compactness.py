"""A whole public dataset goes in, takes little more room than its text, and comes back identical."""

import gc
import json
import sys
import tracemalloc
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import anyio
import pytest

from corail.storage.memory import MemoryStorage

Conversations = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def conversations() -> Conversations:
    # Read as a file: the package's own reader leaves it open.
    text = (files("chitchat_dataset") / "dataset.json").read_text(encoding="utf-8")
    data: dict[str, dict[str, Any]] = json.loads(text)
    loaded: Conversations = {}
    for conversation_id, conversation in data.items():
        messages = [message for turn in conversation["messages"] for message in turn]
        first = messages[0]["sender"]
        loaded[conversation_id] = [
            ("user" if message["sender"] == first else "assistant", message["text"]) for message in messages
        ]
    return loaded


def test_the_dataset_comes_back_identical(conversations: Conversations) -> None:
    async def main() -> None:
        storage = await _filled(conversations)
        rows = await storage.list_conversations()
        assert [row["id"] for row in rows] == list(reversed(conversations))
        for conversation_id, messages in conversations.items():
            stored = await storage.get_messages(conversation_id)
            assert [(message["role"], message["content"]) for message in stored] == messages

    anyio.run(main)


def test_the_dataset_takes_a_fraction_of_a_dict_per_message(conversations: Conversations) -> None:
    count = sum(map(len, conversations.values()))
    assert count == 258_145

    def dicts() -> object:
        return {
            _copied(conversation_id): [{"role": role, "content": _copied(text)} for role, text in messages]
            for conversation_id, messages in conversations.items()
        }

    def memory() -> object:
        return anyio.run(_filled, conversations)

    plain, compact = _traced(dicts), _traced(memory)
    sys.stdout.write(
        f"{count} messages: {plain / count:.1f} bytes each as dicts, "
        f"{compact / count:.1f} in MemoryStorage, {compact / plain:.3f} of it\n"
    )
    assert compact < 0.45 * plain


def test_a_conversation_without_messages_takes_about_a_kilobyte() -> None:
    def thousand() -> object:
        async def main() -> MemoryStorage:
            storage = MemoryStorage()
            for number in range(1_000):
                await storage.create_conversation(f"conversation {number}")
            return storage

        return anyio.run(main)

    assert _traced(thousand) < 1_500 * 1_000


async def _filled(conversations: Conversations) -> MemoryStorage:
    storage = MemoryStorage()
    for conversation_id, messages in conversations.items():
        known = _copied(conversation_id)
        for role, content in messages:
            await storage.append_message(known, role, content)
    return storage


def _copied(text: str) -> str:
    # A string of its own, as one that was read from a socket.
    return text.encode().decode()


def _traced(build: Callable[[], object]) -> int:
    """Return the bytes that what is built occupies."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        built = build()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        del built
    finally:
        tracemalloc.stop()
    return after - before
