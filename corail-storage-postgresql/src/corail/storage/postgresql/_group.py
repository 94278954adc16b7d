"""Group commit: appends that wait together travel in one statement.

A flush starts as soon as the previous one is done, with whatever has come in meanwhile; there is no
timer, so a lone caller waits for nothing. One ``GroupCommit`` serves one event loop. What a batch
may contain is decided in ``_queue``, what its outcome was in ``_delivery``; here is who waits, who
is told what, and when.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any, Final

from corail.storage.errors import (
    StorageClosedError,
    StorageError,
    StorageTimeoutError,
)
from corail.storage.postgresql._admission import Admission
from corail.storage.postgresql._batch import Turn
from corail.storage.postgresql._database import Database
from corail.storage.postgresql._delivery import Delivery, unknown_outcome
from corail.storage.postgresql._failures import Effect, Failure
from corail.storage.postgresql._limits import Retries
from corail.storage.postgresql._pending import Pending
from corail.storage.postgresql._pools import CLOSED
from corail.storage.postgresql._queue import TurnQueue

MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""Bytes of UTF-8 that wait or are on their way in one loop; further callers wait for room."""
MAX_HELD_TURNS: Final = 20_000
"""Turns that wait or are on their way in one loop."""
SHARED_LOCK_SECONDS: Final = 0.1
"""How long a shared batch waits for somebody else's row lock, delaying all conversations in it."""
ALONE_LOCK_SECONDS: Final = 0.25
"""How long a turn that travels alone holds its lane while it waits for a row lock."""
LANES: Final = 4
"""Turns that travel alone at the same time."""

_SWEEP_SECONDS: Final = 0.25
_LOCKED: Final = "55P03"
# The data or the state of one conversation, not of the server: its neighbours are sent without it.
_ONE_CONVERSATION: Final = (_LOCKED, "57014", "22", "23", "42", "54")


