"""A published backend is not broken by a newer core."""

import shutil
from pathlib import Path

from corail.storage.testing._clauses import TESTS
from tests.packaging.environments import FACTORY, Environment
from tests.template.authoring import Published, count, reasons, run_tests
from tests.template.newer_core import NEW_TEST, VERSION


def test_the_tests_stay_green_and_the_new_one_is_skipped(
    upgraded: Environment, published: Published, quick: Path
) -> None:
    version = "from importlib.metadata import version\nanswer = version('corail-storage-core')"
    assert upgraded.answer(version) == VERSION
    ended = run_tests(upgraded, published.project, quick / "newer")
    assert ended.code == 0, ended.output
    new = [why for why in reasons(ended.output) if not why.startswith("undecided by the kit")]
    assert new == ["new in contract 1.1"]
    assert count("passed", ended.output) + count("skipped", ended.output) > len(TESTS) + 1


def test_the_backend_has_the_new_method(upgraded: Environment, tmp_path: Path) -> None:
    code = f"""{FACTORY}
import asyncio
async def count():
    async with StorageFactory.create("couch-db2", path={str(tmp_path / "conversations.sqlite")!r}) as storage:
        await storage.create_conversation("chat-1")
        return await storage.count_conversations()
answer = asyncio.run(count())
"""
    assert upgraded.answer(code) == 1
    assert upgraded.available() == ["couch-db2"]


def test_an_author_who_raises_the_contract_gets_the_new_test(
    upgraded: Environment, published: Published, quick: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    shutil.copytree(published.project, project)
    tests = project / "tests" / "test_contract.py"
    text = tests.read_text("utf-8")
    assert "    contract = (1, 0)\n" in text
    tests.write_text(text.replace("contract = (1, 0)", "contract = (1, 1)"), "utf-8")
    ended = run_tests(upgraded, project, quick / "raised", "-k", NEW_TEST)
    assert ended.code == 0, ended.output
    assert count("passed", ended.output) == 1
