"""The command itself: which names and folders it takes, what it says, and that a refusal writes nothing."""

import ast
import os
import shlex
import sys
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from corail.storage.testing import new_backend
from corail.storage.testing._template import writing
from corail.storage.testing._template.names import LONGEST
from tests.template.authoring import COMMAND, run

NAMES = ["x", "s3", "notes", "couch-db2", "a-1-b", "w" * LONGEST, "words-" * 4 + "123456"]


def _refusal(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        new_backend.main([name, str(folder)])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.partition("error: ")[2]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_within_the_rule_gives_tidy_code(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    assert new_backend.main([name, str(folder)]) == 0
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == f"corail-storage-{name}"
    package = f"corail_storage_{name.replace('-', '_')}"
    target = project["entry-points"]["corail.storage"][name]
    assert target.startswith(f"{package}:")
    assert target.partition(":")[2] in (folder / "src" / package / "__init__.py").read_text("utf-8")
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text("utf-8"))
    for tool in (["check"], ["format", "--check"]):
        ended = run([sys.executable, "-m", "ruff", *tool, "--no-cache", "."], folder=folder)
        assert ended.code == 0, ended.output


def test_the_names_of_files_and_texts_are_all_filled_in(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    new_backend.main(["couch-db2", str(folder)])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if "@@" in str(path) + path.read_text("utf-8")] == []
    assert {str(path.relative_to(folder)) for path in files} >= {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        ".github/workflows/test.yml",
        "src/corail_storage_couch_db2/_storage.py",
        "src/corail_storage_couch_db2/py.typed",
        "tests/test_contract.py",
    }


def test_the_variable_is_named_after_the_backend(tmp_path: Path) -> None:
    for name, variable in (("notes", "CORAIL_NOTES_PATH"), ("couch-db2", "CORAIL_COUCH_DB2_PATH")):
        folder = tmp_path / name
        new_backend.main([name, str(folder)])
        readme = (folder / "README.md").read_text("utf-8")
        assert f"$ export {variable}=" in readme


def test_every_file_of_the_template_is_used() -> None:
    folder = Path(writing.__file__).parent / "files"
    there = {path.name for path in folder.iterdir()}
    used = {f"{name}.tmpl" for name in writing.FILES.values() if name is not None}
    assert there == used


def test_it_says_which_three_commands_come_next(tmp_path: Path) -> None:
    ended = run([*COMMAND, "notes", "with a space"], folder=tmp_path)
    assert ended.code == 0
    commands = [shlex.split(line) for line in ended.output.splitlines() if line.startswith("  ")]
    assert commands == [["cd", "with a space"], ["make", "test"], ["make", "lint"]]
    makefile = (tmp_path / "with a space" / "Makefile").read_text("utf-8")
    assert "\ntest: " in makefile
    assert "\nlint: " in makefile


def test_help_names_the_rules_and_an_example() -> None:
    ended = run([*COMMAND, "--help"])
    assert ended.code == 0
    for part in ("NAME", "DIR", "corail_storage_my_notes", "new_backend notes corail-storage-notes"):
        assert part in ended.output


@pytest.mark.parametrize(
    ("name", "reason", "example"),
    [
        ("", "lower-case letters", "my-notes"),
        ("Notes", "lower-case letters", "notes"),
        ("MyNotes", "lower-case letters", "my-notes"),
        ("my_notes", "single dashes", "my-notes"),
        ("my--notes", "single dashes", "my-notes"),
        ("my notes", "single dashes", "my-notes"),
        ("-notes-", "single dashes", "notes"),
        ("3d", "a letter first", "my-notes"),
        ("n\u00f6tes", "lower-case letters", "my-notes"),
        ("notes\n", "lower-case letters", "notes"),
        ("../notes", "lower-case letters", "notes"),
        ("w" * (LONGEST + 1), "at most", "my-notes"),
        ("Redis", "lower-case letters", "my-notes"),
        ("memory", "reserved", "my-memory"),
        ("postgresql", "reserved", "my-postgresql"),
        ("redis", "reserved", "my-redis"),
        ("core", "reserved", "my-core"),
        ("testing", "reserved", "my-testing"),
        ("import", "a keyword of Python", "import-file"),
        ("json", "standard library", "json-file"),
        ("sqlite3", "standard library", "sqlite3-file"),
        ("concurrent", "standard library", "concurrent-file"),
        ("corail-storage-notes", "begins with corail-storage-", "notes"),
        ("corail_storage_notes", "single dashes", "notes"),
    ],
)
def test_other_names_are_refused_with_an_example(
    name: str, reason: str, example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Names that begin with a dash would be options; "--" says that they are not.
    with pytest.raises(SystemExit) as ended:
        new_backend.main(["--", name, str(tmp_path / "new")])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.rstrip().endswith(f"s in: {example}")
    assert list(tmp_path.iterdir()) == []


def test_every_example_would_be_taken(tmp_path: Path) -> None:
    for number, name in enumerate(["my-notes", "my-redis", "my-memory", "import-file", "sqlite3-file"]):
        assert new_backend.main([name, str(tmp_path / str(number))]) == 0


def test_a_folder_that_holds_something_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("mine", "utf-8")
    assert "is not empty" in _refusal("notes", tmp_path, capsys)
    assert [path.read_text("utf-8") for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_in_the_place_of_the_folder_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine", "utf-8")
    assert "is a file" in _refusal("notes", file, capsys)
    assert "cannot be written" in _refusal("notes", file / "below", capsys)
    assert file.read_text("utf-8") == "mine"


def test_a_folder_that_may_not_be_written_is_refused(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = tmp_path_factory.mktemp("locked")
    with _locked(parent):
        assert "cannot be" in _refusal("notes", parent / "new", capsys)
        assert "cannot be" in _refusal("notes", parent, capsys)
    assert list(parent.iterdir()) == []


def test_empty_folders_are_taken_and_a_repository_too(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / ".git").mkdir(parents=True)
    for folder in (repository, tmp_path / "deep" / "below"):
        assert new_backend.main(["notes", str(folder)]) == 0
        assert (folder / "pyproject.toml").exists()


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Take the right to write away; from root, who keeps it, by being somebody else for a while."""
    root = os.geteuid() == 0
    folder.chmod(0o500)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
