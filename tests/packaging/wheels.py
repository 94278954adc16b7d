"""Builds wheels: those of this workspace, and those of third parties that exist for a test only."""

import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = ("corail-storage-core", "corail-storage-memory", "corail-storage-postgresql")


class Built(NamedTuple):
    """What one distribution is published as."""

    distribution: str
    sdist: Path
    wheel: Path

    def names(self) -> list[str]:
        """Return the files of the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def installed(self) -> list[str]:
        """Return the files that the wheel puts into ``site-packages`` as code or data."""
        return [name for name in self.names() if ".dist-info/" not in name]

    def text(self, suffix: str) -> str:
        """Return the one file of the wheel whose name ends in ``suffix``."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(suffix)]
            return archive.read(name).decode("utf-8")

    def metadata(self) -> Message:
        """Return the wheel's METADATA."""
        return Parser().parsestr(self.text(".dist-info/METADATA"))

    def source_text(self, name: str) -> str:
        """Return a file of the source distribution, named from its root."""
        with tarfile.open(self.sdist) as archive:
            (root,) = {member.name.partition("/")[0] for member in archive.getmembers()}
            file = archive.extractfile(f"{root}/{name}")
            assert file is not None
            return file.read().decode("utf-8")

    def source_names(self) -> list[str]:
        """Return the files of the source distribution, named from its root."""
        with tarfile.open(self.sdist) as archive:
            return [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]


def build(distribution: str, folder: Path) -> Built:
    """Build the source distribution, and the wheel from it: so nothing that is left out is missed."""
    output = folder / distribution
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(output),
        str(ROOT / distribution),
    ]
    _run(command)
    (sdist,) = output.glob("*.tar.gz")
    (wheel,) = output.glob("*.whl")
    return Built(distribution, sdist, wheel)


def download(built: list[Built], folder: Path) -> None:
    """Put the wheels and what they depend on into one folder, in the pinned versions."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    pins = ["--constraint", str(ROOT / "constraints.txt")]
    _run([*pip, *pins, "--dest", str(folder), *(str(each.wheel) for each in built)])


def third_party(
    distribution: str,
    wheelhouse: Path,
    folder: Path,
    *,
    entries: Mapping[str, str] | None = None,
    modules: Mapping[str, str] | None = None,
    version: str = "1.0",
) -> None:
    """Build the wheel of a made-up distribution into ``wheelhouse``.

    Args:
        distribution: its name.
        wheelhouse: the folder of wheels that environments install from.
        folder: where its sources may be written.
        entries: backends it advertises, name to target.
        modules: its modules, path below ``site-packages`` to source.
        version: its version.

    """
    project = folder / distribution
    for path, source in (modules or {}).items():
        file = project / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, "utf-8")
    # JSON strings are TOML strings, whatever is in them.
    lines = "".join(f"{json.dumps(name)} = {json.dumps(value)}\n" for name, value in (entries or {}).items())
    project.mkdir(parents=True, exist_ok=True)
    (project / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "{version}"
dependencies = ["corail-storage-core>=0.1"]

[project.entry-points."corail.storage"]
{lines}
[tool.hatch.build.targets.wheel]
only-include = ["src"]
sources = ["src"]
bypass-selection = true
""",
        "utf-8",
    )
    _run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheelhouse)], cwd=project)


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    result = subprocess.run(
        command, check=False, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, (
        f"{command[:5]} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
    )
