"""The shapes that the port's newer methods return, as ``TypedDict``; types only, no behaviour.

The six published methods keep their plain ``dict`` signatures; their rows have the same keys.
"""

from typing import Any, NotRequired, TypedDict

__all__ = [
    "CheckReport",
    "ConversationPage",
    "ConversationRow",
    "MessageItem",
    "MessagePage",
    "PoolUse",
]


class ConversationRow(TypedDict):
    """One conversation, as in ``list_conversations`` (C-13)."""

    id: str
    title: str
    created_at: str
    """ISO 8601 in UTC; for display and for the order of the list, never for the order of messages."""
    message_count: int
    updated_at: NotRequired[str]
    """ISO 8601 in UTC: the last append, title or creation. With ``details``."""
    metadata: NotRequired[dict[str, Any]]
    """What ``create_conversation`` was given, ``{}`` without. With ``details``."""


class MessageItem(TypedDict):
    """One message on a page."""

    role: str
    content: str
    id: NotRequired[str]
    """Opaque, unique in its conversation, accepted by ``after``. With ``details``."""
    created_at: NotRequired[str]
    """ISO 8601 in UTC, for display. With ``details``."""


class ConversationPage(TypedDict):
    """One page of conversations; ``next`` is None on the last."""

    items: list[ConversationRow]
    next: str | None


class MessagePage(TypedDict):
    """One page of messages; ``next`` is None when there were no more at the time."""

    items: list[MessageItem]
    next: str | None


class PoolUse(TypedDict):
    """Connections of the pool that answered."""

    size: int
    idle: int
    limit: int


class CheckReport(TypedDict):
    """What ``check()`` found out, without writing anything."""

    ok: bool
    """Whether reads and, as far as known, writes would be served now."""
    latency: float
    """Seconds the check took."""
    versions: dict[str, str]
    """Version by component, such as ``server`` and ``schema``."""
    role: str | None
    """``"primary"`` or ``"standby"``; None where the backend has no such notion."""
    writable: bool | None
    """None when the backend cannot tell without writing."""
    problem: str | None
    """Why ``ok`` is False, and what to do."""
    warnings: list[str]
    """Settings that work but will hurt."""
    pool: NotRequired[PoolUse]
