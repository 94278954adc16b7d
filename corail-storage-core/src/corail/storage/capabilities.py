"""The promises a backend can declare in ``StoragePort.capabilities``; names only, nothing else.

A capability is a promise that the contract kit then proves. Claim what holds for this instance:
``capabilities`` may be an instance attribute where configuration decides.
"""

from typing import Final

__all__ = [
    "ALL",
    "ANY_TEXT",
    "ATOMIC_APPEND",
    "CLOSE",
    "DELETE",
    "DETAILS",
    "IDEMPOTENT_APPEND",
    "MULTI_LOOP",
    "PERSISTENT",
    "TOTAL_ORDER",
]

PERSISTENT: Final = "persistent"
"""Conversations outlive the process, a kill included."""

ANY_TEXT: Final = "any_text"
"""Every Python ``str`` is held: NUL, lone surrogates, everything (C-02)."""

DETAILS: Final = "details"
"""Rows carry ``updated_at`` and ``metadata``, page items ``id`` and ``created_at`` (C-03, C-13)."""

DELETE: Final = "delete"
"""``delete_conversation`` works."""

CLOSE: Final = "close"
"""After ``aclose()`` every call raises ``StorageClosedError``."""

TOTAL_ORDER: Final = "total_order"
"""One permanent order per conversation, the same for every reader (C-21)."""

MULTI_LOOP: Final = "multi_loop"
"""One object serves any task, thread and event loop at once (C-22)."""

ATOMIC_APPEND: Final = "atomic_append"
"""``append_messages`` stores all of its messages next to each other, or none."""

IDEMPOTENT_APPEND: Final = "idempotent_append"
"""``append_messages`` accepts an idempotency key and never stores a repeat."""

ALL: Final[frozenset[str]] = frozenset(
    {
        PERSISTENT,
        ANY_TEXT,
        DETAILS,
        DELETE,
        CLOSE,
        TOTAL_ORDER,
        MULTI_LOOP,
        ATOMIC_APPEND,
        IDEMPOTENT_APPEND,
    }
)
"""Every name there is; the contract kit refuses others."""
