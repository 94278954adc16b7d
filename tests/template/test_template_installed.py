"""A backend fresh from the command is published, installed, found, green, typed and tidy."""

import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from corail.storage.testing._clauses import TESTS
from tests.packaging.environments import FACTORY, Environment
from tests.template.authoring import Published, count, reasons, run, run_tests

_SAVE = """
import asyncio
async def save():
    async with StorageFactory.create() as storage:
        await storage.append_message("chat-1", "user", "What is a coral?")
        return await storage.get_messages("chat-1")
answer = asyncio.run(save())
"""


def test_its_tests_are_green(environment: Environment, published: Published, quick: Path) -> None:
    ended = run_tests(environment, published.project, quick / "kit")
    assert ended.code == 0, ended.output
    # All tests of the kit and some of its own, and nothing skipped but what no kit can decide.
    assert count("passed", ended.output) + count("skipped", ended.output) > len(TESTS)
    assert [why for why in reasons(ended.output) if not why.startswith("undecided by the kit")] == []


def test_it_is_found_where_it_is_installed(environment: Environment) -> None:
    assert environment.available() == ["couch-db2"]
    row = environment.description("couch-db2")
    assert row["target"] == "corail_storage_couch_db2:CouchDb2Storage"
    assert row["distribution"] == "corail-storage-couch-db2"


def test_the_environment_chooses_it_and_it_persists(environment: Environment, tmp_path: Path) -> None:
    variables = {
        "CORAIL_STORAGE": "couch-db2",
        "CORAIL_COUCH_DB2_PATH": str(tmp_path / "conversations.sqlite"),
    }
    lengths = [len(environment.answer(FACTORY + _SAVE, variables)) for _ in range(3)]
    assert lengths == [1, 2, 3]


def test_without_a_path_it_says_what_to_set(environment: Environment) -> None:
    kind, message = environment.refusal("couch-db2")
    assert kind == "StorageConfigurationError"
    assert "CORAIL_COUCH_DB2_PATH" in message


def test_the_wheel_holds_its_own_package_only(published: Published) -> None:
    with zipfile.ZipFile(published.wheel) as archive:
        (described,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(described).decode()
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == {"corail_storage_couch_db2"}
    assert "corail_storage_couch_db2/py.typed" in names
    required = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, re.MULTILINE)
    # Without an upper bound: a cap would break "a backend for ever".
    assert sorted(required) == ["aiosqlite>=0.20", "corail-storage-core>=0.1"]


@pytest.mark.parametrize(
    "tool",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("pyright",)],
    ids=" ".join,
)
def test_it_is_tidy_and_strictly_typed(
    tool: tuple[str, ...], published: Published, environment: Environment
) -> None:
    # The tools of this workspace, the settings of the project, the packages of the author's environment.
    where = {
        "mypy": ["--python-executable", str(environment.python)],
        "pyright": ["--pythonpath", str(environment.python)],
    }.get(tool[0], [])
    ended = run([sys.executable, "-m", *tool, *where], folder=published.project)
    assert ended.code == 0, ended.output


def test_make_runs_its_tests(published: Published, environment: Environment) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make on this machine")
    # As if the first target had made it, which takes the network.
    (environment.folder / ".ready").touch()
    place = f"VENV={environment.folder}"
    arguments = "ARGS=-p no:cacheprovider tests/test_settings_and_errors.py"
    ended = run([make, "test", place, arguments], folder=published.project)
    assert ended.code == 0, ended.output
    listed = run([make, place], folder=published.project)
    assert listed.code == 0, listed.output
    assert [line.split()[:2] for line in listed.output.splitlines()] == [
        ["make", target] for target in ("help", "setup", "test", "lint", "build", "clean")
    ]
