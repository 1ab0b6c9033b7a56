"""Comparing, netting and predicting are exact and are each other's inverse."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import Conflict, SandboxError
from sandbox.trees.block import blocks_of
from sandbox.trees.changes import compare, composed, net, predict, predicted
from sandbox.trees.entry import ROOT, Change, Entry, order_key, sort_key
from tests.unit.trees.strategies import PROPERTY, edits, trees

DIRECTORY = Entry(ROOT, "dir", 0o755, 0, 0)


def directory(path: bytes) -> Entry:
    return DIRECTORY._replace(path=path)


def file(path: bytes, content: bytes = b"\1" * 32) -> Entry:
    return Entry(path, "file", 0o644, 0, 0, 1, content)


TREE = (DIRECTORY, directory(b"d"), file(b"d/one"), directory(b"d/sub"), file(b"d/sub/two"), file(b"d-"), file(b"e"))


@PROPERTY
@given(st.data())
def test_predict_undoes_compare(data: st.DataObject) -> None:
    before = data.draw(trees())
    after = data.draw(st.one_of(trees(), edits(before)))
    changes = tuple(compare(before, after))
    assert tuple(predict(before, changes)) == after
    back = tuple(Change(change.path, change.after, change.before) for change in changes)
    assert tuple(predict(after, back)) == before


@PROPERTY
@given(st.data())
def test_a_prediction_in_canonical_bytes_is_the_prediction(data: st.DataObject) -> None:
    """Also of changes that do not fit, such as some of those that belong together: then both are a conflict."""
    before = data.draw(trees())
    changes = tuple(compare(before, data.draw(edits(before))))
    some = tuple(change for change in changes if data.draw(st.booleans()))
    cuts = sorted({0, len(before), *data.draw(st.lists(st.integers(0, len(before)), max_size=3))})
    stored = [block for start, stop in pairwise(cuts) for block in blocks_of(before[start:stop])]
    for each in (changes, some, tuple(compare(data.draw(edits(before)), before))):
        try:
            expected = b"".join(entry.canonical() for entry in predict(before, each))
        except Conflict:
            with pytest.raises(Conflict):
                list(predicted(stored, each))
        else:
            assert b"".join(predicted(stored, each)) == expected


@PROPERTY
@given(st.data())
def test_two_lists_of_changes_compose_to_the_difference(data: st.DataObject) -> None:
    before = data.draw(trees())
    between = data.draw(edits(before))
    after = data.draw(edits(between))
    both = composed(tuple(compare(before, between)), tuple(compare(between, after)))
    assert both == tuple(compare(before, after))


@PROPERTY
@given(trees())
def test_a_tree_does_not_differ_from_itself(tree: tuple[Entry, ...]) -> None:
    assert tuple(compare(tree, tree)) == ()
    assert tuple(predict(tree, ())) == tree


@PROPERTY
@given(st.data())
def test_changes_come_in_depth_first_order(data: st.DataObject) -> None:
    before, after = data.draw(trees()), data.draw(trees())
    paths = [change.path for change in compare(before, after)]
    keys = [sort_key(path) for path in paths]
    assert keys == sorted(set(keys))
    assert paths == sorted(paths, key=order_key)


@PROPERTY
@given(st.data())
def test_net_of_any_superset_of_candidates_is_the_exact_difference(data: st.DataObject) -> None:
    before = data.draw(trees())
    after = data.draw(st.one_of(trees(), edits(before)))
    now = {entry.path: entry for entry in after}
    exact = tuple(compare(before, after))
    named = {change.path for change in exact}
    extra = data.draw(st.sets(st.sampled_from(sorted({entry.path for entry in before} | now.keys()))))
    candidates = [(path, now.get(path)) for path in data.draw(st.permutations(sorted(named | extra)))]
    assert net(before, candidates) == exact


@PROPERTY
@given(st.data())
def test_net_expands_the_top_of_a_removed_subtree(data: st.DataObject) -> None:
    before = data.draw(trees())
    after = data.draw(edits(before))
    exact = tuple(compare(before, after))
    deleted = {change.path for change in exact if change.after is None}
    tops = {path for path in deleted if not any(path.startswith(other + b"/") for other in deleted)}
    candidates = [(change.path, change.after) for change in exact if change.after is not None]
    assert net(before, [*candidates, *((path, None) for path in tops)]) == exact


@PROPERTY
@given(trees())
def test_a_tree_deleted_and_recreated_with_equal_content_is_no_change(tree: tuple[Entry, ...]) -> None:
    assert net(tree, [(ROOT, None), *((entry.path, entry) for entry in tree)]) == ()


def test_what_a_recreated_directory_lacks_is_deleted() -> None:
    changes = net(TREE, [(b"d", None), (b"d", directory(b"d")), (b"d/sub", directory(b"d/sub"))])
    assert [(change.path, change.op) for change in changes] == [(b"d/one", "deleted"), (b"d/sub/two", "deleted")]


def test_a_directory_that_became_a_file_takes_its_content_along() -> None:
    changes = net(TREE, [(b"d", file(b"d"))])
    assert [(change.path, change.op) for change in changes] == [
        (b"d", "modified"),
        (b"d/one", "deleted"),
        (b"d/sub", "deleted"),
        (b"d/sub/two", "deleted"),
    ]


def test_a_deleted_directory_does_not_take_its_namesakes_along() -> None:
    assert {change.path for change in net(TREE, [(b"d", None)])} == {b"d", b"d/one", b"d/sub", b"d/sub/two"}


def test_deleting_what_was_never_there_is_no_change() -> None:
    assert net(TREE, [(b"nothing", None), (b"d/nothing", None)]) == ()


def test_the_last_state_of_a_path_counts() -> None:
    assert net(TREE, [(b"e", file(b"e", b"\2" * 32)), (b"e", file(b"e"))]) == ()


def test_net_refuses_what_lies_in_something_that_is_gone() -> None:
    with pytest.raises(SandboxError, match="no directory"):
        net(TREE, [(b"d", None), (b"d/sub/new", file(b"d/sub/new"))])


def test_net_refuses_an_entry_under_another_name() -> None:
    with pytest.raises(SandboxError, match="another path"):
        net(TREE, [(b"e", file(b"f"))])


@pytest.mark.parametrize(
    "change",
    [
        Change(b"e", None, file(b"e")),
        Change(b"e", file(b"e", b"\2" * 32), None),
        Change(b"nothing", file(b"nothing"), None),
        Change(b"e/x", None, file(b"e/x")),
        Change(b"no/x", None, file(b"no/x")),
        Change(b"d", directory(b"d"), None),
        Change(b"d", directory(b"d"), file(b"d")),
    ],
    ids=["is there", "is other", "is not there", "in a file", "in nothing", "not empty", "not empty, replaced"],
)
def test_predict_refuses_a_change_that_does_not_fit(change: Change) -> None:
    with pytest.raises(Conflict):
        tuple(predict(TREE, (change,)))


def test_predict_refuses_a_path_that_comes_twice() -> None:
    change = Change(b"e", file(b"e"), None)
    with pytest.raises(Conflict, match="twice"):
        tuple(predict(TREE, (change, change)))
