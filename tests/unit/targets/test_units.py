"""How changes are cut into units and in which order they are applied: pure."""

from __future__ import annotations

from sandbox.targets.units import in_order, units_of
from sandbox.trees.entry import Change, Entry


def directory(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path, "dir", mode, 0, 0)


def file(path: bytes, content: bytes = b"x" * 32, mode: int = 0o644) -> Entry:
    return Entry(path, "file", mode, 0, 0, 1, content)


def test_a_tree_that_vanishes_appears_or_changes_its_kind_is_one_unit() -> None:
    changes = (
        Change(b"a", directory(b"a"), None),
        Change(b"a/b", file(b"a/b"), None),
        Change(b"ab", None, file(b"ab")),
        Change(b"c", file(b"c"), directory(b"c")),
        Change(b"c/d", None, file(b"c/d")),
    )
    units = units_of(changes, ())
    assert [(unit.path, len(unit.before), len(unit.after)) for unit in units] == [
        (b"a", 2, 0),
        (b"ab", 0, 1),
        (b"c", 1, 2),
    ]
    assert not any(unit.in_place for unit in units)


def test_only_metadata_is_done_in_place_unless_the_file_has_other_names() -> None:
    change = Change(b"a", file(b"a"), file(b"a", mode=0o600))
    assert units_of((change,), ())[0].in_place
    assert not units_of((change,), {b"a"})[0].in_place


def test_what_is_below_a_directory_that_stays_is_a_unit_of_its_own() -> None:
    changes = (
        Change(b"a", directory(b"a"), directory(b"a", 0o700)),
        Change(b"a/b", None, file(b"a/b")),
    )
    assert [(unit.path, unit.in_place) for unit in units_of(changes, ())] == [(b"a", True), (b"a/b", False)]


def test_directories_open_before_and_close_after_what_is_in_them_and_the_other_way_back() -> None:
    changes = (
        Change(b"closes", directory(b"closes"), directory(b"closes", 0o555)),
        Change(b"closes/x", None, file(b"closes/x")),
        Change(b"opens", directory(b"opens", 0o555), directory(b"opens")),
        Change(b"opens/x", None, file(b"opens/x")),
    )
    units = units_of(changes, ())
    assert [unit.path for unit in in_order(units)] == [b"opens", b"closes/x", b"opens/x", b"closes"]
    assert [unit.path for unit in in_order(units, back=True)] == [b"closes", b"closes/x", b"opens/x", b"opens"]
