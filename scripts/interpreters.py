"""The CPythons on this machine that the project supports, one per minor version.

Looks on the PATH, among pyenv's versions and, where uv is installed, among those it knows.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

OLDEST: Final = (3, 11)
_MINORS: Final = range(OLDEST[1], 16)

# Free-threaded builds are told apart: they need wheels of their own. The base executable, because the
# one on the PATH can be a shim, or that of a virtual environment which may go away.
_QUESTION: Final = """
import json, platform, sys, sysconfig
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
base = getattr(sys, "_base_executable", sys.executable)
print(json.dumps([platform.python_implementation(), sys.version_info[:3], free_threaded, base]))
"""


class Interpreter(NamedTuple):
    """One Python that runs."""

    version: tuple[int, int, int]
    path: Path

    @property
    def minor(self) -> str:
        """The version as users name it, such as ``3.12``."""
        return f"{self.version[0]}.{self.version[1]}"


def find() -> list[Interpreter]:
    """Return the newest patch release of each supported minor version, oldest first."""
    newest: dict[str, Interpreter] = {}
    for path in _candidates():
        interpreter = _ask(path)
        if interpreter is not None:
            known = newest.setdefault(interpreter.minor, interpreter)
            if interpreter.version > known.version:
                newest[interpreter.minor] = interpreter
    return sorted(newest.values())


def _candidates() -> list[Path]:
    names = [*(f"python3.{minor}" for minor in _MINORS), "python3"]
    found = [Path(folder, name) for folder in os.get_exec_path() for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += sorted(pyenv.glob("versions/3.*/bin/python3"))
    return [path for path in dict.fromkeys([*found, *_known_to_uv()]) if path.exists()]


def _known_to_uv() -> list[Path]:
    uv = shutil.which("uv")
    if uv is None:
        return []
    command = [uv, "python", "list", "--only-installed", "--output-format", "json"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True)
    try:
        rows: list[dict[str, str]] = json.loads(listed.stdout)
        return [Path(row["path"]) for row in rows]
    except (ValueError, TypeError, KeyError):
        return []


def _ask(path: Path) -> Interpreter | None:
    # A pyenv shim of a version that is not activated is on the PATH but does not run.
    try:
        answer = subprocess.run(
            [str(path), "-c", _QUESTION], check=False, capture_output=True, text=True, timeout=60
        )
        implementation, version, free_threaded, base = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    major, minor, patch = version
    if implementation != "CPython" or free_threaded or (major, minor) < OLDEST:
        return None
    return Interpreter((major, minor, patch), Path(base))
