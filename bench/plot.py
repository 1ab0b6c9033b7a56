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
_GREY = "#c4c8cd"
_PALE = "#eef0f2"
_ROW = 18


def dots(title: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A line for each row, a dot for each name on it: `rows` has the amounts, above 0, by row and name."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    low, high = _decades([amount for row in rows.values() for amount in row.values()])
    left, width, step = 130, 720, 26
    legend = list(_legend(names, left, 44, left + width))
    top = 44 + _ROW * _legend_rows(names, left, left + width) + 14
    bottom = top + step * len(rows)

    def x(amount: float) -> float:
        return left + width * (math.log10(amount) - low) / (high - low)

    def body() -> Iterator[str]:
        yield _text(10, 20, title, "start", weight="bold")
        yield from legend
        for amount, whole in _ticks(low, high):
            yield _line(x(amount), top - step / 2, x(amount), bottom - step / 2, _GREY if whole else _PALE)
            if whole:
                yield _text(x(amount), bottom + 4, f"{amount:,g}", "middle")
        yield _text(left + width / 2, bottom + 24, f"{unit}, logarithmic", "middle")
        for number, (row, amounts) in enumerate(rows.items()):
            y = top + step * number
            yield _line(left, y, left + width, y)
            yield _text(left - 8, y + 4, row, "end")
            for name, amount in reversed([*amounts.items()]):  # the first is never hidden by another
                yield _dot(x(amount), y, COLOURS[names.index(name) % len(COLOURS)], f"{name}: {amount:g} {unit}")

    return _svg(left + width + 40, bottom + 36, body())


def lines(title: str, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> str:
    """A log-log panel for each axis, a line for each operation: points of size and milliseconds, both above 0."""
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    wide, tall, left, columns = 360, 240, 70, 2
    right = left + columns * (wide + 90) - 90
    top = 44 + _ROW * _legend_rows(names, left, right) + 10
    down = math.ceil(len(panels) / columns)

    def body() -> Iterator[str]:
        yield _text(10, 20, title, "start", weight="bold")
        yield from _legend(names, left, 44, right)
        for number, (axis, curves) in enumerate(panels.items()):
            yield from _panel(
                axis,
                curves,
                names,
                left + number % columns * (wide + 90),
                top + number // columns * (tall + 70),
                wide,
                tall,
            )

    return _svg(right + 30, top + down * (tall + 70), body())


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

    for size, whole in _ticks(west, east):
        x, _ = at((size, 10**south))
        yield _line(x, top, x, top + tall, _GREY if whole else _PALE)
        if whole:
            yield _text(x, top + tall + 16, f"{size:,.0f}", "middle")
    for took, whole in _ticks(south, north):
        _, y = at((10**west, took))
        yield _line(left, y, left + wide, y, _GREY if whole else _PALE)
        if whole:
            yield _text(left - 6, y + 4, f"{took:,g} ms", "end")
    yield _text(left + wide / 2, top + tall + 34, f"{axis}, logarithmic", "middle")
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


def _ticks(low: int, high: int) -> Iterator[tuple[float, bool]]:
    """Where lines are, and whether one is a whole power of ten."""
    for decade in range(low, high):
        yield from ((10.0**decade * step, step == 1) for step in (1, 2, 5))
    yield 10.0**high, True


def _legend(names: Sequence[str], left: float, y: float, right: float) -> Iterator[str]:
    for name, (x, row) in zip(names, _legend_places(names, left, right), strict=True):
        yield _dot(x, y + row * _ROW - 4, COLOURS[names.index(name) % len(COLOURS)], name)
        yield _text(x + 10, y + row * _ROW, name, "start")


def _legend_rows(names: Sequence[str], left: float, right: float) -> int:
    return max((row for _, row in _legend_places(names, left, right)), default=0) + 1


def _legend_places(names: Sequence[str], left: float, right: float) -> Iterator[tuple[float, int]]:
    """Where each name begins, and in which row: it goes on below where there is no more room."""
    x, row = left, 0
    for name in names:
        wide = 28 + 7.2 * len(name)
        if x + wide > right and x > left:
            x, row = left, row + 1
        yield x, row
        x += wide


def _svg(width: float, height: float, body: Iterator[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" {_FONT}>'
    return "\n".join((head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>\n"))


def _line(x: float, y: float, to_x: float, to_y: float, colour: str = _GREY) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, *, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _dot(x: float, y: float, colour: str, says: str, radius: float = 4.5) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(says)}</title></circle>'
