"""Every example in a document runs as it stands and prints what the document says."""

import asyncio
import importlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage, schema_sql
from tests.docs.documents import DISTRIBUTIONS, ROOT, Block, blocks, saved_before

_FRAGMENT = """\
import asyncio

from corail.storage.factory import StorageFactory


async def main() -> None:
    async with StorageFactory.create() as storage:
{body}


asyncio.run(main())
"""


def _named(block: Block) -> str:
    return block.place


def _environment(**more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("CORAIL_")}
    kept = {name: os.environ[name] for name in ("CORAIL_TEST_PG_BINDIR",) if name in os.environ}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**ours, **kept, "PATH": path, **more}


def _save_files(block: Block, folder: Path) -> None:
    for saved in saved_before(block):
        assert saved.name is not None
        path = folder / saved.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(saved.text, "utf-8")


def _program(block: Block) -> str:
    """Return the block as a program: one that awaits outside a function is given a storage."""
    try:
        compile(block.text, block.place, "exec")
    except SyntaxError:
        return _FRAGMENT.format(body=textwrap.indent(block.text, " " * 8))
    return block.text


def _storages(block: Block) -> list[str]:
    # What leaves the choice to the environment has to work on whatever that names.
    return ["memory", "postgresql"] if "StorageFactory.create()" in _program(block) else ["memory"]


@pytest.mark.parametrize(
    ("block", "storage"),
    [
        pytest.param(block, storage, id=f"{block.place}-{storage}")
        for block in blocks("python")
        for storage in _storages(block)
    ],
)
def test_python_examples_run(block: Block, storage: str, database_url: str, tmp_path: Path) -> None:
    _save_files(block, tmp_path)
    program = tmp_path / (block.name or "example.py")
    program.write_text(_program(block), "utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", program],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_environment(CORAIL_STORAGE=storage, CORAIL_DATABASE_URL=database_url),
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    if block.expected is not None:
        assert result.stdout == block.expected
    else:
        assert result.stdout == "", "an example that prints has to say what"


def test_python_examples_are_typed(tmp_path: Path) -> None:
    files: list[Path] = []
    for block in blocks("python"):
        folder = tmp_path / block.place.replace("/", "_").replace(":", "_").replace(".", "_")
        folder.mkdir()
        _save_files(block, folder)
        module = folder / f"{folder.name}.py"
        module.write_text(_program(block), "utf-8")
        files.append(module)
    modules = {path.parent for path in tmp_path.glob("*/corail_storage_mine.py")}
    mypy: list[str | Path] = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"]
    result = subprocess.run(
        [*mypy, "--cache-dir", ROOT / ".mypy_cache" / "documents", *files],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=_environment(MYPYPATH=str(min(modules))),
        timeout=300,
    )
    assert result.returncode == 0, result.stdout


# What is documented of the upgrade is run in its order by test_documented_upgrade.py.
_UPGRADE = "corail.storage.postgresql.upgrade"


@pytest.mark.parametrize("block", blocks("console"), ids=_named)
def test_console_examples_run(block: Block, tmp_path: Path) -> None:
    _save_files(block, tmp_path)
    site = tmp_path / "site"
    for command, expected in _commands(block):
        if command == "pip install .":
            _install(tmp_path, site)
        elif re.match(r"(?:[A-Z_]+=\S+ )*(?:python|pytest) ", command) and _UPGRADE not in command:
            modules = os.pathsep.join([str(site), str(tmp_path)])
            environment = _environment(PYTHONPATH=modules, CORAIL_STORAGE="memory")
            printed = _shell(command, tmp_path, environment)
            assert printed == expected or expected == ""
        else:
            assert expected == "", f"nobody checks what this prints: {command}"
            _check_unrun(command)


def test_the_namespace_itself_holds_no_class() -> None:
    namespace = importlib.import_module("corail.storage")
    assert not hasattr(namespace, "StorageFactory")
    assert getattr(namespace, "__file__", None) is None


@pytest.mark.parametrize("block", blocks("toml"), ids=_named)
def test_toml_examples_can_be_read(block: Block) -> None:
    assert tomllib.loads(block.text)


