"""Random trees as values, for the property tests of this folder."""

from __future__ import annotations

import hashlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from sandbox.trees.entry import ROOT, Entry, parent_of, sort_key

PROPERTY = settings(
    deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
"""The same examples in every run; no clock decides."""

NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"a.b", b"a-", b"new\nline", b"\xff\xfe", b"z" * 255]),
    st.binary(min_size=1, max_size=3).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")),
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
OWNERS = st.integers(min_value=0, max_value=3)
XATTRS = st.dictionaries(st.sampled_from([b"user.a", b"user.b", b"security.capability"]), st.binary(max_size=3))


@st.composite
def entries(draw: st.DrawFn, path: bytes, kind: str | None = None) -> Entry:
    """An entry of any kind at this path."""
    kind = kind or draw(st.sampled_from(["file", "file", "dir", "link", "fifo", "char"]))
    mode = 0o777 if kind == "link" else draw(st.sampled_from([0o644, 0o755, 0o4755, 0o1777]))
    size, content = 0, b""
    if kind == "file":
        data = draw(st.binary(max_size=2))
        size, content = len(data), hashlib.sha256(data).digest()
    elif kind == "link":
        content = draw(st.sampled_from([b"a", b"../b", b"\xff\n"]))
    elif kind == "char":
        content = draw(st.sampled_from([b"1:3", b"1:5"]))
    xattrs = tuple(sorted(draw(XATTRS).items())) if kind in ("file", "dir") else ()
    return Entry(path, kind, mode, draw(OWNERS), draw(OWNERS), size, content, xattrs)


@st.composite
def trees(draw: st.DrawFn) -> tuple[Entry, ...]:
    """A whole tree in depth-first order: every entry lies in a directory."""
    tree = {ROOT: draw(entries(ROOT, "dir"))}
    for path in draw(st.lists(PATHS, max_size=8, unique=True)):
        _place(draw, tree, path)
    return tuple(tree[path] for path in sorted(tree, key=sort_key))


@st.composite
def edits(draw: st.DrawFn, tree: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Another tree, made of this one by deleting and adding."""
    kept = {entry.path: entry for entry in tree}
    for path in draw(st.lists(st.sampled_from(sorted(kept)), max_size=3)):
        if path != ROOT:
            _delete(kept, path)
    for path in draw(st.lists(PATHS, max_size=3)):
        _delete(kept, path)
        _place(draw, kept, path)
    return tuple(kept[path] for path in sorted(kept, key=sort_key))


def _delete(tree: dict[bytes, Entry], path: bytes) -> None:
    for other in [other for other in tree if other == path or other.startswith(path + b"/")]:
        del tree[other]


def _place(draw: st.DrawFn, tree: dict[bytes, Entry], path: bytes) -> None:
    """Add an entry unless something that is no directory stands in the way, with the directories above it."""
    above = []
    while path not in tree:
        above.append(path)
        path = parent_of(path)
    if tree[path].kind != "dir":
        return
    for step, new in enumerate(reversed(above)):
        tree[new] = draw(entries(new, None if step == len(above) - 1 else "dir"))
