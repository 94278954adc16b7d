"""Virtual environments with nothing in them but what a test installs, from real wheels."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# The last thing this runs prints its answer as JSON.
_ANSWER = "\nimport json\nprint(json.dumps(answer))\n"


class Environment:
    """A fresh virtual environment; installing is offline, from one folder of wheels."""

    def __init__(self, folder: Path, wheelhouse: Path) -> None:
        self.folder = folder
        self.wheelhouse = wheelhouse
        # Without pip: that of the running environment installs from outside, which saves seconds.
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        self.python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.site_packages = Path(self.answer("import sysconfig\nanswer = sysconfig.get_path('purelib')"))

    def pip(self, command: str, *arguments: str) -> str:
        """Run pip on this environment; ``--isolated``, so that no index and no setting takes part."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--isolated", "--no-input"]
        return _run([*pip, "--disable-pip-version-check", command, *arguments])

    def install(self, *requirements: str, target: Path | None = None) -> None:
        """Install by name from the wheels, dependencies included."""
        where = [] if target is None else ["--target", str(target)]
        self.pip(
            "install", "--quiet", "--no-index", "--find-links", str(self.wheelhouse), *where, *requirements
        )

    def uninstall(self, *distributions: str) -> None:
        """Remove distributions, but not what they depend on."""
        self.pip("uninstall", "--quiet", "--yes", *distributions)

    def command(self, code: str) -> list[str]:
        """Return the command that runs ``code`` with every warning an error and a clean path."""
        return [str(self.python), "-P", "-s", "-W", "error", "-c", code]

    def run(self, code: str, variables: Mapping[str, str] | None = None) -> str:
        """Run ``code`` in this environment and return what it printed."""
        return _run(self.command(code), cwd=self.folder, env={**clean_variables(), **(variables or {})})

    def answer(self, code: str, variables: Mapping[str, str] | None = None) -> Any:
        """Run ``code`` in this environment and return what it left in ``answer``."""
        return json.loads(self.run(code + _ANSWER, variables).splitlines()[-1])

    def available(self) -> list[str]:
        """Return ``StorageFactory.available()`` as a new process of this environment sees it."""
        listed: list[str] = self.answer(f"{FACTORY}answer = StorageFactory.available()")
        return listed

    def refusal(self, name: str | None, variables: Mapping[str, str] | None = None) -> tuple[str, str]:
        """Return the type and the message of the error that ``create(name)`` raises."""
        code = (
            f"{FACTORY}try:\n    StorageFactory.create({name!r})\n"
            "except Exception as error:\n    answer = [type(error).__name__, str(error)]\n"
            "else:\n    answer = ['nothing', '']\n"
        )
        kind, message = self.answer(code, variables)
        return kind, message

    def description(self, name: str) -> dict[str, Any]:
        """Return the row of ``describe()`` for one name."""
        rows: list[dict[str, Any]] = self.answer(f"{FACTORY}answer = StorageFactory.describe()")
        (row,) = [row for row in rows if row["name"] == name]
        return row

    def loaded(self, code: str, modules: Iterable[str]) -> list[str]:
        """Return which of ``modules`` are imported once ``code`` has run."""
        names = sorted(modules)
        found: list[str] = self.answer(
            f"{code}\nimport sys\nanswer = [name for name in {names!r} if name in sys.modules]"
        )
        return found


FACTORY = "from corail.storage.factory import StorageFactory\n"


def clean_variables() -> dict[str, str]:
    """Return this process's variables without those that steer Python, the library or a make that runs it."""
    steering = ("CORAIL_", "PYTHON", "MAKE", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(steering)}


def _run(command: list[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    result = subprocess.run(
        command, check=False, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, f"{command[:6]} ended with {result.returncode}:\n{result.stderr}"
    return result.stdout
