"""Kill a process while it stores conversations in PostgreSQL, and show that nothing is lost or doubled.

Starts a private PostgreSQL server, which is gone afterwards. A first process loads conversations and
is killed with SIGKILL half-way; what it had acknowledged is compared text by text; a second process
loads them all again. Then the same show as in ``demo.py``. The exit code is 1 if anything is lost,
doubled, torn or out of order::

    python examples/demo_postgresql.py
"""

import signal
import sys
from collections.abc import Mapping
from time import perf_counter

from chitchat import command, terminal
from chitchat.checking import Comparison, compare
from chitchat.dataset import TOTAL, Conversation, read_conversations
from chitchat.killing import run_loader
from chitchat.show import show_installed, show_use
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort
from corail.storage.postgresql.embedded import EmbeddedPostgres
from loader import by_message


def main() -> int:
    """Run from the command line; return the exit code."""
    description = "Kill a loading process half-way and show that nothing acknowledged is lost."
    # With fewer, the process may be done before it can be killed.
    parser = command.parser(description, least=200)
    return command.run(demonstrate(parser.parse_args().conversations))


async def demonstrate(count: int) -> int:
    """Do everything the demo does with ``count`` conversations; return the exit code."""
    terminal.say(f"This loads {count:,} of {TOTAL:,} real conversations into a private PostgreSQL and kills")
    terminal.say("the loading process half-way: under a minute. Nothing of it stays on this machine.")
    terminal.heading("1. A server, and the storages installed here")
    with EmbeddedPostgres() as server:
        async with StorageFactory.create("postgresql", dsn=server.url) as storage:
            report = await storage.check()
            terminal.say(f"PostgreSQL {report['versions'].get('server')} on 127.0.0.1:{server.port}")
            show_installed()
            return await _crash_and_show(storage, server.url, count)


async def _crash_and_show(storage: StoragePort, url: str, count: int) -> int:
    run = command.new_run()
    conversations = read_conversations(count, prefix=f"{run}:")

    terminal.heading("2. A process loads them and is killed half-way")
    code, acknowledged = await _load(run, conversations, url, kill_after=max(1, count // 2))
    if code != -signal.SIGKILL:
        terminal.complain(f"The loader ended with exit code {code} before it could be killed.")
        return 1
    terminal.say(f"Killed with SIGKILL, having acknowledged {sum(acknowledged.values()):,} messages.")
    if not await _compare(storage, conversations, acknowledged):
        return 1

    terminal.heading("3. A new process loads them all again")
    terminal.say("Its idempotency keys are the same, so what is there is not stored a second time.")
    code, acknowledged = await _load(run, conversations, url)
    if code != 0:
        terminal.complain(f"The second loader ended with exit code {code}.")
        return 1
    if not await _compare(storage, conversations, acknowledged):
        return 1

    await show_use(storage, conversations, part=4)
    return 0


async def _load(
    run: str, conversations: list[Conversation], url: str, *, kill_after: int | None = None
) -> tuple[int, dict[str, int]]:
    sizes = {conversation.id: len(conversation.messages) for conversation in conversations}
    finished = 0
    started = perf_counter()
    with terminal.progress("acknowledged", len(conversations)) as advance:

        def kill_now(conversation_id: str, stored: int) -> bool:
            nonlocal finished
            if stored == sizes[conversation_id]:
                finished += 1
                advance()
            return kill_after is not None and finished >= kill_after

        result = await run_loader(
            run,
            len(conversations),
            # What a deployment sets; the loader itself names no storage.
            environment={"CORAIL_STORAGE": "postgresql", "CORAIL_DATABASE_URL": url},
            kill_now=kill_now,
        )
    terminal.say(f"{finished:,} conversations acknowledged in {perf_counter() - started:.1f} s.")
    return result


async def _compare(
    storage: StoragePort, conversations: list[Conversation], acknowledged: Mapping[str, int]
) -> bool:
    one_by_one = {conversation.id for conversation in by_message(conversations)}
    result = await compare(storage, conversations, acknowledged, by_message=one_by_one)
    terminal.say("What PostgreSQL holds, compared with the originals text by text:")
    _print(result)
    if not result.good:
        terminal.complain("Messages were lost, doubled or torn. This must not happen: please report it.")
    return result.good


def _print(result: Comparison) -> None:
    for number, what in (
        (result.lost, "acknowledged messages lost"),
        (result.different, "conversations with a doubled, altered or misplaced message"),
        (result.torn, "conversations torn in the middle of a batch"),
        (result.unacknowledged, "messages stored whose acknowledgement the kill cut off"),
        (result.identical, "conversations complete and identical"),
    ):
        terminal.say(f"  {number:>7,}  {what}")


if __name__ == "__main__":
    sys.exit(main())
