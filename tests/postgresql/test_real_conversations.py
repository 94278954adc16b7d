"""The whole of a real data set goes in and comes back identical."""

import asyncio
import json
from importlib.resources import files
from typing import Any

import pytest

from corail.storage.postgresql import PostgreSQLStorage

pytestmark = pytest.mark.anyio

WORKERS = 16


def conversations() -> dict[str, list[dict[str, str]]]:
    """Return every conversation of the data set: whoever speaks first is the user."""
    found: dict[str, list[dict[str, str]]] = {}
    # Not the package's own reader: that leaves the file open.
    dataset: dict[str, Any] = json.loads((files("chitchat_dataset") / "dataset.json").read_text("utf-8"))
    for name, conversation in dataset.items():
        utterances: list[dict[str, str]] = [
            utterance for turn in conversation["messages"] for utterance in turn
        ]
        first = utterances[0]["sender"] if utterances else ""
        found[name] = [
            {"role": "user" if said["sender"] == first else "assistant", "content": said["text"]}
            for said in utterances
        ]
    return found


async def test_every_real_conversation_comes_back_identical(database_url: str) -> None:
    originals = conversations()
    assert sum(map(len, originals.values())) == 258_145

    async with PostgreSQLStorage(database_url) as storage:
        names = iter(originals)

        async def load() -> None:
            for name in names:
                await storage.create_conversation(name)
                await storage.append_messages(name, originals[name])

        await asyncio.gather(*(load() for _ in range(WORKERS)))
        counts = {row["id"]: row["message_count"] for row in await storage.list_conversations()}
        assert counts == {name: len(messages) for name, messages in originals.items()}
        names = iter(originals)

        async def compare() -> None:
            for name in names:
                assert await storage.get_messages(name) == originals[name], name

        await asyncio.gather(*(compare() for _ in range(WORKERS)))
