"""What a reviewer must know about a change to a directory, and what can't be applied at all.

Owns the hazards that follow from file trees alone. What the base already had and the change does not touch is
carried as it is and not mentioned. Must not change anything.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sandbox.records import Hazard
from sandbox.targets.base import Base
from sandbox.targets.beneath import GONE, directory, parent, state
from sandbox.targets.links import Links
from sandbox.trees.block import Block
from sandbox.trees.entry import ROOT, Change, Entry, order_key, parent_of, path_text
from sandbox.trees.patterns import Patterns
from sandbox.trees.walk import RESERVED

_CAPABILITY = b"security.capability"
_SPECIAL = {"fifo": "fifo", "socket": "socket", "char": "device", "block": "device"}


@dataclass(frozen=True, slots=True)
class Trees:
    """What the base's and the resulting tree are asked for, gathered in one pass over the base."""

    before: Links
    after: Links
    owner: tuple[int, int]
    entries_before: int
    entries_after: int
    twins: dict[tuple[bytes, str], set[bytes]]
    """Names in one directory that are equal but for case or Unicode form, where a change adds one of them."""


def inspect(root: int, ignore: Patterns, base: Base, changes: Sequence[Change]) -> list[Hazard]:
    """See `Target.inspect`."""
    trees = _gather(base, changes)
    found: list[Hazard] = []
    if trees.entries_after == 1 < trees.entries_before:
        found.append(_hazard("everything_deleted", ROOT, "Nothing would be left of the target.", blocks=True))
    for change in changes:
        found += _of_names(change, ignore)
        if change.after is not None:
            found += _of_kind(change.before, change.after)
            found += _of_rights(change.before, change.after, trees.owner)
        found += _of_the_real_target(root, change)
    found += _of_directories(root, changes)
    found += _of_links(trees)
    found += _of_twins(trees)
    return found


def _hazard(kind: str, path: bytes, says: str, *, blocks: bool = False) -> Hazard:
    return Hazard(kind=kind, path=path_text(path), says=says, blocks=blocks)


def _gather(base: Base, changes: Sequence[Change]) -> Trees:
    before, after = Links(), Links()
    owner = (0, 0)
    count = 0
    changed = {change.path for change in changes}
    new = [change.path for change in changes if change.before is None]
    twins: dict[tuple[bytes, str], set[bytes]] = {_folded(path): set() for path in new}
    homes = {parent_of(path) for path in new}

    def note_twins(paths: Iterable[bytes]) -> None:
        for path in paths if homes else ():
            if parent_of(path) in homes and (key := _folded(path)) in twins:
                twins[key].add(path)

    for block in base.blocks():
        if not count:
            owner = (block.entry(0).uid, block.entry(0).gid)
        count += len(block)
        for link in _links(block):
            before.note(link)
            if link.path not in changed:
                after.note(link)
        note_twins(path for path in block.paths if path not in changed)
    for change in changes:
        if change.after is not None:
            after.note(change.after)
    note_twins(change.path for change in changes if change.after is not None)
    left = count + len(new) - sum(change.after is None for change in changes)
    return Trees(before, after, owner, count, left, twins)


def _links(block: Block) -> Iterator[Entry]:
    kinds = block.kinds
    if b"link" in kinds:
        yield from (block.entry(at) for at, kind in enumerate(kinds) if kind == b"link")


def _folded(path: bytes) -> tuple[bytes, str]:
    name = path.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
    return parent_of(path), unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _of_names(change: Change, ignore: Patterns) -> Iterator[Hazard]:
    path = change.path
    if any(name.startswith(RESERVED) for name in path.split(b"/")):
        yield _hazard("reserved_name", path, "Names that start with '.sandbox-' are the product's own.", blocks=True)
    entry = change.after or change.before
    if entry is not None and ignore.match(path, entry.kind == "dir"):
        yield _hazard("ignored_path", path, "The target ignores this path, so it can't be promoted.", blocks=True)


