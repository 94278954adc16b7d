"""Load conversations into the storage ``CORAIL_STORAGE`` names, and say so after each one.

A program of its own, so that ``demo_postgresql.py`` can kill it. Prints one line of JSON for each
acknowledgement: the id of a conversation and how many of its messages are stored by now. Started
again after a kill, it does everything again; idempotency keys keep what is there from being stored
twice.
"""

import json
import os
import sys

from chitchat import command
from chitchat.dataset import Conversation, read_conversations
from chitchat.loading import for_each, store
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = command.parser("Load conversations and print an acknowledgement for each.")
    parser.add_argument("--run", required=True, help="what their ids start with")
    options = parser.parse_args()
    return command.run(load(options.run, options.conversations))


async def load(run: str, count: int) -> int:
    """Load ``count`` conversations; return the exit code."""
    conversations = read_conversations(count, prefix=f"{run}:")
    message_by_message = {conversation.id for conversation in by_message(conversations)}
    async with StorageFactory.create() as storage:

        async def load_one(conversation: Conversation) -> None:
            if conversation.id in message_by_message:
                await _store_by_message(storage, conversation)
            else:
                await store(storage, conversation)
                _acknowledge(conversation, len(conversation.messages))

        await for_each(conversations, load_one)
    return 0


def by_message(conversations: list[Conversation]) -> list[Conversation]:
    """Return every tenth conversation: these are stored message by message, as agents do."""
    return conversations[::10]


async def _store_by_message(storage: StoragePort, conversation: Conversation) -> None:
    await storage.create_conversation(conversation.id, conversation.metadata)
    await storage.update_title(conversation.id, conversation.title)
    for number, message in enumerate(conversation.messages):
        await storage.append_messages(conversation.id, [message], idempotency_key=f"message {number}")
        _acknowledge(conversation, number + 1)


def _acknowledge(conversation: Conversation, stored: int) -> None:
    # Unbuffered, and atomic as every short write to a pipe: a kill leaves no half of a line.
    os.write(sys.stdout.fileno(), f"{json.dumps([conversation.id, stored])}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
