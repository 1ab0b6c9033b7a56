"""The restore point: what a promotion is about to overwrite or remove in one target, durable before it does.

Owns the files in the restore point's directory:

    manifest      each unit with before and after, and what tells whether a path was touched since
    base          all entries of the base, to tell third-party writes
    content/SHA   the content of every file that is overwritten or removed
    kept/N/...    what third parties wrote on changed paths, put aside by a restore
    valid, applying, settled, restored       marks, each durable before what it names begins

Must not touch the target.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sandbox import durable
from sandbox.errors import InputError, SandboxError
from sandbox.targets.beneath import opened
from sandbox.targets.flushing import Flushing
from sandbox.targets.sight import Labels, Seen
from sandbox.targets.tree_writer import copy
from sandbox.targets.units import Unit
from sandbox.trees import manifest
from sandbox.trees.entry import Entry, digest
from sandbox.trees.removal import remove_tree

VALID = "valid"
APPLYING = "applying"
SETTLED = "settled"
RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Saved:
    """What a restore point says."""

    root: tuple[int, int]
    """Device and inode of the target's root directory."""
    tag: str
    base: str
    """Fingerprint."""
    units: tuple[Unit, ...]
    seen: dict[bytes, Seen]
    """What was at each path that was changed."""

    @property
    def staging(self) -> bytes:
        """The name of the staging directory in the target's root."""
        return staging_name(self.tag)

    def seen_in(self, unit: Unit) -> list[Seen]:
        """The tree of a unit as it was, top first."""
        return [self.seen[entry.path] for entry in unit.before]

    def labels(self, path: bytes) -> Labels:
        """Access control lists and security labels that a path had."""
        return self.seen[path].labels if path in self.seen else ()

    def mtime_ns(self, path: bytes) -> int | None:
        """The modification time that a path had."""
        return self.seen[path].mtime_ns if path in self.seen else None


def staging_name(tag: str) -> bytes:
    """The reserved name under which a promotion stages in a target's root."""
    return f".sandbox-{tag}".encode()


class RestorePoint:
    """The directory of one restore point."""

    def __init__(self, path: Path, flushing: Flushing, *, sync_each: bool = True) -> None:
        """`sync_each`: make every content durable by itself, rather than all of them by `seal`."""
        self.path = path
        self.flushing = flushing
        self._sync_each = sync_each and flushing.on

    def begin(self) -> None:
        """An empty restore point; what a crash left half-made is dropped. Raises InputError where a valid one is."""
        if self.has(VALID):
            raise InputError(f"{self.path} already holds a restore point.", "Restore or settle that promotion first.")
        remove_tree(self.path)
        (self.path / "content").mkdir(parents=True, mode=0o700)

    def keep_content(self, fd: int) -> tuple[bytes, int]:
        """Copy an open file; its SHA-256 and size, which name the copy."""
        draft = self.path / "content" / "draft"
        with open(fd, "rb", closefd=False) as source, draft.open("x+b") as target:
            sha, size = copy(source, target.fileno())
            if self._sync_each:
                os.fsync(target.fileno())
        draft.rename(self._content(sha))
        return sha, size

    def open_content(self, entry: Entry) -> BinaryIO:
        """The content that a file had. Raises SandboxError where it is missing."""
        try:
            return self._content(entry.content).open("rb")
        except OSError as error:
            raise SandboxError(f"The restore point {self.path} lacks a file: {error.strerror}.") from error

    def seal(self, saved: Saved, base: Iterable[bytes]) -> None:
        """Make all of it durable; the mark that makes it valid is the caller's next step. `base`: the canonical bytes
        of all entries of the base."""
        manifest.write_canonical(self.path / "base", base, durable=self._sync_each)
        said = _written(_encode(saved)).encode()
        if not self._sync_each:
            (self.path / "manifest").write_bytes(said)
            with opened(self.path) as handle:
                self.flushing.file_system(handle)
            return
        durable.write(self.path / "manifest", said)
        durable.sync_directory(self.path / "content")
        durable.sync_directory(self.path)
        durable.sync_directory(self.path.parent)

    def validate(self) -> None:
        """From here on it can be restored from."""
        self.mark(VALID, digest([(self.path / "manifest").read_bytes()]).encode())

    def load(self) -> Saved | None:
        """What it says; None where it never became valid, so that nothing was changed. Raises SandboxError where it
        is damaged."""
        if not self.has(VALID):
            return None
        try:
            data = (self.path / "manifest").read_bytes()
            if digest([data]).encode() != (self.path / VALID).read_bytes():
                raise ValueError("its digest differs")
            return _decode(json.loads(data))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SandboxError(f"The restore point {self.path} is damaged: {error}.") from error

    def base(self) -> Iterable[Entry]:
        """All entries of the base."""
        return manifest.read(self.path / "base")

    def has(self, mark: str) -> bool:
        return (self.path / mark).exists()

    def mark(self, mark: str, content: bytes = b"") -> None:
        """Set a mark, durable when it returns where the restore point is."""
        self.flushing.write(self.path / mark, content)

    def read_mark(self, mark: str) -> bytes:
        return (self.path / mark).read_bytes()

    def content_path(self, entry: Entry) -> Path:
        """Where the content that a file had lies, for a person."""
        return self._content(entry.content)

    def _content(self, sha: bytes) -> Path:
        return self.path / "content" / sha.hex()


