"""An environment for every peer, made from ``pins/``; kept in ``.venvs/``, which is not tracked.

Several of them cannot live in one environment: they want different versions of the same driver.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.contenders import Contender

HERE: Final = Path(__file__).resolve().parent
_VENVS: Final = HERE / ".venvs"
_PINS: Final = HERE / "pins"
_MARKER: Final = ".made-from"
_TAIL: Final = 1_500


class Peer(NamedTuple):
    """A library and what has to be installed to measure it."""

    key: str
    name: str
    adapter: str
    requirements: tuple[str, ...]


PEERS: Final = (
    Peer(
        "langchain",
        "langchain-postgres",
        "benchmarks.adapters.peers.langchain:LangChain",
        ("langchain-postgres", "psycopg[binary]", "psycopg-pool"),
    ),
    Peer("chainlit", "chainlit", "benchmarks.adapters.peers.chainlit:Chainlit", ("chainlit", "asyncpg")),
    Peer(
        "llama",
        "llama-index",
        "benchmarks.adapters.peers.llama:LlamaIndex",
        ("llama-index-storage-chat-store-postgres", "psycopg[binary]", "sqlalchemy[asyncio]"),
    ),
    Peer(
        "openai",
        "openai-agents",
        "benchmarks.adapters.peers.openai:OpenAIAgents",
        ("openai-agents[sqlalchemy]",),
    ),
    Peer(
        "agno", "agno", "benchmarks.adapters.peers.agno:Agno", ("agno[async-postgres]", "sqlalchemy[asyncio]")
    ),
    Peer("adk", "google-adk", "benchmarks.adapters.peers.adk:GoogleADK", ("google-adk[db]", "asyncpg")),
)


class InstallError(Exception):
    """A peer's environment could not be made; the text holds the end of what was printed."""


def contender(peer: Peer, progress: Callable[[str], None], *, renew: bool = False) -> Contender:
    """Return the peer in its environment, made first where it is missing or its pins have changed.

    Args:
        peer: which one.
        progress: told what takes long.
        renew: install the newest versions instead of the pinned ones, and pin those.

    """
    folder, pins = _VENVS / peer.key, _PINS / f"{peer.key}.txt"
    python = folder / "bin" / "python"
    marker = folder / _MARKER
    if renew or not marker.is_file() or marker.read_text("utf-8") != _fingerprint(pins):
        progress(f"installing {peer.name} and what it needs")
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        pinned = ["-c", str(pins)] if pins.exists() and not renew else []
        _pip(python, "install", "--quiet", *pinned, *peer.requirements)
        if renew or not pins.exists():
            _PINS.mkdir(exist_ok=True)
            pins.write_text(_header(peer) + _pip(python, "list", "--format=freeze"), "utf-8")
        marker.write_text(_fingerprint(pins), "utf-8")
    return Contender(peer.key, peer.name, peer.adapter, python)


def _header(peer: Peer) -> str:
    return (
        f"# {peer.name} as it is measured; made by `python -m benchmarks.peers --renew` on Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}\n"
        f"# from: {' '.join(peer.requirements)}\n"
    )


def _fingerprint(pins: Path) -> str:
    digest = hashlib.sha256(pins.read_bytes() if pins.exists() else b"").hexdigest()
    return f"{sys.version_info[0]}.{sys.version_info[1]} {digest}\n"


def _pip(python: Path, *arguments: str) -> str:
    # Ours installs for them: an environment without pip is made in a moment.
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    return _run(*pip, "--python", str(python), *arguments)


def _run(*command: str) -> str:
    done = subprocess.run(  # noqa: S603 - venv and pip
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise InstallError(f"{' '.join(command[1:5])} ... failed:\n{(done.stdout + done.stderr)[-_TAIL:]}")
    return done.stdout
