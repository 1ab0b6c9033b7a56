"""What a reviewer must know before reading the difference: dangerous paths, hidden text, what vanishes.

Owns the suspicion. Must not refuse anything: what a target can't take at all comes from `Target.inspect`,
and whether a change may go ahead from `decide`. Pure over the base, the changes and the sealed contents; what it
says is in its own words and never quotes a file's content.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from sandbox.records import Hazard
from sandbox.reviewing.content import SCAN_BYTES, aware_of_tests, suspicions
from sandbox.reviewing.surface import executable_surface, is_code, is_test
from sandbox.targets.base import Base, Blobs
from sandbox.terminal import is_plain
from sandbox.trees.entry import Change, Entry, parent_of, path_text

HUGE_BYTES = 10 << 20
_SHOWN_LOST = 5

_ByPath = dict[bytes, list[Hazard]]


def find(base: Base, changes: Sequence[Change], blobs: Blobs) -> list[Hazard]:
    """All hazards of one target's changes: those of the whole first, then path by path.

    Reads every new content once (at most SCAN_BYTES of each), and the base's entries once.
    """
    lost, twins = _against_base(base, changes)
    found = [*lost]
    for change in changes:
        found += _of_path(change)
        found += twins.get(change.path, ())
        if change.after is not None:
            found += _of_state(change.before, change.after)
            found += _of_content(change, base, blobs)
    return found


def lost_contents(base: Iterable[Entry], changes: Sequence[Change]) -> list[Change]:
    """Files that go away, whose content is nowhere in the tree afterwards (D5, T16: no rename hides a loss)."""
    going = [c for c in changes if _is_file(c.before) and not _is_file(c.after)]
    wanted = {c.before.content for c in going if c.before}
    wanted -= {c.after.content for c in changes if c.after and _is_file(c.after)}
    if wanted:
        changed = {c.path for c in changes}
        wanted -= {e.content for e in base if e.kind == "file" and e.content in wanted and e.path not in changed}
    return [c for c in going if c.before and c.before.content in wanted]


def _is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == "file"


def _hazard(kind: str, path: bytes, says: str) -> Hazard:
    return Hazard(kind=kind, path=path_text(path), says=says)


def _against_base(base: Base, changes: Sequence[Change]) -> tuple[list[Hazard], dict[bytes, list[Hazard]]]:
    """One pass over the base for both questions that need all of it; it decodes what may answer them."""
    folders = {parent_of(c.path) for c in changes if c.before is None}
    going = {c.before.content.hex().encode() for c in changes if c.before is not None and _is_file(c.before)}
    names: dict[bytes, list[bytes]] = {}

    def watched() -> Iterator[Entry]:
        for block in base.blocks():
            for path in block.paths if folders else ():
                if (home := parent_of(path)) in folders:
                    names.setdefault(home, []).append(path)
            if not going.isdisjoint(block.contents):
                yield from (block.entry(at) for at, content in enumerate(block.contents) if content in going)

    stream = watched()
    lost = lost_contents(stream, changes)
    for _ in stream:
        pass
    return _say_lost(lost), _twins(names, changes)


def _say_lost(lost: list[Change]) -> list[Hazard]:
    if not lost:
        return []
    objects = len({c.before.content for c in lost if c.before})
    size = sum(c.before.size for c in lost if c.before)
    first = ", ".join(path_text(c.path) for c in lost[:_SHOWN_LOST])
    more = f" and {len(lost) - _SHOWN_LOST} more" if len(lost) > _SHOWN_LOST else ""
    noun = "content object vanishes" if objects == 1 else "content objects vanish"
    says = f"{objects} {noun} ({size} bytes): nowhere in the tree afterwards. From {first}{more}"
    return [Hazard(kind="lost_content", path=".", says=says)]


def _twins(names: dict[bytes, list[bytes]], changes: Sequence[Change]) -> _ByPath:
    """Names that look alike but are not the same (T13). Twins by case alone are the target's to refuse."""
    gone = {c.path for c in changes if c.after is None}
    by_look: dict[tuple[bytes, str], list[bytes]] = {}
    present = [path for paths in names.values() for path in paths if path not in gone]
    for path in {*present, *(c.path for c in changes if c.after is not None)}:
        by_look.setdefault((parent_of(path), _look(path)), []).append(path)
    found: dict[bytes, list[Hazard]] = {}
    for change in changes:
        if change.before is not None or change.after is None:
            continue
        for other in sorted(by_look[parent_of(change.path), _look(change.path)]):
            if other != change.path and other.lower() != change.path.lower():
                says = f"its name looks like the one of {path_text(other)}"
                found.setdefault(change.path, []).append(_hazard("twin", change.path, says))
    return found