def _text(data: bytes) -> str:
    """Readable, and exact: JSON carries lone surrogates as escapes."""
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _pairs(pairs: Iterable[tuple[bytes, bytes]]) -> list[list[str]]:
    return [[_text(name), value.hex()] for name, value in pairs]


def _unpairs(pairs: Iterable[list[str]]) -> Labels:
    return tuple((_bytes(name), bytes.fromhex(value)) for name, value in pairs)


def _encode_entry(entry: Entry) -> dict[str, Any]:
    content = entry.content.hex() if entry.kind == "file" else _text(entry.content)
    fields = {
        "path": _text(entry.path),
        "content": content,
        "mode": f"{entry.mode:04o}",
        "xattrs": _pairs(entry.xattrs),
    }
    return {"kind": entry.kind, "uid": entry.uid, "gid": entry.gid, "size": entry.size, **fields}


def _decode_entry(data: dict[str, Any]) -> Entry:
    content = bytes.fromhex(data["content"]) if data["kind"] == "file" else _bytes(data["content"])
    owner = (data["uid"], data["gid"])
    return Entry(
        _bytes(data["path"]),
        data["kind"],
        int(data["mode"], 8),
        *owner,
        data["size"],
        content,
        _unpairs(data["xattrs"]),
    )


def _encode(saved: Saved) -> dict[str, Any]:
    return {
        "schema": 1,
        "root": saved.root,
        "tag": saved.tag,
        "base": saved.base,
        "units": [
            {
                "path": _text(unit.path),
                "in_place": unit.in_place,
                "before": [_encode_entry(each) for each in unit.before],
                "after": [_encode_entry(each) for each in unit.after],
            }
            for unit in saved.units
        ],
        "seen": [
            {
                "entry": _encode_entry(seen.entry),
                "labels": _pairs(seen.labels),
                **{name: getattr(seen, name) for name in _SEEN_FIELDS},
            }
            for seen in saved.seen.values()
        ],
    }


_SEEN_FIELDS = ("device", "inode", "links", "mtime_ns", "ctime_ns", "settled")


def _written(document: dict[str, Any]) -> str:
    """As JSON, each item of a list in a line of its own: for a person, and quicker to make than an indented one."""
    fields = []
    for name, value in document.items():
        items = ",\n".join(map(json.dumps, value)) if isinstance(value, list) else ""
        fields.append(f"{json.dumps(name)}: [\n{items}\n]" if items else f"{json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def _decode(data: dict[str, Any]) -> Saved:
    units = tuple(
        Unit(
            number,
            _bytes(each["path"]),
            tuple(map(_decode_entry, each["before"])),
            tuple(map(_decode_entry, each["after"])),
            each["in_place"],
        )
        for number, each in enumerate(data["units"])
    )
    seen = [
        Seen(
            entry=_decode_entry(each["entry"]),
            labels=_unpairs(each["labels"]),
            **{name: each[name] for name in _SEEN_FIELDS},
        )
        for each in data["seen"]
    ]
    device, inode = data["root"]
    return Saved((device, inode), data["tag"], data["base"], units, {each.entry.path: each for each in seen})
