"""Results go into the documents between their markers, and only those of a complete run."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan, report
from benchmarks.chart import Bar, Group, draw
from benchmarks.comparing import summarise
from benchmarks.publish import NotPublishableError, publish
from benchmarks.targets import PEER_TARGETS, TARGETS, Target

BENCH = "<!-- begin: written by `make bench` -->\n\nold\n\n<!-- end -->"
PEERS = "<!-- begin: written by `make bench-peers` -->\n\nold\n\n<!-- end -->"
OTHER = "<!-- begin: written by `make reliability` -->\n\nfaults\n\n<!-- end -->"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "performance.md").write_text(f"# Speed\n\n{BENCH}\n\nthen\n\n{PEERS}\n", "utf-8")
    (tmp_path / "README.md").write_text(f"# Ours\n\n{OTHER}\n\n{BENCH}\n\nlast\n", "utf-8")
    return tmp_path


def results(folder: Path, name: str, targets: tuple[Target, ...], **changes: Any) -> None:
    comparison = next(one for one in plan.comparisons(plan.QUICK) if one.code == "W1")
    lanes: list[Any] = [
        {"contender": lane.contender.key, "label": lane.label, "kind": lane.kind, "options": {}}
        | {"operation": "appends", "rate": None, "p50": None, "p99": None, "cpu": None, "notes": []}
        | {"repetitions": [{"operations": 30, "seconds": 0.01 * n, "cpu": 0.1, "single": 0, "p50": None}]}
        for n, lane in enumerate(comparison.lanes, 1)
    ]
    run: dict[str, Any] = {
        "complete": True,
        "machine": report.machine(),
        "server": {"server_version": "18.4", "fsync": "on", "synchronous_commit": "on"}
        | {"full_page_writes": "on"},
        "scale": plan.FULL._asdict(),
        "versions": {"ours": {"corail-storage-core": "0.1.0"}},
        "crash": {"kills": 5, "acknowledged": 3000, "lost": 0, "doubled": 0, "wrong_counters": 0},
        "comparisons": [summarise(comparison, lanes)],
        "figures": {one.key: 1.0 for one in targets},
    }
    run.update(changes)
    text = f"| {name} |\n| --- |\n| figures |\n"
    report.write(
        folder, name, run, text, draw(name, "", [Group("", [Bar("one", 2.0, "2", ours=True)])], axis="")
    )


def state(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_complete_run_is_written_between_its_own_markers_and_nowhere_else(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("results")
    results(folder, "bench", TARGETS)
    for _ in range(2):
        publish(folder, root)
        performance = (root / "docs" / "performance.md").read_text("utf-8")
        assert performance.startswith("# Speed\n")
        assert performance.count("| figures |") == 1
        assert "(bench.svg)" in performance
        assert PEERS in performance
        readme = (root / "README.md").read_text("utf-8")
        assert OTHER in readme
        assert "(docs/bench.svg)" in readme
        assert "| W1 | one client appends | 3,000/s | 1,500/s | 2x |" in readme
        assert "PostgreSQL 18.4" in readme
        assert readme.endswith("\n\nlast\n")
        assert "old" not in readme
        assert (root / "docs" / "bench.svg").read_bytes() == (folder / "bench.svg").read_bytes()


def test_the_results_of_the_peers_are_written_where_there_are_any(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("results")
    results(folder, "bench", TARGETS)
    results(folder, "peers", PEER_TARGETS)
    publish(folder, root)
    performance = (root / "docs" / "performance.md").read_text("utf-8")
    assert performance.index("| bench |") < performance.index("then") < performance.index("| peers |")
    assert "(peers.svg)" in performance
    assert "old" not in performance
    assert "peers" not in (root / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"complete": False}, "partial run"),
        ({"crash": None}, "partial run"),
        ({"figures": {"W1": 2.0}}, "lacks W2@64"),
    ],
    ids=["partial", "no crash check", "figures missing"],
)
def test_a_partial_run_changes_no_document(
    root: Path, tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any], says: str
) -> None:
    folder = tmp_path_factory.mktemp("results")
    before = state(root)
    for name, targets in (("bench", TARGETS), ("peers", PEER_TARGETS)):
        results(folder, "bench", TARGETS)
        results(folder, name, targets, **changes if name == "bench" else {"complete": False})
        with pytest.raises(NotPublishableError, match=says if name == "bench" else "partial run"):
            publish(folder, root)
        assert state(root) == before


def test_missing_results_or_markers_change_no_document(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("results")
    before = state(root)
    with pytest.raises(NotPublishableError, match=r"bench\.json is missing"):
        publish(folder, root)
    assert state(root) == before
    results(folder, "bench", TARGETS)
    (root / "README.md").write_text(OTHER, "utf-8")
    before = state(root)
    with pytest.raises(NotPublishableError, match=r"README\.md has no place"):
        publish(folder, root)
    assert state(root) == before
