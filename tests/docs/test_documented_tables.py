"""What the documents list is what the code has: variables, errors, arguments, parameters, targets."""

import ast
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from corail.storage import errors
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.postgresql import PostgreSQLStorage, _settings
from corail.storage.postgresql._dsn import known_parameters
from tests.docs.documents import DISTRIBUTIONS, DOCUMENTS, ROOT, code, table

README: Final = ROOT / "README.md"
CONFIGURATION: Final = ROOT / "docs" / "configuration.md"
CONTRIBUTING: Final = ROOT / "CONTRIBUTING.md"

_TEST_VARIABLES: Final = "CORAIL_TEST_"


def _variables(*folders: Path) -> set[str]:
    """Return the environment variables that the sources name, those for tests included."""
    return {
        name
        for folder in folders
        for path in folder.rglob("*.py")
        for name in re.findall(r"CORAIL_[A-Z]+(?:_[A-Z]+)*", path.read_text("utf-8"))
    }


def _first_cells(rows: Iterable[list[str]]) -> list[str]:
    return [name for row in rows for name in code(row[0])]


def _read_in_production(*folders: Path) -> set[str]:
    return {name for name in _variables(*folders) if not name.startswith(_TEST_VARIABLES)}


def test_settings_are_the_variables_that_the_code_reads() -> None:
    documented = _first_cells(table(README, "Settings"))
    assert sorted(documented) == sorted(_read_in_production(*(d / "src" for d in DISTRIBUTIONS)))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda path: path.name)
def test_a_distribution_documents_the_variables_it_reads(distribution: Path) -> None:
    text = (distribution / "README.md").read_text("utf-8")
    undocumented = {
        name for name in _read_by(distribution) if f"`{name}`" not in text and f"export {name}=" not in text
    }
    assert undocumented == set()


def _read_by(distribution: Path) -> set[str]:
    read = _read_in_production(distribution / "src")
    # Core mentions in an error where a URL belongs, and reads nothing of it.
    return read - {"CORAIL_DATABASE_URL"} if distribution.name == "corail-storage-core" else read


def test_variables_for_tests_are_those_that_tests_read() -> None:
    documented = _first_cells(table(CONTRIBUTING, "Tests"))
    read = _variables(*(d / "src" for d in DISTRIBUTIONS), ROOT / "tests")
    assert sorted(documented) == sorted(name for name in read if name.startswith(_TEST_VARIABLES))


def test_no_document_names_a_variable_that_nothing_reads() -> None:
    read = _variables(*(d / "src" for d in DISTRIBUTIONS), ROOT / "tests")
    for document in DOCUMENTS:
        named = set(re.findall(r"CORAIL_[A-Z]+(?:_[A-Z]+)*", document.read_text("utf-8")))
        assert named <= read, document.name


def test_errors_are_those_there_are() -> None:
    documented = [code(row[0])[0] for row in table(README, "Errors")]
    assert sorted(documented) == sorted(errors.__all__)


def test_documents_name_no_error_that_there_is_not() -> None:
    known = {*errors.__all__, "TypeError", "ValueError", "ImportError", "TimeoutError"}
    known |= {"ConnectionError", "OSError", "EmbeddedPostgresError", "NotImplementedError", "AssertionError"}
    for document in DOCUMENTS:
        named = set(re.findall(r"\b[A-Z][A-Za-z]+Error\b", document.read_text("utf-8")))
        assert named <= known, document.name


def test_explained_messages_are_those_that_are_raised() -> None:
    raised = [
        node.value
        for distribution in DISTRIBUTIONS
        for path in (distribution / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for row in table(ROOT / "docs" / "errors.md", "What the common ones mean"):
        # What stands between the parts that differ each time.
        for part in re.split(r"\.\.\.|\(\w{5}\)|'memory'", row[0]):
            assert any(part.strip() in text for text in raised), f"nothing says {part.strip()!r}"


def test_calls_are_those_of_the_port() -> None:
    documented = {
        name.partition("(")[0] for row in table(README, "What a storage does") for name in code(row[0])
    }
    port = {
        name for name, _ in inspect.getmembers(StoragePort, inspect.isfunction) if not name.startswith("_")
    }
    assert documented - {"async with"} == port


@pytest.mark.parametrize(
    ("distribution", "heading", "backend"),
    [
        ("corail-storage-memory", "Options", MemoryStorage),
        ("corail-storage-postgresql", "Settings", PostgreSQLStorage),
    ],
)
def test_arguments_are_those_of_the_constructor(
    distribution: str, heading: str, backend: type[StoragePort]
) -> None:
    documented = _first_cells(table(ROOT / distribution / "README.md", heading))
    assert sorted(documented) == sorted(inspect.signature(backend).parameters)


def test_modules_are_those_of_core() -> None:
    documented = _first_cells(table(ROOT / "corail-storage-core" / "README.md", "Modules"))
    folder = ROOT / "corail-storage-core" / "src" / "corail" / "storage"
    modules = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    public = sorted(f"corail.storage.{name}" for name in modules if not name.startswith("_"))
    assert sorted(documented) == public


def test_parameters_are_those_that_are_known() -> None:
    documented = _first_cells(table(CONFIGURATION, "Parameters"))
    assert sorted(documented) == list(known_parameters())


def test_timeouts_have_the_documented_defaults() -> None:
    documented = {code(row[0])[0]: float(row[1]) for row in table(CONFIGURATION, "Timeouts")}
    parameters = inspect.signature(PostgreSQLStorage).parameters
    limits = _settings.limits(
        None,
        pool_size=None,
        connect_timeout=None,
        acquire_timeout=parameters["acquire_timeout"].default,
        command_timeout=None,
        deadline=parameters["deadline"].default,
        close_timeout=parameters["close_timeout"].default,
    )
    assert documented == {name: getattr(limits, name) for name in documented}
    assert set(documented) == {name for name in parameters if "timeout" in name or name == "deadline"}


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = {line.partition(":")[0] for line in makefile.splitlines() if re.match(r"[a-z-]+:.* ## ", line)}
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", text))
        assert named <= targets, document.name
    listed = {name.removeprefix("make").strip() for name in _first_cells(table(CONTRIBUTING, "Set-up"))}
    assert listed - {""} == targets - {"help", "setup"}