# Those of the upgrade run on older tables, in test_documented_upgrade.
_SQL = [block for block in blocks("sql") if block.document.name != "upgrading.md"]
_GRANTS = [block for block in _SQL if "GRANT" in block.text]
_CHANGES = [block for block in _SQL if "GRANT" not in block.text]


@pytest.mark.parametrize("block", _CHANGES, ids=_named)
def test_sql_examples_run_on_tables_that_are_in_use(block: Block, database_url: str) -> None:
    async def run() -> None:
        async with PostgreSQLStorage(database_url, schema="agents") as storage:
            await storage.append_message("chat-1", "user", "before")
            owner = await asyncpg.connect(database_url, timeout=30)
            await owner.execute(block.text)
            await owner.close()
        async with PostgreSQLStorage(database_url, schema="agents") as storage:
            await storage.append_message("chat-1", "user", "after")
            assert [each["content"] for each in await storage.get_messages("chat-1")] == ["before", "after"]

    asyncio.run(run())


@pytest.mark.parametrize("block", _GRANTS, ids=_named)
def test_sql_examples_grant_what_is_needed(block: Block, database_url: str) -> None:
    role, password = f"corail_test_{uuid4().hex[:8]}", uuid4().hex
    statements = re.sub(r"\bagent;", f"{role};", block.text)

    async def run() -> None:
        owner = await asyncpg.connect(database_url, timeout=30)
        try:
            await owner.execute(schema_sql("agents"))
            await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
            await owner.execute(statements)
            url = re.sub(r"//.*@", f"//{role}:{password}@", database_url)
            async with PostgreSQLStorage(url, schema="agents") as storage:
                await storage.append_message("chat-1", "user", "text")
                await storage.update_title("chat-1", "title")
                assert len(await storage.get_messages("chat-1")) == 1
                await storage.delete_conversation("chat-1")
                assert not await storage.conversation_exists("chat-1")
        finally:
            await owner.execute(f"DROP OWNED BY {role}")
            await owner.execute(f"DROP ROLE {role}")
            await owner.close()

    asyncio.run(run())


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    kinds = {"python", "console", "toml", "sql", "yaml", "text"}
    unknown = [block.place for block in blocks("", "sh", "bash", "shell", "json", "py")]
    assert unknown == [], f"use one of {sorted(kinds)}"


def _commands(block: Block) -> list[tuple[str, str]]:
    commands: list[tuple[str, str]] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            commands.append((line[2:].strip(), ""))
        else:
            command, expected = commands[-1]
            commands[-1] = (command, expected + line)
    return commands


def _install(project: Path, site: Path) -> None:
    """Do what ``pip install .`` does, into a folder of its own and without the network."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    subprocess.run([*pip, *offline, "--target", site, project], check=True, env=_environment(), timeout=120)


def _shell(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return re.sub(r"0x[0-9a-f]+", "0x...", result.stdout)


def _check_unrun(command: str) -> None:
    """Check what a test cannot run here as far as it can be checked."""
    if command.startswith("pip install "):
        requirement = re.fullmatch(r"pip install (\"?)([\w-]+)(?:\[([\w,]+)\])?\1", command)
        assert requirement is not None, command
        assert requirement[2] in {folder.name for folder in DISTRIBUTIONS}, command
        extras = _extras(ROOT / requirement[2])
        assert set((requirement[3] or "").split(",")) - {""} <= extras, command
    elif command.startswith(".venv/bin/python -m benchmarks."):
        module, *arguments = shlex.split(command)[2:]
        program: Any = importlib.import_module(module)
        options = program.parser().parse_args(arguments)
        if getattr(options, "contender", None):
            adapter, _, name = options.contender.partition(":")
            assert hasattr(importlib.import_module(adapter), name), command
    else:
        # Targets of make and variables are compared with the code elsewhere.
        assert _UPGRADE in command or re.fullmatch(r"make [a-z-]+|export CORAIL_[A-Z_]+=\S+", command), (
            f"nobody checks: {command}"
        )


def _extras(distribution: Path) -> set[str]:
    project = tomllib.loads((distribution / "pyproject.toml").read_text("utf-8"))["project"]
    return set(project.get("optional-dependencies", {}))
