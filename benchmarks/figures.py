"""From results to the numbers that targets name; and numbers to text, the same everywhere."""

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.comparing import ComparisonResult

_MILLI = 1_000


def of_comparisons(results: Iterable[ComparisonResult]) -> dict[str, float]:
    """Return the ratios of ours to the yardstick by code, and those of the p99 as ``CODE p99``."""
    figures: dict[str, float] = {}
    for result in results:
        if result["ratio"] is not None:
            # The tail is bounded in time, not in rate.
            inverse = result["code"] == "W3tail"
            figures[result["code"]] = 1 / result["ratio"] if inverse else result["ratio"]
        if result["p99_ratio"] is not None:
            figures[f"{result['code']} p99"] = result["p99_ratio"]
    return figures


def of_peers(results: Iterable[ComparisonResult]) -> dict[str, float]:
    """Return the ratios of ours to the fastest peer, as ``CODE peers``; raw asyncpg is no peer."""
    figures: dict[str, float] = {}
    for result in results:
        ours = result["lanes"][0]["rate"]
        peers = [lane["rate"] for lane in result["lanes"][1:] if lane["contender"] != "raw" and lane["rate"]]
        if ours and peers:
            figures[f"{result['code']} peers"] = ours / max(peers)
    return figures


def of_memory(memory: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Return the figure of W7."""
    return {"W7": memory["memory"]["bytes"] / memory["dicts"]["bytes"]}


def of_startup(startup: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of W8, times in milliseconds."""
    figures = {
        "W8 import": (startup["import"] - startup["bare"]) * _MILLI,
        "W8 modules": float(len(startup["unwanted"])),
        "W8 create": startup["create_first"] * _MILLI,
        "W8 scans": float(startup["scans"]),
    }
    if "1000" in startup["available"]:
        figures["W8 available first"] = startup["available"]["1000"]["first"] * _MILLI
        figures["W8 available later"] = startup["available"]["1000"]["later"] * _MILLI
    return figures


def rate(value: float | None) -> str:
    """Return operations per second, or a dash."""
    if value is None:
        return "-"
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"


def ratio(value: float | None) -> str:
    """Return a ratio, or a dash."""
    if value is None:
        return "-"
    return f"{value:,.0f}x" if value >= 100 else f"{value:.3g}x"


def time(seconds: float | None) -> str:
    """Return seconds in the unit that suits them, or a dash."""
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * _MILLI:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def amount(value: float, unit: str) -> str:
    """Return a figure with its unit, as targets have them."""
    return ratio(value) if unit == "x" else f"{value:.3g}{unit}"
