"""``google-adk``: ``DatabaseSessionService`` on asyncpg.

An event is appended to a session object that was created or read before, as its runner does; that
object is kept from the creation or the latest read.
"""

# mypy: disable-error-code="import-not-found, no-any-return"
# pyright: basic, reportMissingImports=false
# The libraries are installed in the peer's environment only, so nothing of theirs has types here.

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from google.adk.events import Event
from google.adk.sessions import DatabaseSessionService, Session
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai.types import Content, Part

from benchmarks.adapter import Adapter

_WHO: Final = {"app_name": "bench", "user_id": "bench"}


class GoogleADK(Adapter):
    """One row per event, and session, user and application rows read by every append."""

    name: ClassVar[str] = "google-adk"
    distributions: ClassVar[tuple[str, ...]] = ("google-adk", "SQLAlchemy", "asyncpg")

    async def open(self, url: str) -> None:
        """Make the service, with its defaults, and the tables."""
        self._service = DatabaseSessionService(url.replace("postgresql://", "postgresql+asyncpg://", 1))
        self._sessions: dict[str, Session] = {}
        await self._service.prepare_tables()
        await self._service.create_session(**_WHO, session_id="first")

    async def create(self, conversation_id: str) -> None:
        """Create the session."""
        created = await self._service.create_session(**_WHO, session_id=conversation_id)
        self._sessions[conversation_id] = created

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Append one event."""
        author = "user" if role == "user" else "agent"
        event = Event(author=author, content=Content(role=role, parts=[Part(text=content)]))
        await self._service.append_event(self._sessions[conversation_id], event)

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the events of the session, which later appends go to."""
        session = await self._service.get_session(**_WHO, session_id=conversation_id)
        self._sessions[conversation_id] = session
        return list(session.events)

    async def exists(self, conversation_id: str) -> bool:
        """Ask for the session without its events."""
        config = GetSessionConfig(num_recent_events=0)
        found = await self._service.get_session(**_WHO, session_id=conversation_id, config=config)
        return found is not None

    def text(self, message: Any) -> str:
        """Return the text of an event."""
        return str(message.content.parts[0].text)

    async def close(self) -> None:
        """Close the service."""
        await self._service.close()
