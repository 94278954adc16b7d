"""Fills in the template's files and writes them; decides no name."""

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from corail.storage.testing._clauses import CONTRACT
from corail.storage.testing._template.names import Names, RefusedError

# Where each file goes. The names here end in .tmpl, so that linters, type checkers, pytest and the
# packaging of core leave them alone.
FILES: Final = {
    ".github/workflows/test.yml": "test.yml",
    ".gitignore": "gitignore",
    "LICENSE": "LICENSE",
    "Makefile": "Makefile",
    "README.md": "README.md",
    "pyproject.toml": "pyproject.toml",
    "src/@@{package}/__init__.py": "package.py",
    "src/@@{package}/_database.py": "database.py",
    "src/@@{package}/_rows.py": "rows.py",
    "src/@@{package}/_sql.py": "sql.py",
    "src/@@{package}/_storage.py": "storage.py",
    "src/@@{package}/py.typed": None,
    "tests/test_contract.py": "test_contract.py",
    "tests/test_settings_and_errors.py": "test_settings_and_errors.py",
}
_CORE: Final = "corail-storage-core"


class _File(Template):
    """A text with places like ``@@{name}``: make, YAML and Python all use the dollar sign."""

    delimiter = "@@"


def check_folder(folder: Path) -> None:
    """Raise ``RefusedError`` unless ``folder`` is missing, or empty but for ``.git``."""
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise RefusedError(f"{folder} is a file. Name a folder that is new or empty.")
        if any(path.name != ".git" for path in folder.iterdir()):
            raise RefusedError(
                f"{folder} is not empty, and nothing in it is to be overwritten. Name a folder that is new "
                "or empty."
            )
    except OSError as error:
        raise RefusedError(f"{folder} cannot be looked at: {error.strerror}. Name another folder.") from error


def write(names: Names, folder: Path) -> int:
    """Write all files below ``folder`` and return how many; ``RefusedError`` where it cannot be written."""
    # All of them before the first is written: a mistake in the template leaves nothing behind.
    texts = _texts(names)
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place, text in texts.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror}. Name a folder that this user may write."
        ) from error
    return len(texts)


def _texts(names: Names) -> dict[str, str]:
    values = {
        **names._asdict(),
        "contract": repr(CONTRACT),
        # The first core that has all that the files use is the one they were written with.
        "core": ".".join(version(_CORE).split(".")[:2]),
    }
    folder = files("corail.storage.testing") / "_template" / "files"
    return {
        _File(place).substitute(values): ""
        if source is None
        else _File((folder / f"{source}.tmpl").read_text("utf-8")).substitute(values)
        for place, source in FILES.items()
    }
