"""Make the virtual environment of this workspace, or bring it up to date; ``make setup`` runs it.

Owns what goes into the environment: the distributions, editable and with all their extras, and the
``dev`` group of the root ``pyproject.toml``, under ``constraints.txt``. Standard library only,
because nothing is installed yet. Uses uv where it is on the PATH and pip otherwise, each with the
user's own configuration; it names no package index itself.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this very line tells users of an older Python
    sys.exit(
        f"Corail storage needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}. Name "
        "another one, as in: make PYTHON=python3.12 (Debian: apt-get install python3 python3-venv)."
    )

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
CONSTRAINTS: Final = ROOT / "constraints.txt"
MARKER: Final = ".ready"
"""Written last, so an environment without it was interrupted; holds what it was made from."""
_UNFINISHED: Final = ".unfinished"
"""Written first: whatever carries it is ours to remove."""

CANNOT_MAKE_VENV: Final = 3
"""Exit code when this Python cannot make an environment at all."""

# What building the editable distributions takes; installed first, so that pip does not fetch it into
# a throw-away environment once per distribution.
_BUILD: Final = "hatchling"
_TAIL: Final = 25


class StepError(Exception):
    """A command failed; the message carries the end of what it printed."""


def main() -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Make or update the virtual environment.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where it goes (default: .venv)")
    venv = parser.parse_args().venv.absolute()
    started = perf_counter()
    try:
        changed = prepare(venv)
    except StepError as error:
        print(f"\nsetup failed: {error}", file=sys.stderr)
        return 1
    except VenvError as error:
        print(f"\nsetup failed: {error}", file=sys.stderr)
        return CANNOT_MAKE_VENV
    except KeyboardInterrupt:
        print("\nsetup interrupted; run it again, it starts over where that is needed.", file=sys.stderr)
        return 130
    state = "is ready" if changed else "is up to date"
    print(f"setup: {_shown(venv)} {state} ({perf_counter() - started:.1f} s)")
    return 0


class VenvError(Exception):
    """Raised when no environment can be made here, or when what is there may not be replaced."""


def prepare(venv: Path) -> bool:
    """Bring ``venv`` to the state the project's files ask for; return whether anything was done."""
    wanted = fingerprint()
    marker = venv / MARKER
    usable = _is_usable(venv)
    if usable and marker.read_text("utf-8") == wanted:
        marker.touch()
        return False
    print(f"setup: Python {sys.version.split()[0]} into {_shown(venv)}, about 30 s when new", flush=True)
    if not usable:
        _remove(venv)
    venv.mkdir(parents=True, exist_ok=True)
    (venv / _UNFINISHED).touch()
    marker.unlink(missing_ok=True)
    uv = shutil.which("uv")
    if uv is None or not _install_with_uv(uv, venv, new=not usable):
        _install_with_pip(venv, new=not usable)
    (venv / _UNFINISHED).unlink()
    marker.write_text(wanted, "utf-8")
    return True


def fingerprint() -> str:
    """Return what decides the environment's contents, as one line."""
    digest = hashlib.sha256()
    for part in (CONSTRAINTS, *(ROOT / name / "pyproject.toml" for name in distributions())):
        digest.update(part.read_bytes() if part.exists() else b"")
    digest.update(json.dumps(dev_group()).encode())
    return f"{sys.version_info[0]}.{sys.version_info[1]} {digest.hexdigest()}\n"


def dev_group() -> list[str]:
    """Return the requirements of the root project's ``dev`` group."""
    group: list[str] = _toml(ROOT / "pyproject.toml")["dependency-groups"]["dev"]
    return group


def distributions() -> list[str]:
    """Return the folders of the distributions, that of the example backend included."""
    found = [*ROOT.glob("corail-storage-*/pyproject.toml"), *ROOT.glob("examples/*/pyproject.toml")]
    return sorted(str(path.parent.relative_to(ROOT)) for path in found)


def editable(distribution: str) -> list[str]:
    """Return the arguments that install one distribution editable, with its extras.

    Extras that only name other distributions of the workspace are left out: those are installed
    anyway, and pip would look for them on the package index before it comes to their folders.
    """
    offered: dict[str, list[str]] = _toml(ROOT / distribution / "pyproject.toml")["project"].get(
        "optional-dependencies", {}
    )
    siblings = tuple(Path(folder).name for folder in distributions())
    extras = sorted(
        name for name, needs in offered.items() if not all(need.startswith(siblings) for need in needs)
    )
    return ["-e", f"./{distribution}" + (f"[{','.join(extras)}]" if extras else "")]


