"""One contender in a process of its own: reads requests as lines of JSON, answers in kind.

Run by ``contenders`` with the interpreter of the contender's environment, so standard library only.
The requests: ``open``, ``prepare``, ``run``, ``drop``, ``close``. The end of the input ends the process.
"""

import asyncio
import gc
import importlib
import json
import os
import sys
import traceback
from math import ceil
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks.adapter import Adapter, LacksError
from benchmarks.texts import Texts
from benchmarks.workload import Workload
from benchmarks.workloads import KINDS

Reply = dict[str, Any]


class Worker:
    """The adapter under test and the workloads prepared on it."""

    def __init__(self) -> None:
        self._opened: tuple[Adapter, Texts] | None = None
        self._workloads: dict[str, Workload] = {}

    async def answer(self, request: dict[str, Any]) -> Reply:
        """Do what one request asks for."""
        match request:
            case {"do": "open", "adapter": adapter, "url": url, "texts": path}:
                return await self._open(adapter, url, Path(path))
            case {"do": "prepare", "lane": lane, "kind": kind, "options": options}:
                return await self._prepare(lane, kind, options)
            case {"do": "run", "lane": lane, "seconds": seconds}:
                return await measure(self._workloads[lane], seconds)
            case {"do": "drop"}:
                self._workloads.clear()
                return {}
            case {"do": "close"} if self._opened is not None:
                await self._opened[0].close()
                return {}
            case _:
                raise ValueError(f"no such request: {request!r}")

    async def _open(self, target: str, url: str, path: Path) -> Reply:
        module, _, name = target.partition(":")
        adapter: Adapter = getattr(importlib.import_module(module), name)()
        await adapter.open(url)
        self._opened = adapter, Texts(path)
        # The data set is ours: 258,145 objects that no contender should have to look through whenever
        # its rows make the garbage collector run.
        gc.collect()
        gc.freeze()
        return {"versions": adapter.versions()}

    async def _prepare(self, lane: str, kind: str, options: dict[str, Any]) -> Reply:
        if self._opened is None:
            raise ValueError("nothing is open")
        workload = KINDS[kind](*self._opened, lane, **options)
        try:
            await workload.prepare()
        except LacksError:
            return {"lacks": True}
        self._workloads[lane] = workload
        return {"operation": workload.operation, "notes": workload.notes}


async def measure(workload: Workload, seconds: float) -> Reply:
    """Repeat units until ``seconds`` were spent in them; return operations, times, p50 and p99."""
    latencies: list[float] = []
    operations = units = 0
    spent = busy = 0.0
    gc.collect()
    while not units or (spent < seconds and not workload.once):
        await workload.stage()
        started, busy_before = perf_counter(), process_time()
        timed = await workload.unit()
        spent += perf_counter() - started
        busy += process_time() - busy_before
        operations += timed.operations
        latencies.extend(timed.latencies)
        units += 1
    await workload.verify()
    latencies.sort()
    return {
        "operations": operations,
        "seconds": spent,
        # Of this process alone; steadier than the clock when the machine is not ours alone.
        "cpu": busy,
        "units": units,
        "single": len(latencies),
        "p50": percentile(latencies, 0.50),
        "p99": percentile(latencies, 0.99),
        "longest": latencies[-1] if latencies else None,
    }


def percentile(ordered: list[float], share: float) -> float | None:
    """Return the smallest value that ``share`` of the sorted values do not exceed."""
    return ordered[ceil(share * len(ordered)) - 1] if ordered else None


async def serve() -> None:
    """Answer requests until there are no more."""
    # Libraries print; what they print must not stand between our lines.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            reply = await worker.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it was, the parent has to hear of it
            reply = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    asyncio.run(serve())