class GroupCommit:
    """The appends of one event loop on their way to the database.

    Args:
        database: where they go.

    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: TurnQueue[Pending] = TurnQueue()
        self._admission = Admission(MAX_HELD_TURNS, MAX_HELD_BYTES)
        self._flushing = False
        self._under_way = 0
        self._drained: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lanes = asyncio.Semaphore(max(1, min(LANES, database.limits.pool_size - 2)))
        self._sweeping: asyncio.TimerHandle | None = None
        self._trouble: StorageError | None = None
        """What keeps everybody waiting, while it does."""
        self._troubles: dict[str, StorageError] = {}
        """What the server last said of a conversation whose turn travels alone."""
        self._closing = False
        self._stopped = False

    async def append(self, turn: Turn) -> None:
        """Store a turn; returns when it is stored.

        A cancelled caller leaves the queue if its turn was not sent yet; otherwise it is stored or
        not as if nothing had happened, and nobody else notices.
        """
        deadline = monotonic() + self._database.limits.deadline
        if not self._closing:
            await self._admission.enter(turn.size, deadline)
            if self._closing:
                # Closed while this waited for room: the next one in the line is to hear of it as well.
                self._admission.leave(turn.size)
        if self._closing:
            raise StorageClosedError(CLOSED)
        pending = Pending(turn, asyncio.get_running_loop().create_future(), deadline)
        alone_here = not self._flushing and not self._queue
        self._queue.add(pending)
        try:
            if alone_here and self._queue.sharing:
                await self._flush_here(pending)
            else:
                self._start()
            await pending.future
        finally:
            self._admission.leave(turn.size)

    async def aclose(self, within: float) -> None:
        """Send what is waiting, for at most ``within`` seconds, then fail the rest."""
        self._closing = True
        if self._queue or self._under_way:
            self._drained = asyncio.get_running_loop().create_future()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._drained
        self._stopped = True
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for pending in list(self._queue):
            pending.fail(StorageClosedError(f"{CLOSED} The append was still waiting and was not stored."))
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _start(self) -> None:
        """Send what can be sent. Never awaits, so nothing can arrive unseen while it looks."""
        if self._stopped:
            return
        if self._drained is not None and not self._drained.done() and not (self._queue or self._under_way):
            self._drained.set_result(None)
        while (pending := self._queue.take_alone()) is not None:
            self._under_way += 1
            self._spawn(self._travel_alone(pending))
        if not self._flushing and self._queue.sharing:
            self._flushing = True
            self._under_way += 1
            self._spawn(self._flush())
        if self._sweeping is None and self._queue:
            self._sweep_later()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        # The loop keeps only weak references to its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _flush(self) -> None:
        """Send shared batches until none is waiting."""
        retries = Retries(float("inf"))
        try:
            while batch := self._queue.take_batch():
                if await self._deliver(batch):
                    retries = Retries(float("inf"))
                    # Those just served often append again at once: one turn of the loop lets them come
                    # along. Without it the first of them went ahead alone, and 8 agents took two trips.
                    await asyncio.sleep(0)
                else:
                    # The server is away: what was not sent yet times out one by one meanwhile.
                    await retries.pause()
        finally:
            # No await between the last look at the queue and this: nothing is stranded.
            self._flushing = False
            self._under_way -= 1
            self._start()

    async def _flush_here(self, pending: Pending) -> None:
        """Send the only waiting turn in its caller's own task: a lone caller pays for no other.

        What arrives meanwhile waits as behind any flush. When the caller is cancelled, only its own
        turn is.
        """
        self._flushing = True
        self._under_way += 1
        try:
            await self._deliver(self._queue.take_batch())
        finally:
            self._flushing = False
            self._under_way -= 1
            if pending.future.done() and not pending.future.cancelled():
                # A cancelled caller does not ask for the outcome: asyncio would log it.
                pending.future.exception()
            self._start()

    async def _deliver(self, batch: Sequence[Pending]) -> bool:
        """Send one shared batch until its outcome is known; False when it should be sent again later."""
        delivery = Delivery([pending.turn for pending in batch], lock_timeout=SHARED_LOCK_SECONDS)
        conversation_ids = {pending.turn.conversation_id for pending in batch}
        suspect = again = False
        try:
            failure = await self._outcome(delivery, max(pending.deadline for pending in batch))
            if failure is None:
                for pending in batch:
                    pending.succeed()
            elif delivery.uncertain:
                for pending in batch:
                    pending.fail(unknown_outcome(pending.turn, failure.error))
            elif (failure.sqlstate or "").startswith(_ONE_CONVERSATION) and (
                len(batch) > 1 or failure.effect is not Effect.REFUSED
            ):
                suspect = True
                self._queue.put_back(batch)
            elif failure.effect is Effect.REFUSED:
                for pending in batch:
                    pending.fail(failure.error)
            else:
                again = True
                # What a server said tells more than that a later attempt ran out of time.
                if self._trouble is None or failure.server_answered:
                    self._trouble = failure.error
                self._queue.put_back(batch)
                # The next sweep may find the batch on its way once more.
                self._fail_overdue()
        except StorageError as error:
            for pending in batch:
                pending.fail(delivery.told(pending.turn, error))
        except BaseException:
            # The loop is being shut down around us, or a defect: nobody may be left waiting.
            for pending in batch:
                pending.fail(unknown_outcome(pending.turn, StorageError("The append was interrupted.")))
            raise
        finally:
            self._queue.arrived(conversation_ids, suspect=suspect)
        if not again:
            self._trouble = None
            self._start()
        elif self._sweeping is None:
            # The last sweep may have found the queue empty, with this batch on its way.
            self._sweep_later()
        return not again

    async def _outcome(self, delivery: Delivery, deadline: float) -> Failure | None:
        """Attempt a delivery, and again for as long as its outcome is uncertain."""
        retries = Retries(deadline)
        while True:
            failure = await delivery.attempt(self._database, retries)
            if failure is None or not delivery.uncertain or not await retries.pause():
                return failure

    async def _travel_alone(self, pending: Pending) -> None:
        """Send one turn until it is stored, refused, or out of time."""
        turn = pending.turn
        delivery = Delivery([turn], lock_timeout=ALONE_LOCK_SECONDS)
        retries = Retries(pending.deadline)
        stored = False
        try:
            while True:
                failure = await self._in_a_lane(delivery, retries)
                if failure is None:
                    stored = True
                    pending.succeed()
                    return
                if failure.server_answered:
                    self._troubles[turn.conversation_id] = failure.error
                if failure.effect is Effect.REFUSED or not await self._may_repeat(failure, retries):
                    error = failure.error
                    if failure.effect is Effect.NONE:
                        # What the server said tells more than that no other attempt was possible.
                        error = self._troubles.get(turn.conversation_id, error)
                    pending.fail(delivery.told(turn, error))
                    return
        except StorageError as error:
            pending.fail(delivery.told(turn, error))
        except BaseException:
            pending.fail(unknown_outcome(turn, StorageError("The append was interrupted.")))
            raise
        finally:
            self._troubles.pop(turn.conversation_id, None)
            self._queue.arrived([turn.conversation_id], suspect=not stored)
            self._under_way -= 1
            self._start()

    async def _may_repeat(self, failure: Failure, retries: Retries) -> bool:
        # A lock that was waited for is pause enough.
        return retries.left > 0 if failure.sqlstate == _LOCKED else await retries.pause()

    async def _in_a_lane(self, delivery: Delivery, retries: Retries) -> Failure | None:
        """Attempt once; between attempts others get the lane, so a locked row does not keep it."""
        try:
            async with asyncio.timeout(retries.left):
                await self._lanes.acquire()
        except TimeoutError:
            text = f"{self._database.where} did not get to the append in time."
            return Failure(Effect.NONE, StorageTimeoutError(text))
        try:
            return await delivery.attempt(self._database, retries)
        finally:
            self._lanes.release()

    def _sweep_later(self) -> None:
        interval = min(_SWEEP_SECONDS, self._database.limits.deadline / 4)
        self._sweeping = asyncio.get_running_loop().call_later(interval, self._sweep)

    def _sweep(self) -> None:
        """Look for overdue turns from time to time, for as long as any waits."""
        self._sweeping = None
        self._fail_overdue()
        if self._queue:
            self._sweep_later()

    def _fail_overdue(self) -> None:
        """Fail the turns that were never sent and are out of time: they were not stored."""
        now = monotonic()
        for pending in self._queue:
            if pending.deadline <= now:
                late = f"{self._database.where} did not get to the append in time; it was not stored."
                told = self._troubles.get(pending.turn.conversation_id, self._trouble)
                pending.fail(told or StorageTimeoutError(late))
