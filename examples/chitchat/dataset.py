"""Real conversations to store: 7,168 of them, 258,145 messages, from the package ``chitchat-dataset``.

People wrote to each other in pairs; here the one who began is the user, the other one the assistant.
Knows nothing of storages.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from typing import Any, Final, Required, TypedDict

TOTAL: Final = 7168

_LONGEST_TITLE: Final = 60


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it is going to be stored."""

    id: str
    title: str
    metadata: dict[str, Any]
    messages: list[dict[str, str]]
    """Dicts with ``role`` and ``content``: the shape in which a storage takes and returns them."""


class _Message(TypedDict):
    text: str
    timestamp: str
    sender: str


class _Conversation(TypedDict, total=False):
    messages: Required[list[list[_Message]]]
    """In turns: what one person wrote before the other one answered."""
    prompt: str
    ratings: dict[str, Any]
    start: str


def read_conversations(count: int | None = None, *, prefix: str = "") -> list[Conversation]:
    """Return the first ``count`` conversations (None for all), ``prefix`` put before their ids."""
    text = files("chitchat_dataset").joinpath("dataset.json").read_text("utf-8")
    raw: dict[str, _Conversation] = json.loads(text)
    return [_conversation(prefix + name, each) for name, each in islice(raw.items(), count)]


def typical(conversations: Sequence[Conversation]) -> Conversation:
    """Return the first that reads well in a terminal: not long, and both people say something."""
    for conversation in conversations:
        messages = conversation.messages
        answers = sum(message["role"] == "assistant" for message in messages)
        if 8 <= len(messages) <= 14 and answers >= 4 and all(len(m["content"]) <= 80 for m in messages):
            return conversation
    return conversations[0]


def _conversation(conversation_id: str, raw: _Conversation) -> Conversation:
    spoken = [message for turn in raw["messages"] for message in turn]
    prompt = raw.get("prompt", "Chit-chat")
    return Conversation(
        id=conversation_id,
        title=prompt if len(prompt) <= _LONGEST_TITLE else prompt[: _LONGEST_TITLE - 3] + "...",
        metadata={
            "prompt": prompt,
            "ratings": raw.get("ratings", {}),
            "start": raw.get("start", ""),
        },
        messages=[
            {
                "role": "user" if message["sender"] == spoken[0]["sender"] else "assistant",
                "content": message["text"],
            }
            for message in spoken
        ],
    )
