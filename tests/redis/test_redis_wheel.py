"""The distribution as it is published: its wheel, what it brings, and that it is found by its entry point."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import corail.storage.redis
from tests.packaging.environments import Environment
from tests.packaging.wheels import ROOT, Built, build, download
from tests.redis.servers import Node

PROJECT = ROOT / "examples" / "corail-storage-redis"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    """Core and this distribution, built."""
    folder = tmp_path_factory.mktemp("built")
    return [build(name, folder) for name in ("corail-storage-core", "examples/corail-storage-redis")]


@pytest.fixture(scope="module")
def environment(wheels: list[Built], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with nothing but core and this distribution, from their wheels."""
    wheelhouse = tmp_path_factory.mktemp("wheelhouse")
    download(wheels, wheelhouse)
    made = Environment(tmp_path_factory.mktemp("environment") / "venv", wheelhouse)
    made.install("corail-storage-redis")
    return made


def test_the_wheel_holds_the_leaf_and_nothing_above_it(wheels: list[Built]) -> None:
    names = wheels[1].installed()
    assert all(name.startswith("corail/storage/redis/") for name in names)
    assert {"corail/storage/redis/__init__.py", "corail/storage/redis/py.typed"} <= set(names)
    assert wheels[1].metadata()["Name"] == "corail-storage-redis"
    with zipfile.ZipFile(wheels[1].wheel) as archive:
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_it_is_the_one_storage_beside_core(environment: Environment, node: Node, prefix: str) -> None:
    assert environment.available() == ["redis"]
    program = """
import asyncio
from corail.storage.factory import StorageFactory

async def main():
    async with StorageFactory.create() as storage:
        await storage.append_message("chat", "user", "text")
        return [type(storage).__module__, await storage.get_messages("chat")]

answer = asyncio.run(main())
"""
    variables = {"CORAIL_STORAGE": "redis", "CORAIL_REDIS_URL": node.url, "CORAIL_REDIS_PREFIX": prefix}
    module, messages = environment.answer(program, variables)
    assert module == "corail.storage.redis._storage"
    assert messages == [{"role": "user", "content": "text"}]


def test_it_uses_public_modules_of_core_only() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (PROJECT / "src").rglob("*.py"))
    used = set(re.findall(r"from (corail\.storage\.\w+|corail\.storage) import", source))
    used |= set(re.findall(r"^import (corail[\w.]*)", source, re.MULTILINE))
    assert used
    assert not [name for name in used if "._" in name]
    assert corail.storage.redis.__all__ == ["RedisStorage"]
    assert {name for name in vars(corail.storage.redis) if not name.startswith("_")} == {"RedisStorage"}


def test_importing_it_connects_to_nothing_and_construction_neither(tmp_path: Path) -> None:
    program = """
import socket, sys
def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        sys.exit(f"{event} happened")
sys.addaudithook(refuse)
from corail.storage.redis import RedisStorage
for url in ("redis://localhost", "redis+cluster://localhost,other", "unix:///nowhere"):
    repr(RedisStorage(url))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=60)


def test_its_own_tests_are_the_kit(node: Node) -> None:
    # A part of them, in their own project and settings; all of the kit runs in test_contract_redis.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "guard or c10 or c30"]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "CORAIL_REDIS_URL": node.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


def test_the_readme_runs_as_printed(node: Node, prefix: str) -> None:
    text = (PROJECT / "README.md").read_text("utf-8")
    program, expected = re.findall(r"```python\n(.*?)```.*?```text\n(.*?)```", text, re.DOTALL)[0]
    variables = {**os.environ, "CORAIL_REDIS_URL": node.url, "CORAIL_REDIS_PREFIX": prefix}
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == expected


def test_the_readme_lists_every_option() -> None:
    text = (PROJECT / "README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    code = corail.storage.redis.RedisStorage.__init__.__code__
    taken = set(code.co_varnames[1 : 1 + code.co_argcount + code.co_kwonlyargcount - 1])
    assert listed == taken


def test_the_benchmark_runs(node: Node) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROJECT / "benchmark.py")],
        env={**os.environ, "CORAIL_REDIS_URL": node.url, "BENCHMARK_MESSAGES": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
    assert not node.command("KEYS", "benchmark-*")
