"""A TCP proxy before Redis that loses what a network can lose, at the command a test chooses."""

import asyncio
import enum
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

_RESET: Final = struct.pack("ii", 1, 0)
_CHUNK: Final = 1 << 20


class Fate(enum.Enum):
    """What becomes of one request."""

    PASS = "nothing happens to it"  # noqa: S105 - no password
    CUT_BEFORE = "the connection is reset before the server sees it"
    CUT_AFTER = "the server carries it out, then the connection is reset instead of the reply"
    HANG = "the server carries it out, and nothing comes back any more"


class FaultProxy:
    """A proxy to a port of this machine, in the running loop; use it as an async context manager.

    Args:
        target: the server's port.
        port: where to listen; 0 for any.

    Attributes:
        on_request: called with the bytes of every request; decides its fate.
        cut: how many connections were reset, or made to hang, so far.
        struck: set when one was.

    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self.port = port
        self.on_request: Callable[[bytes], Fate] = lambda _: Fate.PASS
        self.cut = 0
        self.struck = asyncio.Event()

    @property
    def url(self) -> str:
        """The URL of the server through this proxy."""
        return f"redis://127.0.0.1:{self.port}/0"

    def times(self, part: str, fate: Fate, times: int) -> None:
        """Give the next requests (``times``) that contain ``part`` this fate; all others pass."""
        left = times

        def decide(request: bytes) -> Fate:
            nonlocal left
            if part.encode() not in request or left == 0:
                return Fate.PASS
            left -= 1
            return fate

        self.on_request = decide

    async def refuse(self) -> None:
        """Refuse new connections and drop those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in self._sessions:
            session.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions)

    async def accept(self) -> None:
        """Accept connections, again on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        to_server: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            # Answers pass through here, so that one can be taken off before the client sees it.
            answers: asyncio.Queue[bytes] = asyncio.Queue()
            passing = asyncio.Event()
            passing.set()
            back = asyncio.create_task(_pump(server, writer, answers, passing))
            while request := await reader.read(_CHUNK):
                fate = self.on_request(request)
                if fate is not Fate.PASS:
                    self.cut += 1
                    passing.clear()
                if fate is not Fate.CUT_BEFORE:
                    to_server.write(request)
                    await to_server.drain()
                if fate is Fate.CUT_AFTER:
                    await answers.get()
                if fate is not Fate.PASS:
                    self.struck.set()
                if fate is Fate.HANG:
                    await asyncio.Event().wait()
                if fate is not Fate.PASS:
                    _reset(writer)
                    break
        except (OSError, asyncio.CancelledError):
            pass  # either side is gone, or the test is over
        finally:
            if back is not None:
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
            for stream in (to_server, writer):
                if stream is not None:
                    stream.close()
            self._sessions.discard(task)


async def _pump(
    server: asyncio.StreamReader,
    client: asyncio.StreamWriter,
    answers: asyncio.Queue[bytes],
    passing: asyncio.Event,
) -> None:
    while answer := await server.read(_CHUNK):
        if passing.is_set():
            client.write(answer)
            await client.drain()
        else:
            answers.put_nowait(answer)
    client.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
