"""Check the types of everything, strictly and with two checkers; ``make types`` runs it.

A checker that finds nothing because it looked at nothing exits 0 as well. So each is also run on a
copy of the sources with an error in every distribution and with ``tests/typing/contract_break.py``,
wrong line by line, and has to say so: about the copy, since that file imports what only the copy has.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = (
    "corail-storage-core/src",
    "corail-storage-memory/src",
    "corail-storage-postgresql/src",
    "examples/corail-storage-redis/src",
)
# Not "examples" as a whole: it holds a distribution whose sources stand above.
OTHERS: Final = (
    "tests",
    "scripts",
    "benchmarks",
    "examples/chitchat",
    "examples/demo.py",
    "examples/demo_postgresql.py",
    "examples/loader.py",
    "examples/corail-storage-redis/tests",
)

# One module of each distribution, to which the copy adds a name that the originals lack, and an error.
_CHANGED: Final = tuple(
    f"{source}/corail/storage/{module}"
    for source, module in zip(
        SOURCES,
        ("errors.py", "memory/__init__.py", "postgresql/__init__.py", "redis/__init__.py"),
        strict=True,
    )
)
_ADDED: Final = """
# expect: mypy=assignment pyright=reportAssignmentType
CONTROL: int = "text"
"""
_CONTROL: Final = "tests/typing/contract_break.py"
_EXPECTED: Final = re.compile(r"\s*# expect:(?P<codes>(?: (?:mypy|pyright)=[\w-]+)+)")

Place = tuple[str, int]
"""A file, as a path from the root of the workspace, and a line."""


def main() -> int:
    """Run both checkers and their control; return the exit code."""
    paths = [*SOURCES, *(name for name in OTHERS if (ROOT / name).exists())]
    problems = [name for name in ("mypy", "pyright") if not _is_clean(name, paths)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve() / "workspace"
        _copy(copy)
        problems += [f"the control of {name}" for name in ("mypy", "pyright") if not _can_fail(name, copy)]
    if problems:
        print(f"types: FAILED: {', '.join(problems)}", file=sys.stderr)
    return 1 if problems else 0


def _is_clean(name: str, paths: list[str]) -> bool:
    started = perf_counter()
    result = subprocess.run(_command(name, paths), check=False, cwd=ROOT, env=_environment())
    print(f"{name}: exit code {result.returncode}, {perf_counter() - started:.1f} s", flush=True)
    return result.returncode == 0


def _can_fail(name: str, copy: Path) -> bool:
    expected = {
        (path, line): code
        for path in (*_CHANGED, _CONTROL)
        for line, code in expectations((copy / path).read_text("utf-8"), name)
    }
    found = _reported(name, copy)
    missed = [place for place, code in expected.items() if code not in found.get(place, ())]
    # Errors in other files are for the ordinary run to report.
    beyond = [place for place in found if place[0] == _CONTROL and place not in expected]
    for path, line in sorted({*missed, *beyond}):
        wanted, codes = expected.get((path, line), "nothing"), sorted(found.get((path, line), ()))
        print(f"{name}: {path}:{line}: expected {wanted}, reported {codes}", file=sys.stderr)
    fine = bool(expected) and not missed and not beyond
    print(f"{name}: reports {len(expected)} deliberate errors: {'yes' if fine else 'NO'}", flush=True)
    return fine


def expectations(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield line and code of what checker ``name`` has to report; a marker speaks of the line below."""
    for number, line in enumerate(text.splitlines(), 1):
        marker = _EXPECTED.fullmatch(line)
        codes = "" if marker is None else marker["codes"]
        for checker, _, code in (part.partition("=") for part in codes.split()):
            if checker == name:
                yield number + 1, code


def _copy(copy: Path) -> None:
    for source in SOURCES:
        shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests/typing", copy / "tests/typing")
    for changed in _CHANGED:
        with (copy / changed).open("a", encoding="utf-8") as module:
            module.write(_ADDED)
    # The same settings, except that they do not leave the control out.
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    (copy / "pyproject.toml").write_text(settings.replace(Path(_CONTROL).stem, "nothing"), "utf-8")


def _reported(name: str, copy: Path) -> dict[Place, set[str]]:
    command = [*_command(name, [*SOURCES, "tests/typing"]), *_JSON[name]]
    result = subprocess.run(
        command, check=False, cwd=copy, env=_environment(), capture_output=True, text=True
    )
    found: dict[Place, set[str]] = {}
    try:
        for path, line, code in _READERS[name](result.stdout):
            place = str((copy / path).resolve().relative_to(copy)), line
            found.setdefault(place, set()).add(code)
    except (ValueError, KeyError, TypeError):
        print(f"{name}: cannot be understood:\n{result.stdout}{result.stderr}", file=sys.stderr)
    return found


def _command(name: str, paths: list[str]) -> list[str]:
    # The environment is named, because it need not be the .venv of the settings.
    python = "--python-executable" if name == "mypy" else "--pythonpath"
    return [sys.executable, "-m", name, python, sys.executable, *paths]


def _environment() -> dict[str, str]:
    # Which release of pyright runs is for constraints.txt to say, not for a notice about newer ones.
    return {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}


def _mypy_rows(output: str) -> Iterator[tuple[str, int, str]]:
    for line in output.splitlines():
        row: dict[str, Any] = json.loads(line)
        if row["severity"] == "error":
            yield row["file"], row["line"], row["code"]


def _pyright_rows(output: str) -> Iterator[tuple[str, int, str]]:
    for row in json.loads(output)["generalDiagnostics"]:
        if row["severity"] == "error":
            yield row["file"], row["range"]["start"]["line"] + 1, row.get("rule", "syntax")


_JSON: Final = {"mypy": ["--output", "json"], "pyright": ["--outputjson"]}
_READERS: Final = {"mypy": _mypy_rows, "pyright": _pyright_rows}


if __name__ == "__main__":
    sys.exit(main())
