"""What the demo does with conversations once they are stored, the same on every storage."""

from typing import Final

from chitchat import agent, terminal
from chitchat.dataset import Conversation, typical
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort

_QUESTIONS: Final = (
    "Do you remember the first thing I told you?",
    "What was the longest?",
    "How much have we said to each other?",
)


def show_installed() -> None:
    """Print every storage that this Python could use, without importing any of them."""
    for row in StorageFactory.describe():
        origin = f"{row['distribution']} {row['version']}" if row["distribution"] else f"from {row['source']}"
        state = origin if row["installed"] else "not installed"
        terminal.say(f"{row['name']:<12} {state:<34} {row['target']}")
    terminal.say(f"StorageFactory.available() is {StorageFactory.available()}")


async def show_use(storage: StoragePort, conversations: list[Conversation], *, part: int) -> None:
    """Continue one conversation the way an agent does, list the newest and print a transcript.

    Args:
        storage: where they are stored.
        conversations: the ones that this run stored; others in the storage are neither shown nor touched.
        part: number of the first heading.

    """
    chosen = typical(conversations).id
    terminal.heading(f"{part}. An agent continues one of them, turn by turn")
    await _continue(storage, chosen)
    terminal.heading(f"{part + 1}. The newest conversations")
    await _list_newest(storage, {conversation.id for conversation in conversations})
    terminal.heading(f"{part + 2}. The continued conversation, read back")
    await _print_transcript(storage, chosen)


async def _continue(storage: StoragePort, conversation_id: str) -> None:
    for question in _QUESTIONS:
        terminal.message("user", question)
        terminal.message("assistant", await agent.turn(storage, conversation_id, question))
    terminal.say(f"and its title is now {await agent.name(storage, conversation_id)!r}")


async def _list_newest(storage: StoragePort, ours: set[str]) -> None:
    page = await storage.page_conversations(limit=50)
    for row in [row for row in page["items"] if row["id"] in ours][:5]:
        when = row["created_at"][:19].replace("T", " ")
        terminal.say(f"{when}  {row['message_count']:>5} messages  {row['title']}")


async def _print_transcript(storage: StoragePort, conversation_id: str) -> None:
    row = await storage.get_conversation(conversation_id)
    if row is not None:
        terminal.say(f"{row['title']} ({row['message_count']} messages)")
        terminal.say()
    for message in await storage.get_messages(conversation_id):
        terminal.message(message["role"], message["content"])
