"""A TCP proxy before PostgreSQL that loses what a network can lose, at the moment a test chooses.

It reads the client's messages, so a fault can be tied to one statement; it never reads results. Not
for TLS: the URL it gives says ``sslmode=disable``.
"""

import asyncio
import enum
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from tests.postgresql.addresses import with_parameters

_STARTUP_SIZE: Final = 4
_MESSAGE_HEADER: Final = 5
_READY: Final = b"Z\0\0\0\5"  # and a byte of state: the end of a reply, the statement is committed
_UNENCRYPTED: Final = {80877102, 80877103, 80877104}  # cancel, TLS and GSS requests carry no type byte


class Fate(enum.Enum):
    """What becomes of one statement."""

    PASS = "nothing happens to it"  # noqa: S105 - no password
    CUT_BEFORE = "the connection is reset before the server sees it"
    CUT_AFTER = "the server runs it, then the connection is reset instead of the reply"
    HANG = "the server runs it, and neither its reply nor anything after it comes through"
    HANG_AFTER = "its reply comes through, and nothing after it"


class FaultProxy:
    """A proxy to the server of ``url``, in the running loop; use it as an async context manager.

    Args:
        url: a database URL with one host and port.

    Attributes:
        on_statement: called with the SQL of every statement a client executes; decides its fate.
        on_connection: called for every connection a client makes, before anything of it comes through.
        executed: the SQL of every statement that was executed, in order.
        statement_names: the names under which statements were prepared.

    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise ValueError("the URL has no host")
        self._target = (parts.hostname, parts.port or 5432)
        self._url = url
        self._server: asyncio.Server | None = None
        self._port = 0
        self._sessions: dict[asyncio.Task[None], _Session] = {}
        self._open = asyncio.Event()
        self._open.set()
        self.on_statement: Callable[[str], Fate] = lambda _: Fate.PASS
        self.on_connection: Callable[[], None] = lambda: None
        self.executed: list[str] = []
        self.statement_names: set[str] = set()

    @property
    def url(self) -> str:
        """The URL of the same database through this proxy; the port stays the same."""
        parts = urlsplit(self._url)
        netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self._port}"
        return with_parameters(parts._replace(netloc=netloc).geturl(), sslmode="disable")

    @property
    def black_holed(self) -> bool:
        """Whether nothing comes through at present."""
        return not self._open.is_set()

    def once(self, part: str, fate: Fate, times: int = 1) -> None:
        """Give the next statements (``times``) whose SQL contains ``part`` this fate, all others pass."""
        left = times

        def decide(sql: str) -> Fate:
            nonlocal left
            if part not in sql or left == 0:
                return Fate.PASS
            left -= 1
            return fate

        self.on_statement = decide

    async def refuse(self) -> None:
        """Refuse new connections and reset those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.reset()

    async def reset(self) -> None:
        """Reset every connection there is."""
        for session in self._sessions.values():
            session.reset()
        if self._sessions:
            await asyncio.wait(self._sessions)

    def black_hole(self) -> None:
        """Let nothing through any more; connections stay and are accepted, bytes vanish for the time."""
        self._open.clear()

    def forget(self) -> None:
        """Let nothing through any more on the connections there are, for good; new ones work."""
        self._open.clear()
        self._open = asyncio.Event()
        self._open.set()

    async def heal(self) -> None:
        """Let everything through again."""
        self._open.set()
        await self._listen()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a stream server calls this in a task")
        self.on_connection()
        session = _Session(self, reader, writer, self._open)
        self._sessions[task] = session
        try:
            await session.run(self._target)
        finally:
            del self._sessions[task]


class _Session:
    """One client's connection and the one to the server behind it."""

    def __init__(
        self,
        proxy: FaultProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: asyncio.Event,
    ) -> None:
        self._proxy = proxy
        self._client = reader
        self._to_client = writer
        self._open = way
        self._to_server: asyncio.StreamWriter | None = None
        self._pumps: list[asyncio.Task[None]] = []
        self._prepared: dict[bytes, str] = {}
        self._bound = ""
        self._fate = Fate.PASS
        self._deaf = False

    async def run(self, target: tuple[str, int]) -> None:
        try:
            server, self._to_server = await asyncio.open_connection(*target)
            self._pumps = [
                asyncio.create_task(self._from_client(self._to_server)),
                asyncio.create_task(self._from_server(server)),
            ]
            await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the server is down: the client sees its connection go, as it would without a proxy
        finally:
            self.reset()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            if self._to_server is not None:
                self._to_server.transport.abort()

    def reset(self) -> None:
        raw: socket.socket | None = self._to_client.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            # Without lingering, closing sends RST instead of FIN.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._to_client.transport.abort()
        for pump in self._pumps:
            pump.cancel()

    async def _from_client(self, server: asyncio.StreamWriter) -> None:
        started = False
        while True:
            header = await self._client.readexactly(_MESSAGE_HEADER if started else _STARTUP_SIZE)
            size = int.from_bytes(header[-4:], "big") - 4
            body = await self._client.readexactly(size)
            if started:
                self._look(header[:1], body)
            else:
                started = int.from_bytes(body[:4], "big") not in _UNENCRYPTED
            await self._open.wait()
            if self._fate is Fate.CUT_BEFORE:
                return
            if self._deaf:
                continue
            # Sync, or the end of a simple query: only with it the server commits.
            self._deaf = self._fate is Fate.HANG and header[:1] in b"SQ"
            server.write(header + body)
            await server.drain()

    async def _from_server(self, server: asyncio.StreamReader) -> None:
        end = b""
        while data := await server.read(65536):
            end = (end + data)[-len(_READY) - 1 :]
            if self._fate is Fate.CUT_AFTER:
                if end.startswith(_READY):
                    return
                continue
            if self._fate is Fate.HANG or self._deaf:
                continue
            await self._open.wait()
            self._to_client.write(data)
            await self._to_client.drain()
            self._deaf = self._fate is Fate.HANG_AFTER and end.startswith(_READY)

    def _look(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode()
            self._proxy.statement_names.add(name.decode())
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            self._bound = self._prepared.get(name, "")
        elif kind in {b"E", b"Q"}:
            sql = self._bound if kind == b"E" else body.rstrip(b"\0").decode()
            if self._fate is Fate.PASS:
                self._fate = self._proxy.on_statement(sql)
            if self._fate is not Fate.CUT_BEFORE:
                self._proxy.executed.append(sql)
