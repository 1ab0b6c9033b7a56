"""The difference of two texts as lines for a person, bounded in length and in time.

Owns the comparison. Must not hide that it shows only a part: the last line then says how much is left out.
Lines are as they are in the files and not escaped.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import islice

CONTEXT = 3
COMPARED_LINES = 2000
"""Above this many differing lines on a side, the old ones are shown as removed and the new ones as added, since a
line by line comparison takes time with the square of it."""

_NO_NEWLINE = b"\\ No newline at end of file"


def unified(old: bytes, new: bytes, limit: int | None) -> Iterator[bytes]:
    """Unified diff lines without file headers; after `limit` of them one that says how many more there are."""
    lines = _unified(_split(old), _split(new))
    if limit is None:
        yield from lines
        return
    yield from islice(lines, limit)
    left = sum(1 for _ in lines)
    if left:
        yield b"... %d more lines of this file are not shown here" % left


def _split(data: bytes) -> list[bytes]:
    """Lines with their newline, so that a last line without one differs from the same with one."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + ([tail] if (tail := data.rpartition(b"\n")[2]) else [])


def _unified(old: list[bytes], new: list[bytes]) -> Iterator[bytes]:
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    start = max(0, head - CONTEXT)
    end = max(0, tail - CONTEXT)
    a, b = old[start : len(old) - end], new[start : len(new) - end]
    for group in _groups(a, b, head - start, tail - end):
        first, last = group[0], group[-1]
        yield b"@@ -%s +%s @@" % (_range(start, first[1], last[2]), _range(start, first[3], last[4]))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from _signed(b" ", a[i1:i2])
                continue
            yield from _signed(b"-", a[i1:i2])
            yield from _signed(b"+", b[j1:j2])


_Opcode = tuple[str, int, int, int, int]


def _groups(a: list[bytes], b: list[bytes], head: int, tail: int) -> Iterator[list[_Opcode]]:
    """Hunks of the middle parts `a` and `b`, which share `head` lines before and `tail` lines after."""
    if max(len(a), len(b)) <= COMPARED_LINES:
        matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
        yield from (list(group) for group in matcher.get_grouped_opcodes(CONTEXT))
        return
    i, j = len(a) - tail, len(b) - tail
    yield [("equal", 0, head, 0, head), ("replace", head, i, head, j), ("equal", i, len(a), j, len(b))]


def _common(a: list[bytes], b: list[bytes]) -> int:
    """How many lines both begin with."""
    for count, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return count
    return min(len(a), len(b))


def _range(offset: int, start: int, stop: int) -> bytes:
    length = stop - start
    first = offset + start + (1 if length else 0)
    return b"%d" % first if length == 1 else b"%d,%d" % (first, length)


def _signed(sign: bytes, lines: list[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield sign + line.removesuffix(b"\n")
        if not line.endswith(b"\n"):
            yield _NO_NEWLINE