def _of_kind(before: Entry | None, after: Entry) -> Iterator[Hazard]:
    path = after.path
    if after.kind in _SPECIAL:
        kind = _SPECIAL[after.kind]
        yield _hazard(kind, path, f"Adds or alters a {kind}; those are never promoted.", blocks=True)
    if after.kind == "file":
        for bit, name in ((stat.S_ISUID, "setuid"), (stat.S_ISGID, "setgid")):
            if after.mode & bit:
                says = f"Adds or alters a file with the {name} bit: it runs with the rights of its owner or group."
                yield _hazard(name, path, says, blocks=True)
        if any(name == _CAPABILITY for name, _ in after.xattrs):
            says = "Adds or alters a file with capabilities: it runs with rights of root."
            yield _hazard("capability", path, says, blocks=True)
    elif after.kind == "dir" and after.mode & stat.S_ISGID and not (before and before.mode & stat.S_ISGID):
        yield _hazard("setgid_directory", path, "What is made in this directory will belong to its group.")


def _of_rights(before: Entry | None, after: Entry, owner: tuple[int, int]) -> Iterator[Hazard]:
    path, was = after.path, before.mode if before is not None and before.kind == after.kind else None
    if before is not None and (before.uid, before.gid) != (after.uid, after.gid):
        says = f"The owner changes from {before.uid}:{before.gid} to {after.uid}:{after.gid}."
        yield _hazard("owner", path, says)
    elif before is None and (after.uid, after.gid) != owner:
        says = f"It belongs to {after.uid}:{after.gid}, the target to {owner[0]}:{owner[1]}."
        yield _hazard("owner", path, says)
    if after.kind == "link":
        return
    if after.mode & stat.S_IWOTH and not (was or 0) & stat.S_IWOTH:
        yield _hazard("world_writable", path, f"Everybody on the machine may write it (mode {after.mode:04o}).")
    if was is not None and after.mode & stat.S_IROTH and not was & stat.S_IROTH:
        yield _hazard("world_readable", path, f"Everybody may read it now (mode {was:04o} to {after.mode:04o}).")
    if after.kind == "file" and after.mode & 0o111 and not (was or 0) & 0o111:
        yield _hazard("executable", path, f"It can be run as a program now (mode {after.mode:04o}).")


def _of_the_real_target(root: int, change: Change) -> Iterator[Hazard]:
    """Other names of a file that is replaced keep the old content."""
    if change.before is None or change.after is None or change.before.kind != "file" or change.after.kind != "file":
        return
    try:
        with parent(root, change.path) as (handle, name):
            found = state(handle, name)
    except OSError as error:
        if error.errno not in GONE:
            raise
        return
    if found is not None and stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        says = f"This file has {found.st_nlink} names (hard links); the others keep the old content."
        yield _hazard("hard_link_separated", change.path, says)


def _of_directories(root: int, changes: Sequence[Change]) -> Iterator[Hazard]:
    """Directories that vanish with more in them than was captured."""
    known = {change.path for change in changes}
    for change in changes:
        if change.before is None or change.before.kind != "dir" or (change.after and change.after.kind == "dir"):
            continue
        try:
            with directory(root, change.path) as handle:
                names = [os.fsencode(name) for name in os.listdir(handle)]
        except OSError as error:
            if error.errno not in GONE:
                raise
            continue
        for path in sorted(change.path + b"/" + name for name in names):
            if path not in known:
                says = "Its directory would be removed, and this with it, which the target does not capture."
                yield _hazard("ignored_content_lost", path, says, blocks=True)


def _of_links(trees: Trees) -> Iterator[Hazard]:
    for path, target in sorted(trees.after.items(), key=lambda item: order_key(item[0])):
        why = trees.after.leaves(path)
        if why is None or (trees.before.target(path) == target and trees.before.leaves(path) is not None):
            continue
        through = " now" if trees.before.target(path) == target else ""
        says = f"The link to {path_text(target)!r} leaves the target{through}: {why}."
        yield _hazard("link_leaves", path, says, blocks=True)


def _of_twins(trees: Trees) -> Iterator[Hazard]:
    for names in trees.twins.values():
        if len(names) > 1:
            first, *others = sorted(names)
            shown = ", ".join(repr(path_text(other)) for other in others)
            says = f"Differs from {shown} only in case or Unicode form; on some systems they are one file."
            yield _hazard("name_twin", first, says)
