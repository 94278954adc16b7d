"""The order in which waiting turns are sent: batches, lone turns, fairness. No I/O and no asyncio.

Rules, each paid for with a stalled or reordered conversation:

- a conversation that is on its way never enters a second statement, which also keeps its order;
- a shared batch is bounded in messages and bytes, and no conversation fills it while others wait;
- a turn with a caller's key, a large one, and one whose conversation just failed travel alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from corail.storage.postgresql._batch import Turn

MAX_MESSAGES: Final = 500
"""Messages in a shared batch."""
MAX_BYTES: Final = 1024 * 1024
"""Bytes of UTF-8 in a shared batch; 5 MB ones spilled 151 MB of temporary files in 10 statements."""
LARGE: Final = 256 * 1024
"""Bytes of UTF-8 from which a turn travels alone: one of 16 MiB delayed its neighbours by 540 ms."""


class Waiting(Protocol):
    """A turn and whether somebody still waits for it."""

    @property
    def turn(self) -> Turn:
        """What is to be sent."""
        ...

    @property
    def settled(self) -> bool:
        """Whether it was given up or answered already."""
        ...


W = TypeVar("W", bound=Waiting)


class TurnQueue(Generic[W]):
    """Turns in order of arrival per conversation, and which of them go next."""

    def __init__(self) -> None:
        self._turns: dict[str, deque[W]] = {}
        # Dicts as ordered sets: conversations whose first turn is to be sent, oldest first.
        self._sharing: dict[str, None] = {}
        self._alone: dict[str, None] = {}
        self._on_their_way: set[str] = set()
        self._suspects: set[str] = set()

    def __iter__(self) -> Iterator[W]:
        """Yield every waiting turn."""
        return (waiting for turns in self._turns.values() for waiting in turns)

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def sharing(self) -> bool:
        """Whether a shared batch could be taken now."""
        return bool(self._sharing)

    def add(self, waiting: W) -> None:
        """Put a turn behind the others of its conversation."""
        conversation_id = waiting.turn.conversation_id
        turns = self._turns.get(conversation_id)
        if turns is None:
            self._turns[conversation_id] = deque((waiting,))
            self._file(conversation_id)
        else:
            turns.append(waiting)

    def take_batch(self) -> list[W]:
        """Take the next shared batch; its conversations are on their way until ``arrived``."""
        batch: list[W] = []
        messages = size = 0
        quota = max(1, MAX_MESSAGES // len(self._sharing)) if self._sharing else 0
        for conversation_id in list(self._sharing):
            turns = self._turns[conversation_id]
            share = 0
            while turns:
                waiting = turns[0]
                turn, count = waiting.turn, len(waiting.turn.messages)
                if waiting.settled:
                    turns.popleft()
                    continue
                full = messages + count > MAX_MESSAGES or size + turn.size > MAX_BYTES
                if _alone(turn) or (batch and full) or (share and share + count > quota):
                    break
                batch.append(turns.popleft())
                share, messages, size = share + count, messages + count, size + turn.size
            if share:
                self._depart(conversation_id)
            elif turns and not _alone(turns[0].turn):
                # The batch is full: this conversation is the first of the next one.
                break
            else:
                del self._sharing[conversation_id]
                self._file(conversation_id)
        return batch

    def take_alone(self) -> W | None:
        """Take the next turn that travels alone; its conversation is on its way until ``arrived``."""
        for conversation_id in list(self._alone):
            turns = self._turns[conversation_id]
            while turns and turns[0].settled:
                turns.popleft()
            if turns and (conversation_id in self._suspects or _alone(turns[0].turn)):
                waiting = turns.popleft()
                self._depart(conversation_id)
                return waiting
            del self._alone[conversation_id]
            self._file(conversation_id)
        return None

    def put_back(self, batch: Iterable[W]) -> None:
        """Return turns that were taken and certainly not stored to the front, in their order."""
        for waiting in reversed(list(batch)):
            self._turns.setdefault(waiting.turn.conversation_id, deque()).appendleft(waiting)

    def arrived(self, conversation_ids: Iterable[str], *, suspect: bool = False) -> None:
        """Let conversations that were on their way be sent again.

        Args:
            conversation_ids: which ones.
            suspect: whether they travel alone next time, until one of their turns is stored.

        """
        for conversation_id in conversation_ids:
            self._on_their_way.discard(conversation_id)
            if suspect:
                self._suspects.add(conversation_id)
            else:
                self._suspects.discard(conversation_id)
            self._file(conversation_id)

    def _depart(self, conversation_id: str) -> None:
        self._sharing.pop(conversation_id, None)
        self._alone.pop(conversation_id, None)
        self._on_their_way.add(conversation_id)
        if not self._turns[conversation_id]:
            del self._turns[conversation_id]

    def _file(self, conversation_id: str) -> None:
        turns = self._turns.get(conversation_id)
        if conversation_id in self._on_their_way:
            return
        if not turns:
            self._turns.pop(conversation_id, None)
            # Nothing is known of it any more: remembering every suspect would grow for ever.
            self._suspects.discard(conversation_id)
        elif conversation_id in self._suspects or _alone(turns[0].turn):
            self._alone[conversation_id] = None
        else:
            self._sharing[conversation_id] = None


def _alone(turn: Turn) -> bool:
    return turn.keyed or turn.size >= LARGE or len(turn.messages) > MAX_MESSAGES
