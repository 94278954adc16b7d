"""The reference on a file, so that it outlives its process: a row of JSON per conversation in SQLite."""

import json
import os
import sqlite3
from collections.abc import Generator, Iterator, MutableMapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from corail.storage.capabilities import ALL
from tests.kit.reference import Conversation, Conversations, Message, ReferenceStorage, Store

VARIABLE: Final = "KIT_DURABLE_FILE"


def open_durable() -> "DurableStorage":
    """Open the file that the environment names, in this process or in a writer's."""
    return DurableStorage(FileStore(Path(os.environ[VARIABLE])))


class FileStore(Store):
    """Every section under the lock is one transaction of the file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    @contextmanager
    def locked(self) -> Generator[Conversations]:
        with closing(sqlite3.connect(self._file, isolation_level=None, timeout=60)) as connection:
            # A killed process loses nothing that was handed to the kernel; the tests kill no kernel.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE IF NOT EXISTS conversations (id BLOB PRIMARY KEY, value BLOB)")
            rows = Rows(connection)
            try:
                yield rows
                rows.save()
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


class Rows(MutableMapping[str, Conversation]):
    """Conversations of one transaction, read when asked for and written back at its end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._loaded: dict[str, Conversation] = {}

    def save(self) -> None:
        for conversation_id, known in self._loaded.items():
            row = (_bytes(conversation_id), _bytes(json.dumps(_plain(known), ensure_ascii=False)))
            self._connection.execute("INSERT OR REPLACE INTO conversations VALUES (?, ?)", row)

    def __getitem__(self, conversation_id: str) -> Conversation:
        if conversation_id not in self._loaded:
            query = "SELECT value FROM conversations WHERE id = ?"
            found = self._connection.execute(query, (_bytes(conversation_id),)).fetchone()
            if found is None:
                raise KeyError(conversation_id)
            self._loaded[conversation_id] = _conversation(json.loads(_text(found[0])))
        return self._loaded[conversation_id]

    def __setitem__(self, conversation_id: str, known: Conversation) -> None:
        self._loaded[conversation_id] = known

    def __delitem__(self, conversation_id: str) -> None:
        self._loaded.pop(conversation_id, None)
        self._connection.execute("DELETE FROM conversations WHERE id = ?", (_bytes(conversation_id),))

    def __iter__(self) -> Iterator[str]:
        found = self._connection.execute("SELECT id FROM conversations").fetchall()
        return iter({*(_text(one[0]) for one in found), *self._loaded})

    def __len__(self) -> int:
        return len(list(iter(self)))


class DurableStorage(ReferenceStorage):
    """The reference with every capability there is."""

    capabilities = ALL


def _plain(known: Conversation) -> dict[str, Any]:
    return {**vars(known), "messages": [list(message) for message in known.messages]}


def _conversation(plain: dict[str, Any]) -> Conversation:
    known = Conversation(plain["metadata"])
    known.title = plain["title"]
    known.created_at, known.updated_at = plain["created_at"], plain["updated_at"]
    known.messages = [Message(*message) for message in plain["messages"]]
    known.keys = {key: (start, end) for key, (start, end) in plain["keys"].items()}
    return known


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
