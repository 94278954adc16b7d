"""A chart of ratios as SVG: bars from a line at 1, on a logarithmic scale. No dependency.

Light and dark by the reader's setting, which an image in a README follows too; no fixed background.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from math import log10
from typing import Final, NamedTuple, TypeAlias

_WIDTH: Final = 880
_LEFT: Final = 270
_RIGHT: Final = 190
_PLOT: Final = _WIDTH - _LEFT - _RIGHT
_ROW: Final = 26
_BAR: Final = 14
_HEAD: Final = 84
_GROUP: Final = 34
_FOOT: Final = 36
_TICKS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_STYLE: Final = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.group { font-weight: 600 }
.quiet { fill: #59636e; font-size: 12px }
.strong { font-weight: 600 }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.one { stroke: #59636e; stroke-width: 1.5 }
.ours { fill: #0969da }
.other { fill: #9aa4ae }
.mark { fill: none; stroke: #bc4c00; stroke-width: 2.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .one { stroke: #9198a1 }
  .ours { fill: #4493f8 }
  .other { fill: #6e7681 }
  .mark { stroke: #f0883e }
}
"""


Scale: TypeAlias = Callable[[float], float]
"""From a ratio to a horizontal position."""


class Bar(NamedTuple):
    """One bar."""

    label: str
    ratio: float | None
    """None draws a dash."""
    text: str
    """At the right edge: the absolute figures."""
    ours: bool
    target: float | None = None
    """Where a mark stands."""
    strong: bool = False
    """Whether the label stands out."""


class Group(NamedTuple):
    """Bars under a heading; an empty heading takes no room."""

    heading: str
    bars: Sequence[Bar]


def draw(
    title: str, subtitle: str, groups: Sequence[Group], *, axis: str, column: str = "", marks: str = ""
) -> str:
    """Return the chart.

    Args:
        title: the first line.
        subtitle: the second, quieter.
        groups: top to bottom.
        axis: what the scale means, below it.
        column: what stands at the right edge, above it.
        marks: what the marks stand for; none are explained when empty.

    """
    ratios = [bar.ratio for group in groups for bar in group.bars if bar.ratio]
    low, high = min([*ratios, 0.9]) * 0.85, max([*ratios, 1.1]) * 1.15
    height = _HEAD + sum(_heights(groups)) + _FOOT

    def x(ratio: float) -> float:
        return _LEFT + _PLOT * (log10(ratio) - log10(low)) / (log10(high) - log10(low))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        _text(title, 16, 28, name="title"),
        _text(subtitle, 16, 48, name="quiet"),
        _text(column, _WIDTH - 16, _HEAD - 18, name="quiet", anchor="end"),
        *_grid(x, low, high, height - _FOOT),
        *_bars(x, groups),
        _text(axis, x(1), height - 8, name="quiet", anchor="middle"),
    ]
    if marks:
        parts.append(f'<path class="mark" d="M{_WIDTH - 150} {height - 18} v12"/>')
        parts.append(_text(marks, _WIDTH - 140, height - 8, name="quiet"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _heights(groups: Sequence[Group]) -> Iterator[int]:
    return ((_GROUP if group.heading else 0) + _ROW * len(group.bars) for group in groups)


def _grid(x: Scale, low: float, high: float, bottom: int) -> Iterator[str]:
    for tick in _TICKS:
        if low <= tick <= high:
            name = "one" if tick == 1 else "grid"
            yield f'<path class="{name}" d="M{x(tick):.1f} {_HEAD - 12} V{bottom}"/>'
            yield _text(f"{tick:g}x", x(tick), _HEAD - 18, name="quiet", anchor="middle")


def _bars(x: Scale, groups: Sequence[Group]) -> Iterator[str]:
    top = _HEAD
    for group in groups:
        if group.heading:
            yield _text(group.heading, 16, top + 22, name="group")
            top += _GROUP
        for bar in group.bars:
            yield from _bar(x, bar, top)
            top += _ROW


def _bar(x: Scale, bar: Bar, top: int) -> Iterator[str]:
    base = top + _ROW / 2 + 4.5
    yield _text(bar.label, _LEFT - 14, base, name="strong" if bar.strong else "", anchor="end")
    yield _text(bar.text, _WIDTH - 16, base, name="quiet", anchor="end")
    if bar.ratio is None:
        yield _text("-", x(1) + 8, base, name="quiet")
        return
    start, end = sorted((x(1), x(bar.ratio)))
    y, width = top + (_ROW - _BAR) / 2, max(end - start, 1.5)
    name = "ours" if bar.ours else "other"
    yield f'<rect class="{name}" x="{start:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
    # Right of the line for short bars too: left of them stand the labels.
    at = end + 7
    if bar.target is not None:
        mark = x(bar.target)
        yield f'<path class="mark" d="M{mark:.1f} {y - 2} v{_BAR + 4}"/>'
        # Beside the mark where the two would stand on each other.
        if at - 9 < mark < at + 36:
            at = mark + 7
    yield _text(_shown(bar.ratio), at, base, name="strong")


def _shown(ratio: float) -> str:
    return f"{ratio:.2g}x" if ratio < 10 else f"{ratio:.0f}x"


def _text(text: str, x: float, y: float, *, name: str = "", anchor: str = "start") -> str:
    placed = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{name}" {placed}>{escape(text)}</text>'
