"""A program that starts pods: many short-lived processes that read, write and delete at the same time.

Every pod is forked from a process that has imported everything and used nothing, so it names its
statements as a process newly started does, and starts in milliseconds. The only argument is JSON, see
``Plan``; printed are the reports of all pods, one line of JSON each.
"""

import asyncio
import json
import logging
import os
import sys
import traceback
from typing import Final, TypedDict

from corail.storage.errors import StorageError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._connect import Connector, CorailConnection

AGENTS: Final = 4
TURNS: Final = 12
KEPT: Final = 50
ROLES: Final = ("read", "write", "delete", "write")


class Plan(TypedDict):
    """What to do."""

    url: str
    schema: str
    starts: int
    at_once: int
    own_names: bool
    """False for asyncpg's names, which are the same in every process, and no falling back."""
    deadline: float


class Report(TypedDict):
    """What became of one pod."""

    acknowledged: list[str]
    errors: list[str]
    warnings: int


def kept(number: int) -> str:
    """Return the id of a conversation that nobody deletes."""
    return f"kept-{number}"


async def work(plan: Plan, pod: int, report: Report) -> None:
    """Run one pod."""
    role = ROLES[pod % len(ROLES)]
    async with PostgreSQLStorage(plan["url"], schema=plan["schema"], deadline=plan["deadline"]) as storage:

        async def read(agent: int) -> None:
            for turn in range(TURNS):
                conversation = kept((pod + agent * TURNS + turn) % KEPT)
                if await storage.get_messages(conversation) != [{"role": "user", "content": conversation}]:
                    report["errors"].append(f"{conversation} is not what it was")
                await storage.page_conversations(limit=5)
                await storage.conversation_exists(conversation)

        async def write(agent: int) -> None:
            for turn in range(TURNS):
                content = f"{pod}/{agent}/{turn}"
                await storage.append_message(f"shared-{agent}", "user", content)
                report["acknowledged"].append(content)
                await storage.get_recent_messages(f"shared-{agent}", 3)
            await storage.update_title(f"shared-{agent}", f"by {pod}")

        async def delete(agent: int) -> None:
            for turn in range(TURNS // 2):
                conversation = f"gone-{pod}-{agent}-{turn}"
                await storage.create_conversation(conversation)
                await storage.append_message(conversation, "user", "x")
                await storage.delete_conversation(conversation)

        steps = {"read": read, "write": write, "delete": delete}[role]

        async def guarded(agent: int) -> None:
            try:
                await steps(agent)
            except StorageError as error:
                report["errors"].append(f"{role}: {type(error).__name__}: {error}")

        await asyncio.gather(*(guarded(agent) for agent in range(AGENTS)))


def as_asyncpg_does() -> None:
    """Give up what protects: the unique names, and going on without names."""

    def not_changed(_: Connector) -> bool:
        return False

    # Types do not let them be assigned or deleted otherwise.
    delattr(CorailConnection, "_get_unique_id")
    setattr(Connector, "without_names", not_changed)  # noqa: B010


def start(plan: Plan, pod: int) -> int:
    """Fork one pod; return where its report can be read."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        return reading
    report: Report = {"acknowledged": [], "errors": [], "warnings": 0}

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - only that there is one
            report["warnings"] += 1

    logging.getLogger("corail").addHandler(Counting())
    try:
        asyncio.run(work(plan, pod, report))
    except BaseException:  # noqa: BLE001 - whatever it was, the test shows it
        report["errors"].append(traceback.format_exc())
    with os.fdopen(writing, "w") as out:
        json.dump(report, out)
    os._exit(0)


def main() -> None:
    """Start pods, so many at once, and print what they report."""
    plan: Plan = json.loads(sys.argv[1])
    if not plan["own_names"]:
        as_asyncpg_does()
    running: list[int] = []
    for pod in range(plan["starts"]):
        running.append(start(plan, pod))
        if len(running) == plan["at_once"]:
            finish(running.pop(0))
    for reading in running:
        finish(reading)


def finish(reading: int) -> None:
    """Print the report of a pod once it has ended."""
    with os.fdopen(reading) as pipe:
        sys.stdout.write(pipe.read() + "\n")
    os.wait()  # one of them has ended


if __name__ == "__main__":
    main()
