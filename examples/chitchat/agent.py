"""An agent that keeps nothing between two turns: all it knows, it reads from the storage.

The calls are the ones a real agent makes, in the same order. Only ``_answer`` is a toy: put a
language model there.
"""

from collections.abc import Sequence

from corail.storage.port import StoragePort


async def turn(storage: StoragePort, conversation_id: str, question: str) -> str:
    """Answer one message of a user and store both; start the conversation if it is new."""
    if not await storage.conversation_exists(conversation_id):
        await storage.create_conversation(conversation_id, {"channel": "demo"})
    history = await storage.get_messages(conversation_id)
    # Stored before the answer is made: whatever happens to the model, the question is not lost.
    await storage.append_message(conversation_id, "user", question)
    answer = _answer(history, question)
    await storage.append_message(conversation_id, "assistant", answer)
    return answer


async def name(storage: StoragePort, conversation_id: str) -> str:
    """Name the conversation after its first message, and return the title."""
    page = await storage.page_messages(conversation_id, limit=1)
    title = f"About: {page['items'][0]['content']}" if page["items"] else "Empty"
    await storage.update_title(conversation_id, title)
    return title


def _answer(history: Sequence[dict[str, str]], question: str) -> str:
    said = [message["content"] for message in history if message["role"] == "user"]
    if not said:
        return "Nice to meet you."
    if "first" in question:
        return f"The first thing you told me was: {said[0]!r}"
    if "longest" in question:
        return f"The longest was: {max(said, key=len)!r}"
    return f"There are {len(history)} messages between us before this one, {len(said)} of them yours."
