"""A contender that says it has stored a message and has not."""

from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.adapter import Adapter


class Losing(Adapter):
    """Keeps all messages but the last."""

    name: ClassVar[str] = "losing"

    async def open(self, url: str) -> None:  # noqa: ARG002 - it needs no database
        self._stored: dict[str, list[dict[str, str]]] = {}

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        self._stored.setdefault(conversation_id, []).append({"role": role, "content": content})

    async def read(self, conversation_id: str) -> Sequence[Any]:
        return self._stored[conversation_id][:-1]
