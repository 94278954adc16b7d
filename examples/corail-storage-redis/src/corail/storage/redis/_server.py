"""One attempt at an operation, and how often: connections, time limits, repetitions under one deadline.

Knows clients and failures, but no conversation. Everything above runs its commands through ``run``
and sees ``StorageError`` only.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

from corail.storage.errors import StorageClosedError, StorageError, StorageUnavailableError
from redis.exceptions import NoScriptError

from corail.storage.redis._client import Argument, Client, Command, connect
from corail.storage.redis._connections import LoopClients
from corail.storage.redis._failures import Effect, Failure, judge
from corail.storage.redis._scripts import Script
from corail.storage.redis._settings import Limits
from corail.storage.redis._url import Endpoint

T = TypeVar("T")
Call = tuple[Sequence[bytes], Sequence[Argument]]
"""Keys and arguments of a script."""

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_SHORTEST: Final = 0.01


class Access:
    """What an operation is given for one attempt: commands, each bounded by the time that is left.

    Args:
        client: the running loop's.
        limits: how long one command may take.
        end: when the whole call must be over, on the monotonic clock.

    """

    def __init__(self, client: Client, limits: Limits, end: float) -> None:
        self._client = client
        self.sent = False
        """Whether a command may have left this process."""
        self._limits = limits
        self._end = end

    async def command(self, *command: Argument) -> Any:
        """Send one command and return the answer."""
        return await self._client.command(command, self._seconds(), self._sending)

    async def script(self, script: Script, keys: Sequence[bytes], arguments: Sequence[Argument]) -> Any:
        """Run a script and return what it returns."""
        try:
            return await self.command(*_by_name(script, (keys, arguments)))
        except NoScriptError:
            # Servers keep scripts in memory only: each node needs the text once after every start.
            return await self.command("EVAL", script.text, len(keys), *keys, *arguments)

    async def reads(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands that only read, together where that is possible, and return their answers."""
        answers = await self._client.many(commands, self._seconds(), self._sending)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    async def read_scripts(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script that only reads with each of several keys and arguments, as ``reads`` does."""
        commands = [_by_name(script, call) for call in calls]
        answers = await self._client.many(commands, self._seconds(), self._sending)
        for place, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                answers[place] = await self.script(script, *calls[place])
            elif isinstance(answer, BaseException):
                raise answer
        return answers

    async def infos(self, *sections: str) -> list[dict[str, Any]]:
        """Return INFO of every primary."""
        async with asyncio.timeout(self._seconds()):
            return await self._client.infos(*sections)

    async def settings(self, *names: str) -> list[dict[str, str]]:
        """Return CONFIG GET of every primary."""
        async with asyncio.timeout(self._seconds()):
            return await self._client.settings(*names)

    def _seconds(self) -> float:
        return max(min(self._limits.command_timeout, self._end - monotonic()), _SHORTEST)

    def _sending(self) -> None:
        self.sent = True


class Server:
    """The server, or the cluster, behind one storage.

    Args:
        endpoint: where it is.
        limits: times and sizes.

    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self.where = f"Redis {'Cluster ' if endpoint.cluster else ''}at {endpoint.describe()}"
        self._limits = limits
        self._reached = False
        # Not a method of this: a storage that is dropped must be freed, and closed, there and then.
        self._clients = LoopClients(partial(_open, endpoint, limits), limits.close_timeout)

    async def run(
        self,
        operation: Callable[[Access], Awaitable[T]],
        *,
        undecided: Callable[[StorageError], StorageError] | None = None,
        attempts: int | None = None,
    ) -> T:
        """Run an operation that may be repeated, until it succeeds, is refused or time is up.

        Args:
            operation: what to send; doing it twice must be the same as doing it once.
            undecided: for one that writes: makes the error for when it may have taken effect.
            attempts: give up after so many, even if there is time.

        """
        end = monotonic() + self._limits.deadline
        number = 0
        pause = _FIRST_PAUSE
        unknown = False
        while True:
            result = await self._attempt(operation, end)
            if not isinstance(result, Failure):
                return result
            unknown = unknown or result.effect is Effect.UNKNOWN
            left = end - monotonic()
            number += 1
            if result.effect is Effect.REFUSED or left <= 0 or number == attempts:
                raise undecided(result.error) if unknown and undecided else result.error
            # Full jitter, so that the replicas of a service do not return to a server in step.
            await asyncio.sleep(min(random.uniform(0, pause), left))  # noqa: S311 - not a secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def aclose(self) -> None:
        """Close every connection, after waiting for calls under way."""
        await self._clients.aclose()

    async def _attempt(self, operation: Callable[[Access], Awaitable[T]], end: float) -> T | Failure:
        try:
            client = await self._clients.get()
        except StorageClosedError as error:
            return Failure(Effect.REFUSED, error)
        except Exception as error:  # noqa: BLE001 - judged there; what is not the driver's is raised again
            return self._if_ever_reached(judge(error, self.where, sent=False))
        self._reached = True
        access = Access(client, self._limits, end)
        try:
            return await operation(access)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - likewise
            failure = judge(error, self.where, sent=access.sent)
        if failure.effect is Effect.UNKNOWN or failure.code == "READONLY":
            await client.drop_idle()
        return failure

    def _if_ever_reached(self, failure: Failure) -> Failure:
        """Report at once what keeps a storage from its first connection.

        A wrong host or port is told within the connect timeout; a server that was there before, or
        answers that it is loading, is waited for until the deadline.
        """
        if self._reached or failure.code:
            return failure
        return Failure(Effect.REFUSED, failure.error)


def repeatable(error: StorageError) -> StorageError:
    """Return the error for a change that may have been made, where making it again is harmless."""
    undecided = StorageUnavailableError(
        f"{error} The change may or may not have been made; repeating it is harmless."
    )
    undecided.__cause__ = error.__cause__
    return undecided


async def _open(endpoint: Endpoint, limits: Limits) -> Client:
    # For each host, for the first answer, and for the answer whether this is a cluster.
    async with asyncio.timeout(limits.connect_timeout * (len(endpoint.hosts) + 2)):
        return await connect(endpoint, limits)


def _by_name(script: Script, call: Call) -> Command:
    keys, arguments = call
    return ("EVALSHA", script.sha, len(keys), *keys, *arguments)
