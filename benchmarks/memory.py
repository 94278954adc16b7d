"""W7: what the data set occupies in ``MemoryStorage`` and as a list of dicts, each in its own process.

Counted by ``tracemalloc``: the same bytes on every run, so it runs once.
"""

import asyncio
import gc
import json
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.contenders import ROOT
from benchmarks.texts import Texts, path_of_dataset
from corail.storage.memory import MemoryStorage

KINDS: Final = ("memory", "dicts")


def footprints() -> dict[str, dict[str, int]]:
    """Return ``bytes`` and ``messages`` of each kind, each measured in a fresh process."""
    with ThreadPoolExecutor(len(KINDS)) as executor:
        return dict(zip(KINDS, executor.map(_footprint, KINDS), strict=True))


def _footprint(kind: str) -> dict[str, int]:
    done = subprocess.run(  # noqa: S603 - this module
        [sys.executable, "-m", "benchmarks.memory", kind],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    measured: dict[str, int] = json.loads(done.stdout)
    return measured


def _measure(kind: str, path: Path) -> dict[str, int]:
    conversations = {f"conversation-{n}": one for n, one in enumerate(Texts(path).conversations)}
    messages = sum(map(len, conversations.values()))
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept: object
    if kind == "memory":
        storage = MemoryStorage()

        async def fill() -> None:
            for conversation_id, stored in conversations.items():
                known = _copied(conversation_id)
                for role, content in stored:
                    await storage.append_message(known, role, _copied(content))

        asyncio.run(fill())
        kept = storage
    else:
        kept = {
            _copied(conversation_id): [
                {"role": role, "content": _copied(content)} for role, content in stored
            ]
            for conversation_id, stored in conversations.items()
        }
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    del kept
    return {"bytes": after - before, "messages": messages}


def _copied(text: str) -> str:
    # A string of its own, as one that was read from a socket.
    return text.encode().decode()


if __name__ == "__main__":
    if sys.argv[1:] not in ([kind] for kind in KINDS):
        sys.exit(f"usage: python -m benchmarks.memory {'|'.join(KINDS)}")
    sys.stdout.write(json.dumps(_measure(sys.argv[1], path_of_dataset())))
