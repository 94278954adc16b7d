"""Children that are forked amid traffic open their own connections; the parent does not notice them."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.postgresql.forking import TIMES, WAYS
from tests.postgresql.observing import Observer, connections_end, exact

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]


@pytest.mark.faults(
    area="loops and forks",
    done="12 children forked amid 8 writers (os.fork, multiprocessing), ended by sys.exit and os._exit",
    expected="every child is served, no append of the parent fails or takes 2 s, no connection is left",
)
async def test_children_forked_amid_traffic_leave_the_parent_alone(
    url: str,
    schema: str,
    application_name: str,
    observer: Observer,
    measured: Callable[[str], None],
) -> None:
    program = Path(__file__).with_name("forking.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), url, schema, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, err) == (0, b"")
    told = json.loads(out)
    assert told["statuses"] == [0] * TIMES * len(WAYS)
    stored = await observer.fetchval("SELECT count(*) FROM messages WHERE conversation_id NOT LIKE 'parent%'")
    assert stored == 5 * TIMES * len(WAYS)
    assert told["acknowledged"] > 0
    assert told["longest"] < 2
    assert await exact(observer)
    assert await connections_end(observer, application_name)
    measured(
        f"{len(told['statuses'])} of {TIMES * len(WAYS)} children stored 5 of 5; the parent: 0 errors in "
        f"{told['acknowledged']} appends, longest {told['longest'] * 1000:.0f} ms"
    )
