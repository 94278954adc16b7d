"""Comparisons: the same work on several contenders, interleaved repetition by repetition.

A, B, A, B, ...: what the machine does besides meets all of them alike, and a ratio is always one of the
same run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple, TypedDict

from benchmarks.contenders import Contender, Process
from benchmarks.server import Server

_ENOUGH_FOR_P99: Final = 100


class Lane(NamedTuple):
    """One contender at one workload."""

    contender: Contender
    kind: str
    """Name of a class in ``workloads``."""
    options: Mapping[str, Any]
    label: str
    """As it stands in tables."""


class Comparison(NamedTuple):
    """Lanes that are run alternately; the first is measured against the second."""

    code: str
    """As in the targets, ``W2@64`` and so on; what stands before the ``@`` or the blank is the group."""
    title: str
    lanes: Sequence[Lane]

    @property
    def group(self) -> str:
        """Comparisons of one group follow each other in the same processes and databases."""
        return self.code.partition("@")[0].partition(" ")[0]


class LaneResult(TypedDict):
    """What one lane showed; times in seconds."""

    contender: str
    label: str
    kind: str
    options: dict[str, Any]
    operation: str
    rate: float | None
    """Median of operations per second; None where the library lacks the operation."""
    p50: float | None
    p99: float | None
    """Medians of the repetitions' percentiles of single operations; p99 only of 100 operations or more."""
    cpu: float | None
    """Median of the processor time that an operation took in the client's process."""
    notes: list[str]
    repetitions: list[dict[str, Any]]


class ComparisonResult(TypedDict):
    """What one comparison showed."""

    code: str
    title: str
    lanes: list[LaneResult]
    ratio: float | None
    """Rate of the first lane by that of the second."""
    lowest: float | None
    highest: float | None
    """Of the ratios of single repetitions."""
    p99_ratio: float | None


def run(
    server: Server,
    comparisons: Iterable[Comparison],
    *,
    texts: Path,
    repetitions: int,
    seconds: float,
    progress: Callable[[str], None],
    versions: dict[str, dict[str, str]],
) -> Iterable[ComparisonResult]:
    """Yield the result of each comparison as soon as it is there.

    Args:
        server: where the databases are made.
        comparisons: those of one group next to each other.
        texts: the data set.
        repetitions: of every lane.
        seconds: that one repetition measures at least.
        progress: told before every repetition, ``repetitions`` times per lane.
        versions: filled with the versions that each contender reports.

    """
    for group, members in groupby(comparisons, key=lambda comparison: comparison.group):
        together = list(members)
        contenders = {lane.contender.key: lane.contender for one in together for lane in one.lanes}
        with ExitStack() as stack:
            processes: dict[str, Process] = {}
            for key, contender in contenders.items():
                process = stack.enter_context(Process(contender))
                url = server.new_database(_database(group, key))
                opened = process.ask(do="open", adapter=contender.adapter, url=url, texts=str(texts))
                versions[contender.name] = opened["versions"]
                processes[key] = process
            for comparison in together:
                lanes = _prepared(comparison, processes)
                for key in contenders:
                    server.tidy(_database(group, key))
                _run_lanes(comparison, lanes, processes, repetitions, seconds, progress)
                yield summarise(comparison, lanes)
                for process in processes.values():
                    process.ask(do="drop")


def _prepared(comparison: Comparison, processes: Mapping[str, Process]) -> list[LaneResult]:
    results: list[LaneResult] = []
    for lane in comparison.lanes:
        prepared = processes[lane.contender.key].ask(
            do="prepare", lane=_lane_id(comparison, lane), kind=lane.kind, options=dict(lane.options)
        )
        results.append(
            {
                "contender": lane.contender.key,
                "label": lane.label,
                "kind": lane.kind,
                "options": dict(lane.options),
                "operation": prepared.get("operation", ""),
                "rate": None,
                "p50": None,
                "p99": None,
                "cpu": None,
                "notes": list(prepared.get("notes", ())),
                "repetitions": [],
            }
        )
    return results


def _run_lanes(
    comparison: Comparison,
    results: Sequence[LaneResult],
    processes: Mapping[str, Process],
    repetitions: int,
    seconds: float,
    progress: Callable[[str], None],
) -> None:
    pairs = list(zip(comparison.lanes, results, strict=True))
    for repetition in range(-1, repetitions):
        for lane, result in pairs:
            warm_up = repetition < 0
            if not warm_up:
                progress(f"{comparison.code}: {comparison.title}, {lane.label}")
            # Parts of a load are used up; there is none to warm up with.
            if not result["operation"] or (warm_up and lane.kind == "Load"):
                continue
            measured = processes[lane.contender.key].ask(
                do="run", lane=_lane_id(comparison, lane), seconds=0.0 if warm_up else seconds
            )
            if not warm_up:
                result["repetitions"].append(measured)


def summarise(comparison: Comparison, lanes: list[LaneResult]) -> ComparisonResult:
    """Return the medians of every lane and the ratios of the first two."""
    for lane in lanes:
        done = lane["repetitions"]
        if done:
            lane["rate"] = median(_rate(one) for one in done)
            lane["cpu"] = median(one["cpu"] / one["operations"] for one in done)
            lane["p50"] = _median_of(done, "p50")
            enough = all(one["single"] >= _ENOUGH_FOR_P99 for one in done)
            lane["p99"] = _median_of(done, "p99") if enough else None
    result: ComparisonResult = {
        "code": comparison.code,
        "title": comparison.title,
        "lanes": lanes,
        "ratio": None,
        "lowest": None,
        "highest": None,
        "p99_ratio": None,
    }
    if len(lanes) > 1:
        first, second = lanes[:2]
        if first["rate"] and second["rate"]:
            single = [
                _rate(a) / _rate(b) for a, b in zip(first["repetitions"], second["repetitions"], strict=True)
            ]
            result["ratio"] = first["rate"] / second["rate"]
            result["lowest"], result["highest"] = min(single), max(single)
        if first["p99"] and second["p99"]:
            result["p99_ratio"] = first["p99"] / second["p99"]
    return result


def _rate(repetition: Mapping[str, Any]) -> float:
    operations: int = repetition["operations"]
    seconds: float = repetition["seconds"]
    return operations / seconds


def _median_of(repetitions: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [one[name] for one in repetitions if one[name] is not None]
    return median(values) if values else None


def _lane_id(comparison: Comparison, lane: Lane) -> str:
    return f"{comparison.code} {lane.label}"


def _database(group: str, key: str) -> str:
    return f"{key}_{group}".lower()
