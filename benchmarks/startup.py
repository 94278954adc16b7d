"""W8: what importing core costs, creating by name, and ``available()`` among many distributions.

Every figure is a median over fresh processes, those of different kinds started in turn. All files
are in the page cache, as on a machine that has started the program before.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from benchmarks.contenders import ROOT

UNWANTED: Final = (
    "asyncio",
    "anyio",
    "asyncpg",
    "pluggy",
    "importlib.metadata",
    "importlib_metadata",
    "logging",
    "inspect",
    "dataclasses",
    "difflib",
)
"""What importing core must not load."""

_IMPORT: Final = "import corail.storage.factory"
_LOADED: Final = """
import sys
before = set(sys.modules)
import corail.storage.factory
import json
print(json.dumps(sorted(set(sys.modules) - before)))
"""
_CREATE: Final = """
import importlib, json, sys
from time import perf_counter
from statistics import median
from corail.storage.factory import StorageFactory
for module in sys.argv[1:]:
    importlib.import_module(module)
def timed(times):
    taken = []
    for _ in range(times):
        started = perf_counter()
        StorageFactory.create("memory")
        taken.append(perf_counter() - started)
    return median(taken)
first, later = timed(1), timed(1000)
scans = int("importlib_metadata" in sys.modules or "importlib.metadata" in sys.modules)
print(json.dumps({"first": first, "later": later, "scans": scans}))
"""
_AVAILABLE: Final = """
import json, sys
from time import perf_counter
from statistics import median
sys.path[1:1] = json.loads(sys.argv[1])
from corail.storage.factory import StorageFactory
taken = []
for _ in range(200):
    started = perf_counter()
    names = StorageFactory.available()
    taken.append(perf_counter() - started)
assert names == ["memory", "postgresql"], names
print(json.dumps({"first": taken[0], "later": median(taken[1:])}))
"""
# What a scan imports: the metadata library and what that needs, as far as it is installed here.
_NEEDED: Final = ("importlib_metadata", "zipp", "lazy_importer", "typing_extensions")
_DISTRIBUTIONS: Final = {
    "core": "",
    "memory": "[corail.storage]\nmemory = corail.storage.memory:MemoryStorage\n",
    "postgresql": "[corail.storage]\npostgresql = corail.storage.postgresql:PostgreSQLStorage\n",
}
_METADATA: Final = "Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n\n" + "A description. " * 200
_WITH_ENTRY_POINTS: Final = 0.4  # 19 of the 47 distributions of our own environment


def measure(starts: int, distributions: Sequence[int], progress: Callable[[str], None]) -> dict[str, Any]:
    """Return every figure of W8, times in seconds."""
    progress("W8: import")
    bare, imported = _starts(starts)
    loaded: list[str] = _ask("-I", "-c", _LOADED)
    progress("W8: create by name")
    created: list[dict[str, Any]] = []
    prepared: list[dict[str, Any]] = []
    for _ in range(starts):
        created.append(_ask("-I", "-c", _CREATE))
        prepared.append(_ask("-I", "-c", _CREATE, "corail.storage.memory"))
    available: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="corail-bench-") as folder:
        sites = {count: _site(Path(folder) / str(count), count) for count in distributions}
        for count, path in sites.items():
            progress(f"W8: available() with {count:,} other distributions")
            _ask("-I", "-S", "-c", _AVAILABLE, json.dumps(path))  # into the page cache
            runs = [_ask("-I", "-S", "-c", _AVAILABLE, json.dumps(path)) for _ in range(starts)]
            available[str(count)] = {
                "first": median(one["first"] for one in runs),
                "later": median(one["later"] for one in runs),
            }
    return {
        "starts": starts,
        "bare": median(bare),
        "import": median(imported),
        "modules": len(loaded),
        "unwanted": sorted(set(loaded) & set(UNWANTED)),
        "create_importing": median(one["first"] for one in created),
        "create_first": median(one["first"] for one in prepared),
        "create_later": median(one["later"] for one in prepared),
        "scans": max(one["scans"] for one in [*created, *prepared]),
        "available": available,
    }


def _starts(count: int) -> tuple[list[float], list[float]]:
    taken: dict[str, list[float]] = {"pass": [], _IMPORT: []}
    for _ in range(count + 1):
        for code, times in taken.items():
            started = perf_counter()
            _run("-I", "-c", code)
            times.append(perf_counter() - started)
    # Without the first, which brought the files into the page cache.
    return taken["pass"][1:], taken[_IMPORT][1:]


def _site(site: Path, others: int) -> list[str]:
    """Make a folder of distributions and return what goes on the path: it, and our sources."""
    site.mkdir()
    for name in _NEEDED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            source = origin.parent if spec.submodule_search_locations else origin
            (site / source.name).symlink_to(source)
    for name, entry_points in _DISTRIBUTIONS.items():
        _distribution(site, f"corail-storage-{name}", entry_points)
    for number in range(others):
        some = number % 10 < _WITH_ENTRY_POINTS * 10
        _distribution(site, f"other-{number}", f"[console_scripts]\nother{number} = o:main\n" if some else "")
    return [str(site), *(str(path) for path in sorted(ROOT.glob("corail-storage-*/src")))]


def _distribution(site: Path, name: str, entry_points: str) -> None:
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(_METADATA.format(name=name), encoding="utf-8")
    (info / "RECORD").touch()
    if entry_points:
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def _ask(*arguments: str) -> Any:
    return json.loads(_run(*arguments))


def _run(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, *arguments], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout
