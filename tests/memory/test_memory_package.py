"""What the distribution promises from outside: a cheap import, one public name, a README that runs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import corail.storage.memory

README = Path(__file__).parents[2] / "corail-storage-memory" / "README.md"

HEAVY = [
    "asyncio",
    "anyio",
    "trio",
    "logging",
    "dataclasses",
    "inspect",
    "json",
    "importlib.metadata",
    "uuid",
]


def test_importing_loads_nothing_heavy() -> None:
    program = f"import sys, corail.storage.memory; print([name for name in {HEAVY} if name in sys.modules])"
    assert ast.literal_eval(_output_of(program)) == []


def test_the_package_is_a_face() -> None:
    assert corail.storage.memory.__all__ == ["MemoryStorage"]
    public = {name for name in vars(corail.storage.memory) if not name.startswith("_")}
    assert public == {"MemoryStorage"}


def test_the_readme_runs_as_printed() -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    programs = [(text, blocks[place + 1]) for place, (kind, text) in enumerate(blocks) if kind == "python"]
    assert programs
    for program, (kind, expected) in programs:
        assert kind == "text"
        assert _output_of(program) == expected


def _output_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
