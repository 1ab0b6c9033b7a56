"""Any tree becomes any other, and comes back."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.targets.worlds import world

NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"c", b"d"]),
    st.binary(min_size=1, max_size=3).filter(lambda name: not {0, ord("/")} & set(name) and name not in (b".", b"..")),
)
FILES = st.tuples(st.just("file"), st.binary(max_size=3), st.sampled_from([0o600, 0o644, 0o755]))
LINKS = st.tuples(st.just("link"), st.sampled_from([b"a", b"../b", b"/etc/passwd"]))
TREES = st.recursive(
    st.dictionaries(NAMES, FILES | LINKS, max_size=4),
    lambda below: st.dictionaries(NAMES, below | FILES | LINKS, max_size=4),
    max_leaves=12,
)


def make(root: Path, tree: dict[bytes, Any]) -> None:
    for name, what in tree.items():
        path = root / name.decode("utf-8", "surrogateescape")
        if isinstance(what, dict):
            path.mkdir()
            make(path, what)
        elif what[0] == "link":
            path.symlink_to(what[1].decode())
        else:
            path.write_bytes(what[1])
            path.chmod(what[2])


def remake(root: Path, tree: dict[bytes, Any]) -> None:
    """Delete and recreate the environment, as the agent would."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            remake(path, {})
            path.rmdir()
        else:
            path.unlink()
    make(root, tree)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(TREES, TREES)
def test_apply_gives_the_other_tree_and_restore_the_first(first: dict[bytes, Any], second: dict[bytes, Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        it = world(Path(scratch), lambda root: make(root, first), lambda root: remake(root, second))
        target = it.target()
        target.prepare(it.request(), lambda _: None)
        assert target.apply(it.request(), lambda _: None) == it.wanted.fingerprint == it.now()
        result = target.restore(it.point, lambda _: None)
        assert (result.fingerprint, result.clean, result.kept_aside) == (it.base.fingerprint, True, ())
        assert it.now() == it.base.fingerprint
