"""A backend with the six published methods and nothing else."""

from typing import Any

from corail.storage.port import StoragePort


class SixMethods(StoragePort):
    """Complete as it is; its rows have a column that no caller should see."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, list[dict[str, str]]] = {}
        self.clock = 0

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return [dict(message) for message in self.messages.get(conversation_id, [])]

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        await self.create_conversation(conversation_id)
        self.messages[conversation_id].append({"role": role, "content": content})

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        if conversation_id not in self.rows:
            self.clock += 1
            self.rows[conversation_id] = {
                "id": conversation_id,
                "title": "",
                "created_at": f"2026-01-01T00:00:{self.clock:02}+00:00",
                "column of its own": metadata,
            }
            self.messages[conversation_id] = []

    async def conversation_exists(self, conversation_id: str) -> bool:
        return conversation_id in self.rows

    async def list_conversations(self) -> list[dict[str, Any]]:
        return [
            {**row, "message_count": len(self.messages[conversation_id])}
            for conversation_id, row in reversed(self.rows.items())
        ]

    async def update_title(self, conversation_id: str, title: str) -> None:
        if conversation_id in self.rows:
            self.rows[conversation_id]["title"] = title
