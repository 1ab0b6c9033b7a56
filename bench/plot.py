"""Plots as SVG, by hand: two kinds on logarithmic axes are fewer lines than a library is dependencies.

Owns how they look. Gets numbers, gives text; the same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

COLOURS = (
    "#c0392b", "#2471a3", "#7d3c98", "#148f77", "#b9770e", "#566573", "#e67e22",
    "#1b2631", "#e84393", "#27ae60", "#8d6e63",
)  # fmt: skip
"""By the order of the names; a twelfth begins anew."""
_FONT = 'font-family="sans-serif" font-size="12"'
_GREY = "#d5d8dc"


def dots(title: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A line for each row, a dot for each name on it: `rows` has the amounts, above 0, by row and name."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    low, high = _decades([amount for row in rows.values() for amount in row.values()])
    left, width, step = 130, 620, 26
    height = 70 + step * len(rows) + 20

    def x(amount: float) -> float:
        return left + width * (math.log10(amount) - low) / (high - low)

    def body() -> Iterator[str]:
        yield _text(10, 20, title, "start", weight="bold")
        yield from _legend(names, left, 42)
        for decade in range(low, high + 1):
            yield _line(x(10**decade), 56, x(10**decade), height - 24)
            yield _text(x(10**decade), height - 8, f"{10**decade:g} {unit}", "middle")
        for number, (row, amounts) in enumerate(rows.items()):
            y = 70 + step * number
            yield _line(left, y, left + width, y)
            yield _text(left - 8, y + 4, row, "end")
            for name, amount in amounts.items():
                yield _dot(x(amount), y, COLOURS[names.index(name) % len(COLOURS)], f"{name}: {amount:g} {unit}")

    return _svg(left + width + 40, height, body())


def lines(title: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> str:
    """A log-log panel for each axis, a line for each operation: points of size and milliseconds, both above 0."""
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    wide, tall, left, top = 340, 220, 60, 80
    columns = 2
    down = math.ceil(len(panels) / columns)

    def body() -> Iterator[str]:
        yield _text(10, 20, title, "start", weight="bold")
        yield from _legend(names, left, 42)
        for number, (axis, curves) in enumerate(panels.items()):
            yield from _panel(
                axis,
                curves,
                names,
                left + number % columns * (wide + 80),
                top + number // columns * (tall + 80),
                wide,
                tall,
            )

    return _svg(left + columns * (wide + 80), top + down * (tall + 80), body())


def _panel(
    axis: str,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    names: Sequence[str],
    left: float,
    top: float,
    wide: float,
    tall: float,
) -> Iterator[str]:
    points = [point for curve in curves.values() for point in curve]
    west, east = _decades([size for size, _ in points])
    south, north = _decades([took for _, took in points])

    def at(point: tuple[float, float]) -> tuple[float, float]:
        size, took = (math.log10(one) for one in point)
        return left + wide * (size - west) / (east - west), top + tall * (north - took) / (north - south)

    for decade in range(west, east + 1):
        x, _ = at((10**decade, 10**south))
        yield _line(x, top, x, top + tall)
        yield _text(x, top + tall + 16, f"{10**decade:g}", "middle")
    for decade in range(south, north + 1):
        _, y = at((10**west, 10**decade))
        yield _line(left, y, left + wide, y)
        yield _text(left - 6, y + 4, f"{10**decade:g} ms", "end")
    yield _text(left + wide / 2, top + tall + 34, axis, "middle")
    for name, curve in curves.items():
        colour = COLOURS[names.index(name) % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, curve))
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        for point in curve:
            yield _dot(*at(point), colour, f"{name}: {point[1]:g} ms", 2.5)


def _decades(amounts: Sequence[float]) -> tuple[int, int]:
    """Powers of ten that hold them all, at least one apart."""
    low, high = math.floor(math.log10(min(amounts))), math.ceil(math.log10(max(amounts)))
    return low, max(high, low + 1)


def _legend(names: Sequence[str], x: float, y: float) -> Iterator[str]:
    for number, name in enumerate(names):
        yield _dot(x, y - 4, COLOURS[number % len(COLOURS)], name)
        yield _text(x + 10, y, name, "start")
        x += 24 + 6.3 * len(name)


def _svg(width: float, height: float, body: Iterator[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" {_FONT}>'
    return "\n".join((head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>\n"))


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{_GREY}"/>'


def _text(x: float, y: float, text: str, anchor: str, *, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _dot(x: float, y: float, colour: str, says: str, radius: float = 4.5) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(says)}</title></circle>'
