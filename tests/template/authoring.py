"""Does what an author does: run the command, build a wheel, run the tests of the package."""

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.packaging.environments import Environment, clean_variables

ROOT: Final = Path(__file__).resolve().parents[2]
CORE: Final = ROOT / "corail-storage-core"
NAME: Final = "couch-db2"
COMMAND: Final = (sys.executable, "-m", "corail.storage.testing.new_backend")


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    output: str
    """What it printed, errors last."""


class Published(NamedTuple):
    """What an author has and publishes."""

    project: Path
    wheel: Path


def run(
    command: Iterable[str | Path], *, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> Ended:
    """Run a program to its end."""
    result = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=folder,
        env={**clean_variables(), **(variables or {})},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return Ended(result.returncode, result.stdout + result.stderr)


def new_backend(name: str, folder: Path) -> Path:
    """Write a backend with the command, and return the folder."""
    ended = run([*COMMAND, name, folder])
    assert ended.code == 0, ended.output
    return folder


def wheel_of(project: Path, folder: Path) -> Path:
    """Build the wheel of a distribution into a folder of its own and return it."""
    ended = run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], folder=project)
    assert ended.code == 0, ended.output
    (wheel,) = folder.glob("*.whl")
    return wheel


def download(folder: Path, *requirements: str) -> None:
    """Put wheels and what they depend on into one folder, in the pinned versions."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "download"]
    ended = run([*pip, "--constraint", ROOT / "constraints.txt", "--dest", folder, *requirements])
    assert ended.code == 0, ended.output


def run_tests(environment: Environment, project: Path, temporary: Path, *arguments: str) -> Ended:
    """Run the tests of a project with what is installed in an environment, not with its sources."""
    pytest = [str(environment.python), "-m", "pytest", "-p", "no:cacheprovider"]
    return run([*pytest, "--basetemp", temporary, *arguments], folder=project)


def count(word: str, output: str) -> int:
    """Return how many tests passed, or were skipped, in what pytest printed."""
    found = re.search(rf"(\d+) {word}", output)
    assert found is not None, output
    return int(found[1])


def reasons(output: str) -> list[str]:
    """Return why tests were skipped, each reason once."""
    return re.findall(r"^SKIPPED \[\d+\] .*?: (.*)$", output, re.MULTILINE)
