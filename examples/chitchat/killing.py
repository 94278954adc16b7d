"""Run ``loader.py`` in a process of its own, listen to what it acknowledges, and kill it on the way."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

_LOADER: Final = Path(__file__).parent.parent / "loader.py"


async def run_loader(
    run: str,
    count: int,
    *,
    environment: Mapping[str, str],
    kill_now: Callable[[str, int], bool],
) -> tuple[int, dict[str, int]]:
    """Run the loader; return its exit code, and by id how many messages it said are stored.

    Args:
        run: what the ids of its conversations start with.
        count: how many it loads.
        environment: variables that choose its storage, beside those of this process.
        kill_now: given an id and a number of messages for each acknowledgement; when it returns
            True, the loader is killed with SIGKILL. Its exit code is then that signal's, negated.

    """
    loader = await asyncio.create_subprocess_exec(
        sys.executable,
        _LOADER,
        f"--run={run}",
        f"--conversations={count}",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        # Ctrl-C is for this process, which then ends the loader.
        start_new_session=True,
    )
    if loader.stdout is None:
        raise AssertionError("stdout is a pipe")
    acknowledged: dict[str, int] = {}
    killed = False
    try:
        # To the end of the pipe, after the kill too: what is in it was acknowledged before.
        async for line in loader.stdout:
            conversation_id, stored = json.loads(line)
            acknowledged[conversation_id] = stored
            if kill_now(conversation_id, stored) and not killed:
                killed = True
                loader.send_signal(signal.SIGKILL)
        return await loader.wait(), acknowledged
    finally:
        if loader.returncode is None:
            loader.kill()
            await loader.wait()
