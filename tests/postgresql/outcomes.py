"""What callers were told during a fault, and whether the tables say the same afterwards.

Every call goes through one ``Ledger``: it knows which turns were acknowledged, which were reported as
not stored and which as unknown, how long the longest call took, and that no error told a secret.
"""

import asyncio
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, NamedTuple

import pytest

from corail.storage.errors import AppendOutcomeUnknownError, StorageError, StorageUnavailableError
from corail.storage.port import StoragePort
from tests.postgresql.observing import Observer, exact

SECRET: Final = "zqsecret"  # noqa: S105 - of no account
"""A word in every message."""
TURN: Final = 3
"""Messages in a turn."""
CONVERSATIONS: Final = 4
QUICK: Final = {"connect_timeout": 1.0, "command_timeout": 1.0, "acquire_timeout": 1.0, "deadline": 1.5}
"""Options of a storage whose calls end within ``BOUND``."""
BOUND: Final = 3.0
"""Seconds until a call has to have ended, with its data or with an error."""
RECOVERY: Final = 1.0
"""Seconds until a storage has to work once its server does."""


class Account(NamedTuple):
    """How what was told and what is stored differ; all zero when they do not."""

    lost: int
    doubled: int
    halved: int
    denied: int
    """Turns that are stored though they were reported as not stored."""


class Ledger:
    """The calls of one test and their outcomes.

    Args:
        storage: what to call.
        secrets: what no error may hold, beside the content of messages.
        filler: added to every message, to make it longer.
        writer: tells the turns of several ledgers on one schema apart.

    """

    def __init__(self, storage: StoragePort, *secrets: str, filler: str = "", writer: str = "w") -> None:
        self._storage = storage
        self._secrets = (SECRET, *secrets)
        self._filler = filler
        self._prefix = f"{SECRET} {writer} "
        self._turns = 0
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.unknown: list[str] = []
        self.errors: list[StorageError] = []
        """Of all calls, in the order they ended."""
        self.longest = 0.0
        """Seconds that the slowest call took."""

    async def append(self, conversation: int = 0) -> str:
        """Append one turn, note what became of it, and return its name."""
        self._turns += 1
        name = f"{self._prefix}{self._turns}"
        messages = [
            {"role": "user", "content": f"{name}.{part} {self._filler}".rstrip()} for part in range(TURN)
        ]
        try:
            await self._timed(self._storage.append_messages(f"c{conversation}", messages))
        except AppendOutcomeUnknownError:
            self.unknown.append(name)
        except StorageUnavailableError:
            self.refused.append(name)
        else:
            self.acknowledged.append(name)
        return name

    async def read(self, conversation: int = 0) -> bool:
        """Read a conversation; return whether it could be read."""
        try:
            await self._timed(self._storage.get_messages(f"c{conversation}"))
        except StorageUnavailableError:
            return False
        return True

    async def round(self) -> int:
        """Append to and read every conversation at once; return how many of the reads succeeded."""
        writes = [self.append(number) for number in range(CONVERSATIONS) for _ in range(2)]
        reads = [self.read(number) for number in range(CONVERSATIONS)]
        _, done = await asyncio.gather(asyncio.gather(*writes), asyncio.gather(*reads))
        return sum(done)

    async def recover(self) -> float:
        """Append and read at once after healing; return the seconds it took, failing if it did not work."""
        started = monotonic()
        own = await self.append()
        assert own in self.acknowledged, (own in self.unknown, monotonic() - started, self.errors[-1])
        assert await self.read(), (monotonic() - started, self.errors[-1])
        return monotonic() - started

    async def account(self, observer: Observer) -> Account:
        """Compare what is stored with what was told, and the counters with the rows."""
        assert await exact(observer)
        parts: Counter[str] = Counter()
        doubled = 0
        for number in range(CONVERSATIONS):
            messages = await self._storage.get_messages(f"c{number}")
            contents = [text for item in messages if (text := item["content"]).startswith(self._prefix)]
            doubled += len(contents) - len(set(contents))
            parts.update(content.partition(".")[0] for content in set(contents))
        return Account(
            lost=sum(parts[name] == 0 for name in self.acknowledged),
            doubled=doubled,
            halved=sum(count != TURN for count in parts.values()),
            denied=sum(parts[name] > 0 for name in self.refused),
        )

    def figures(self, account: Account, recovered: float) -> str:
        """Return what a row of the table says."""
        return (
            f"longest call {self.longest:.1f} s, working {recovered:.2f} s after healing; of "
            f"{len(self.acknowledged)} acknowledged {account.lost} lost, {account.doubled} doubled, "
            f"{account.halved} half-stored; {len(self.refused)} reported as not stored, {account.denied} "
            f"of them stored; {len(self.unknown)} unknown"
        )

    async def conclude(self, observer: Observer, recovered: float, measured: Callable[[str], None]) -> None:
        """Print the figures, and assert what every fault has to end with.

        Nothing is lost, doubled, half-stored or denied; no call outlasted ``BOUND``; and the storage
        worked within ``RECOVERY``, of which ``recovered`` seconds it took.
        """
        account = await self.account(observer)
        measured(self.figures(account, recovered))
        assert account == Account(0, 0, 0, 0)
        assert self.longest < BOUND
        assert recovered < RECOVERY

    async def _timed(self, call: Awaitable[object]) -> None:
        started = monotonic()
        try:
            await call
        except StorageError as error:
            self.errors.append(error)
            seen = texts(error)
            for secret in self._secrets:
                if secret in seen:
                    pytest.fail(f"a {type(error).__name__} tells a secret")
            raise
        finally:
            self.longest = max(self.longest, monotonic() - started)


def texts(error: BaseException) -> str:
    """Return everything anybody could see of an error."""
    parts = traceback.format_exception(error)
    link: BaseException | None = error
    while link is not None:
        parts += [str(link), repr(link), repr(link.args), repr(vars(link))]
        # Followed by some loggers even where it is suppressed.
        link = link.__cause__ or link.__context__
    return "\n".join(parts)