# Letters of other scripts that fonts draw like a Latin one; enough to catch a name made to be mistaken.
_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u03bf\u03b1\u03bd\u03c1\u0131\u0261\u04cf",
    "aeopcyxijsdhoavpigl",
)


def _look(path: bytes) -> str:
    name = path.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
    folded = unicodedata.normalize("NFKC", name).casefold().translate(_LOOKALIKES)
    shown = "".join(c for c in folded if is_plain(c)).rstrip(" .")
    return shown.replace("rn", "m").replace("0", "o").replace("1", "l").replace("vv", "w")


def _of_path(change: Change) -> Iterator[Hazard]:
    name = change.path.decode("utf-8", "surrogateescape")
    if not all(is_plain(c) for c in name):
        says = "its name has invisible, control, bidi or invalid characters (shown escaped)"
        yield _hazard("hidden_name", change.path, says)
    if any(part != part.rstrip(b" .") for part in change.path.split(b"/")) and change.path != b".":
        yield _hazard("hidden_name", change.path, "its name ends in a dot or a space")
    for says in executable_surface(change.path):
        yield _hazard("executable_surface", change.path, says)
    if is_test(change.path):
        yield _hazard("test_changed", change.path, "part of a test suite: the change may judge itself")


def _of_state(before: Entry | None, after: Entry) -> Iterator[Hazard]:
    if before is not None and before.kind != after.kind:
        yield _hazard("kind_changed", after.path, f"was a {before.kind}, becomes a {after.kind}")
    if after.kind == "link":
        target = path_text(after.content)
        yield _hazard("symlink", after.path, f"a symbolic link to {target}")
        return
    if before is not None and (before.uid, before.gid) != (after.uid, after.gid):
        says = f"owner {before.uid}:{before.gid} becomes {after.uid}:{after.gid}"
        yield _hazard("owner_changed", after.path, says)
    if before is not None and before.xattrs != after.xattrs:
        yield _hazard("xattrs_changed", after.path, "extended attributes differ")
    yield from _of_mode(before, after)
    if after.kind == "file" and after.size > HUGE_BYTES:
        yield _hazard("huge", after.path, f"{after.size} bytes; only the first {SCAN_BYTES} were looked at")
    if before is not None and before.size > 0 and after.size == 0 and before.kind == after.kind == "file":
        yield _hazard("emptied", after.path, f"all {before.size} bytes are gone; the file stays, empty")


def _of_mode(before: Entry | None, after: Entry) -> Iterator[Hazard]:
    if after.kind == "file":
        had = before.mode if before is not None and before.kind == "file" else 0
        if after.mode & 0o111 and not had & 0o111:
            yield _hazard("executable_bit", after.path, f"can be executed (mode {after.mode:04o})")
    if before is None or before.kind == "link":
        widened = bool(after.mode & 0o002) and not after.mode & 0o1000
        was = "a new entry"
    else:
        widened = bool(after.mode & ~before.mode & 0o066)
        was = f"mode {before.mode:04o}"
    if widened:
        says = f"more people may read or write it: {was} becomes {after.mode:04o}"
        yield _hazard("mode_widened", after.path, says)


def _of_content(change: Change, base: Base, blobs: Blobs) -> list[Hazard]:
    before, after = change.before, change.after
    if after is None or after.kind != "file":
        return []
    if before is not None and before.kind == "file" and before.content == after.content:
        return []
    old = _head(base.open(change.path)) if before is not None and before.kind == "file" else b""
    new = _head(blobs.open(after.content))
    found = [_hazard(kind, change.path, says) for kind, says in suspicions(old, new)]
    aware = None if is_test(change.path) or not is_code(change.path) else aware_of_tests(old, new)
    return [*found, _hazard("test_aware", change.path, aware)] if aware else found


def _head(file: BinaryIO) -> bytes:
    with file:
        return file.read(SCAN_BYTES)
