"""``ContractBase``: what an author sets on the test class, with defaults; no test is defined here.

Everything has a bound, and every bound is an attribute that a subclass may raise.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import pytest

from corail.storage.port import StoragePort

_NOTHING: Mapping[str, str] = MappingProxyType({})


class ContractBase:
    """The settings of a contract run."""

    contract: ClassVar[tuple[int, int]] = (1, 0)
    """The contract version the backend was written against; tests added later are skipped for it."""

    xfails: ClassVar[Mapping[str, str]] = _NOTHING
    """Known failures, by clause (``"C-21"``) or test name, with a reason. One that passes is an error."""

    overrides: ClassVar[Mapping[str, str]] = _NOTHING
    """Tests of the kit that the class replaces or removes, by name, with a reason; reported as skips."""

    # Quoted: staticmethod cannot be subscripted when this runs.
    reopen: ClassVar["staticmethod[[], StoragePort] | str | None"] = None
    """Makes a new object on the store that the fixture ``storage`` uses.

    A zero-argument callable that another process can import (``staticmethod(open_mine)``), or its
    name as ``"package.module:function"``. Needed for ``persistent`` and for two objects on one store.
    """

    patience: ClassVar[float] = 30.0
    """Seconds after which a test counts as hung; nothing else is ever timed."""
    writers: ClassVar[int] = 8
    """Tasks that write at once."""
    appends: ClassVar[int] = 10
    """Messages each of them writes."""
    threads: ClassVar[int] = 4
    """Threads, each with its own event loop."""
    short_loops: ClassVar[int] = 12
    """Event loops that come and go one after another."""
    cancellations: ClassVar[int] = 16
    """Moments at which one call is cancelled."""
    text_examples: ClassVar[int] = 20
    """Examples of each property test."""
    model_examples: ClassVar[int] = 20
    """Runs of the state machine."""
    model_steps: ClassVar[int] = 25
    """Calls in each run."""
    kills: ClassVar[int] = 2
    """Rounds of writer processes that are killed."""

    # Without it anyio's plugin would leave the coroutine tests alone.
    pytestmark: ClassVar[Sequence[pytest.MarkDecorator]] = [pytest.mark.anyio]

    request: pytest.FixtureRequest
    """Of the running test; set by the guard."""

    # Session scope, so that an author's fixtures of any scope may stand on it; a class method, because
    # pytest deprecates wider fixtures that are instance methods.
    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        """Run under asyncio; redefine it with ``params=["asyncio", "trio"]`` where trio works too."""
        return "asyncio"

    async def tie_created_at(self, storage: StoragePort, conversation_ids: Sequence[str]) -> None:
        """Give these conversations one ``created_at``, if the backend has a way; the default has none.

        The kit stops ``time.time`` and ``time.time_ns`` while it creates them, which is enough for
        backends that take the time from there. Whether ties came up is then looked at, not assumed.
        """