def install_steps(*, constrained: bool = True) -> list[tuple[str, list[str]]]:
    """Return what to install, in order: a line for the reader and the arguments for pip or uv."""
    pins = ["-c", str(CONSTRAINTS)] if constrained and CONSTRAINTS.exists() else []
    build = [requirement for requirement in dev_group() if requirement.startswith(_BUILD)]
    everything = [argument for name in distributions() for argument in editable(name)]
    return [
        ("the build backend", [*pins, *build]),
        ("the distributions and the dev group", [*pins, "--no-build-isolation", *everything, *dev_group()]),
    ]


def make_venv(venv: Path) -> list[str]:
    """Make ``venv`` with this Python and return the pip command that installs into it.

    Debian splits the part of ``venv`` that brings pip off into a package of its own; without it the
    host's pip installs from outside.
    """
    python = str(python_of(venv))
    make = [sys.executable, "-m", "venv", "--clear", str(venv)]
    try:
        run(make)
    except StepError as no_ensurepip:
        if _host_pip() < [22, 3]:  # the first with --python
            raise VenvError(_no_venv(str(no_ensurepip))) from no_ensurepip
        run([*make, "--without-pip"])
        return [sys.executable, "-m", "pip", "--python", python]
    finally:
        # Gone with --clear.
        venv.mkdir(parents=True, exist_ok=True)
        (venv / _UNFINISHED).touch()
    return [python, "-m", "pip"]


def _host_pip() -> list[int]:
    try:
        version = run([sys.executable, "-m", "pip", "--version"]).split()[1]
    except StepError:
        return []
    return [int(part) for part in version.split(".")[:2] if part.isdigit()]


def python_of(venv: Path) -> Path:
    """Return the interpreter of an environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run(command: Sequence[str]) -> str:
    """Run a command in the workspace and return what it printed; raise ``StepError`` if it fails."""
    try:
        result = subprocess.run(
            command,
            cwd=ROOT,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise StepError(f"{command[0]} does not run: {error}") from error
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-_TAIL:])
        raise StepError(f"{' '.join(command[:4])} ... ended with {result.returncode}:\n{tail}")
    return result.stdout


def step(what: str, command: Sequence[str]) -> None:
    """Run a command with one line of report: what it does, and how long it took."""
    print(f"  {what} ...", end="", flush=True)
    started = perf_counter()
    try:
        run(command)
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" {perf_counter() - started:.1f} s", flush=True)


def _install_with_pip(venv: Path, *, new: bool) -> None:
    pip = [str(python_of(venv)), "-m", "pip"]
    if new:
        print("  an empty environment ...", end="", flush=True)
        started = perf_counter()
        pip = make_venv(venv)
        print(f" {perf_counter() - started:.1f} s", flush=True)
    for what, arguments in install_steps():
        step(f"{what}, with pip", [*pip, "install", *arguments])


def _install_with_uv(uv: str, venv: Path, *, new: bool) -> bool:
    make = [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(venv)]
    install = [uv, "pip", "install", "--python", str(python_of(venv))]
    try:
        if new:
            step("an empty environment, with uv", make)
        for what, arguments in install_steps():
            step(f"{what}, with uv", [*install, *arguments])
    except StepError as error:
        why = " ".join(str(error).split())[:300]
        print(f"  uv could not (it does not read pip's configuration), so pip has to: {why}", flush=True)
        return False
    return True


def _is_usable(venv: Path) -> bool:
    # Finished once, still runs (its base Python may be gone), and is of the version asked for.
    if not (venv / MARKER).is_file():
        return False
    code = "import sys; print(*sys.version_info[:2])"
    try:
        return run([str(python_of(venv)), "-c", code]).split() == [str(part) for part in sys.version_info[:2]]
    except StepError:
        return False


def _remove(venv: Path) -> None:
    if not venv.exists():
        return
    # VENV=~ must not delete a home folder, nor VENV=~/envs/other somebody's other environment.
    ours = any((venv / name).exists() for name in (MARKER, _UNFINISHED))
    if (
        not ours
        and not (venv.is_relative_to(ROOT) and (venv / "pyvenv.cfg").is_file())
        and any(venv.iterdir())
    ):
        raise VenvError(f"{venv} was not made by this script: remove it, or name another folder with VENV=")
    print(f"  removing {_shown(venv)}: unfinished, broken or of another Python", flush=True)
    shutil.rmtree(venv)


def _no_venv(reason: str) -> str:
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        f"{sys.executable} cannot make a virtual environment. On Debian and Ubuntu install what is missing: "
        f"apt-get install python3-venv (or python{version}-venv). Elsewhere, use a Python with ensurepip or "
        f"install uv. It said:\n{reason}"
    )


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    sys.exit(main())
