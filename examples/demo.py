"""Store real conversations, continue one as an agent would, list the newest, print a transcript.

Runs on the storage that ``CORAIL_STORAGE`` names, and in memory when it is not set::

    python examples/demo.py
    CORAIL_STORAGE=postgresql CORAIL_DATABASE_URL=postgresql://... python examples/demo.py
    python examples/demo.py --delete        # remove from that storage what earlier runs stored
"""

import os
import sys
from time import perf_counter

from chitchat import command, terminal
from chitchat.checking import compare
from chitchat.dataset import TOTAL, Conversation, read_conversations
from chitchat.loading import for_each, store
from chitchat.show import show_installed, show_use
from corail.storage.capabilities import PERSISTENT
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = command.parser("Show what a conversation storage does, on real conversations.")
    parser.add_argument(
        "--delete",
        nargs="?",
        const="",
        metavar="RUN",
        help="instead remove what earlier runs stored, or only what the named RUN did",
    )
    options = parser.parse_args()
    if options.delete is None:
        return command.run(demonstrate(options.conversations))
    if options.delete and not options.delete.startswith(command.PREFIX):
        parser.error(f"the name of a run starts with {command.PREFIX}")
    return command.run(delete(options.delete))


async def demonstrate(count: int) -> int:
    """Do everything the demo does with ``count`` conversations; return the exit code."""
    length = "a few seconds" if count <= 1000 else "up to a minute"
    terminal.say(f"This loads {count:,} of {TOTAL:,} real conversations and uses them: {length}.")
    terminal.heading("1. The storages installed here")
    show_installed()
    async with StorageFactory.create() as storage:
        report = await storage.check()
        chosen = "CORAIL_STORAGE" if os.environ.get("CORAIL_STORAGE", "").strip() else "the default"
        terminal.say(f"Selected: {type(storage).__name__} ({chosen}).")
        if not report["ok"]:
            terminal.complain(f"It cannot be used now. {report['problem']}")
            return 1
        run = command.new_run()
        try:
            return await _load_and_show(storage, run, read_conversations(count, prefix=f"{run}:"))
        finally:
            if PERSISTENT in storage.capabilities:
                terminal.heading("What this run stored is still there")
                terminal.say(f"Its ids start with {run}: and nothing else was touched. To remove it:")
                terminal.say(f"python {sys.argv[0]} --delete {run}")


async def _load_and_show(storage: StoragePort, run: str, conversations: list[Conversation]) -> int:
    terminal.heading("2. Loading")
    started = perf_counter()
    with terminal.progress("stored", len(conversations)) as advance:

        async def load(conversation: Conversation) -> None:
            await store(storage, conversation)
            advance()

        await for_each(conversations, load)
    seconds = perf_counter() - started
    expected = {conversation.id: len(conversation.messages) for conversation in conversations}
    result = await compare(storage, conversations, expected)
    terminal.say(f"{result.messages:,} messages in {seconds:.1f} s, in conversations called {run}:...")
    terminal.say(f"Read back and compared text by text: {result.identical:,} are identical.")
    if result.identical != len(conversations):
        terminal.complain("Some are not. This must not happen: please report it.")
        return 1
    await show_use(storage, conversations, part=3)
    return 0


async def delete(run: str) -> int:
    """Remove what demo runs stored, or what ``run`` did; return the exit code."""
    prefix = f"{run}:" if run else command.PREFIX
    removed = 0
    async with StorageFactory.create() as storage:
        after: str | None = None
        while True:
            page = await storage.page_conversations(limit=1000, after=after)
            for row in page["items"]:
                if row["id"].startswith(prefix):
                    await storage.delete_conversation(row["id"])
                    removed += 1
            after = page["next"]
            if after is None:
                break
    terminal.say(f"Removed {removed:,} conversations whose ids start with {prefix}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
