"""Is this log the one that was signed? Offline, from a copy of the journal or an export and a public key.

Owns the names of what can be wrong with a log. Must not trust anything in it: entries are hashed as they
are, and only a signature of the manager's key says which hashes are right.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sandbox import sshsig
from sandbox.errors import InputError
from sandbox.journal.audit import SignedCheckpoint
from sandbox.journal.database import connect_to_read, explained
from sandbox.journal.entries import AuditEntry
from sandbox.journal.merkle import Edge, leaf_hash
from sandbox.records import Record

_SQLITE = b"SQLite format 3\0"
_CHECKPOINT = b'{"checkpoint":'


class Finding(Record):
    """One thing that is wrong with a log."""

    kind: Literal[
        "edited",
        "dropped",
        "inserted",
        "reordered",
        "truncated",
        "rewritten",
        "forged",
        "unsigned",
        "record",
        "approval",
    ]
    """`record`: a stored record is not the one that its last entry tells of. `approval`: something was put into effect
    without one that covers it."""
    says: str
    seq: int | None = None
    """The entry, or the first of them, where it is known."""


class Verification(Record):
    """What verifying a log gave."""

    entries: int
    signed: int
    """Of these, the first so many are under a checkpoint; nothing vouches for those after."""
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class _Leaf:
    seq: int
    previous: str | None
    """None where the entry can't be read."""
    hash: bytes


@dataclass(slots=True)
class _Log:
    """What was read, before anything is judged."""

    leaves: list[_Leaf] = field(default_factory=list)
    """In stored order."""
    findings: list[Finding] = field(default_factory=list)
    checkpoints: list[bytes] = field(default_factory=list)
    told: dict[tuple[str, str], str] = field(default_factory=dict)
    """What the entries say that each record's digest is."""
    records: dict[tuple[str, str], str] | None = None
    """What the records' digests are; None in an export."""
    tree: tuple[int, bytes, bytes] | None = None
    """Size, packed edge and last leaf, as stored beside the entries; None in an export."""

    def add(self, body: bytes) -> None:
        """Take in the next entry as it is stored."""
        try:
            entry = AuditEntry.model_validate_json(body)
        except ValidationError:
            seq = self.leaves[-1].seq + 1 if self.leaves else 1
            self.findings.append(Finding(kind="edited", says=f"Entry {seq} is not as it was written.", seq=seq))
            self.leaves.append(_Leaf(seq, None, leaf_hash(body)))
            return
        self.leaves.append(_Leaf(entry.seq, entry.previous, leaf_hash(body)))
        if entry.kind:
            self.told[entry.kind, entry.subject] = entry.record


def verify(log: Path, public_key: str, witness: Path | None = None) -> Verification:
    """Check a journal, a copy of one, or an export, against the manager's public key.

    `witness` is a checkpoint kept elsewhere, such as the one beside the key: it shows when the log as a whole
    was put back. Raises InputError where a file can't be read or the key is none; JournalError for a database
    that can't be opened.
    """
    try:
        key = sshsig.key_blob(public_key)
        with log.open("rb") as file:
            is_database = file.read(len(_SQLITE)) == _SQLITE
        read = _read_database(log) if is_database else _read_export(log)
        if witness is not None:
            read.checkpoints += [line for line in witness.read_bytes().splitlines() if line][-1:]
    except OSError as error:
        raise InputError(f"{error.filename} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(
            f"The public key of the audit log is wrong: {error}.", "Give it as `ssh-ed25519 AAAA…`."
        ) from error
    findings = [*read.findings, *_order(read.leaves), *_chain(read.leaves), *_stored_tree(read)]
    checkpoints, forged = _checked(read.checkpoints, key)
    findings += [*forged, *_signed(checkpoints, read.leaves), *_records(read)]
    if not checkpoints and (read.leaves or not is_database):
        findings.append(Finding(kind="unsigned", says="No checkpoint of the manager's key vouches for this log."))
    signed = max((one.checkpoint.size for one in checkpoints), default=0)
    unique = tuple(dict.fromkeys(findings))
    return Verification(entries=len(read.leaves), signed=min(signed, len(read.leaves)), findings=unique)


def entries_of(log: Path) -> Iterator[AuditEntry]:
    """The entries of a journal or an export that can be read, as they are; whether they hold is for `verify`."""
    with log.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    for body in _database_bodies(log) if is_database else _export_bodies(log):
        with suppress(ValidationError):
            yield AuditEntry.model_validate_json(body)


def _export_bodies(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line for line in file if not line.startswith(_CHECKPOINT))


def _database_bodies(path: Path) -> Iterator[bytes]:
    with closing(connect_to_read(path)) as database, explained(path):
        yield from (_bytes(body) for (body,) in database.execute("SELECT body FROM audit ORDER BY seq"))


# --- reading --------------------------------------------------------------------------------------------


def _read_export(path: Path) -> _Log:
    log = _Log()
    with path.open("rb") as file:
        for line in file:
            if line.startswith(_CHECKPOINT):
                log.checkpoints.append(line)
            else:
                log.add(line.removesuffix(b"\n"))
    return log


def _read_database(path: Path) -> _Log:
    with closing(connect_to_read(path)) as database, explained(path):
        database.execute("BEGIN")  # one instant of it, whoever writes meanwhile
        log = _Log()
        for (body,) in database.execute("SELECT body FROM audit ORDER BY seq"):
            log.add(_bytes(body))
        log.checkpoints = [_bytes(line) for (line,) in database.execute("SELECT line FROM checkpoints ORDER BY size")]
        log.records = dict(_digests(database))
        size, edge, last = database.execute("SELECT size, edge, last FROM tree").fetchone()
        log.tree = (size, _bytes(edge), _bytes(last))
        return log


def _digests(database: sqlite3.Connection) -> Iterator[tuple[tuple[str, str], str]]:
    for kind, name, body in database.execute("SELECT kind, id, body FROM records"):
        yield (kind, name), hashlib.sha256(_bytes(body)).hexdigest()


def _bytes(value: object) -> bytes:
    """A stored value whatever its type: who edits a database may change that too."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


# --- judging --------------------------------------------------------------------------------------------


def _order(leaves: list[_Leaf]) -> Iterator[Finding]:
    seen: set[int] = set()
    highest = 0
    for leaf in leaves:
        if leaf.seq in seen:
            yield Finding(kind="inserted", says=f"Entry {leaf.seq} is there more than once.", seq=leaf.seq)
        elif leaf.seq < highest:
            yield Finding(kind="reordered", says=f"Entry {leaf.seq} comes after entry {highest}.", seq=leaf.seq)
        seen.add(leaf.seq)
        highest = max(highest, leaf.seq)
    before = 0
    for seq in sorted(seen):
        if seq > before + 1:
            which = f"Entry {seq - 1} is" if seq == before + 2 else f"Entries {before + 1} to {seq - 1} are"
            yield Finding(kind="dropped", says=f"{which} missing.", seq=before + 1)
        before = seq


def _chain(leaves: list[_Leaf]) -> Iterator[Finding]:
    """Every entry names the one before it, so that an edited one can be told."""
    by_seq = {leaf.seq: leaf for leaf in leaves}
    for seq, leaf in sorted(by_seq.items()):
        before = by_seq.get(seq - 1)
        if leaf.previous is None or (before is None and seq != 1):
            continue
        if leaf.previous != (before.hash.hex() if before else ""):
            at = max(seq - 1, 1)
            yield Finding(kind="edited", says=f"Entry {at} is not as it was written.", seq=at)


def _stored_tree(log: _Log) -> Iterator[Finding]:
    """What the journal itself remembers of its end."""
    if log.tree is None:
        return
    size, packed, last = log.tree
    highest = max((leaf.seq for leaf in log.leaves), default=0)
    if size > highest:
        says = f"The log ends at entry {highest}, and there were {size}."
        yield Finding(kind="truncated", says=says, seq=highest + 1)
    elif size < highest:
        says = f"The journal has {size} entries, and the log goes on to {highest}."
        yield Finding(kind="inserted", says=says, seq=size + 1)
    elif log.leaves and last != log.leaves[-1].hash:
        seq = log.leaves[-1].seq
        yield Finding(kind="edited", says=f"Entry {seq} is not as it was written.", seq=seq)
    elif packed != _grown(log.leaves).pack():
        yield Finding(kind="edited", says="The tree stored beside the entries is not theirs.")


def _grown(leaves: list[_Leaf]) -> Edge:
    edge = Edge()
    for leaf in leaves:
        edge = edge.grown(leaf.hash)
    return edge


def _checked(lines: list[bytes], key: bytes) -> tuple[list[SignedCheckpoint], list[Finding]]:
    """The checkpoints that the key signed, smallest first, and the others as findings."""
    good: list[SignedCheckpoint] = []
    forged: list[Finding] = []
    for line in lines:
        try:
            signed = SignedCheckpoint.model_validate_json(line)
            signed.check(key)
        except ValidationError:
            forged.append(Finding(kind="forged", says="A checkpoint can't be read."))
        except ValueError as error:
            says = f"The checkpoint over {signed.checkpoint.size} entries is false: {error}."
            forged.append(Finding(kind="forged", says=says))
        else:
            good.append(signed)
    return sorted(good, key=lambda signed: signed.checkpoint.size), forged


def _signed(checkpoints: list[SignedCheckpoint], leaves: list[_Leaf]) -> Iterator[Finding]:
    """The entries against what was signed; the first checkpoint that does not fit says where."""
    edge, held = Edge(), 0
    for signed in checkpoints:
        size, at = signed.checkpoint.size, signed.checkpoint.at.isoformat(timespec="seconds")
        if size > len(leaves):
            says = f"The log has {len(leaves)} entries, and {size} were signed at {at}."
            yield Finding(kind="truncated", says=says, seq=len(leaves) + 1)
            return
        for leaf in leaves[edge.size : size]:
            edge = edge.grown(leaf.hash)
        if edge.root().hex() != signed.checkpoint.root:
            says = f"The entries {held + 1} to {size} are not those that were signed at {at}."
            yield Finding(kind="rewritten", says=says, seq=held + 1)
            return
        held = size


def _records(log: _Log) -> Iterator[Finding]:
    """The stored records against what the entries tell of them."""
    if log.records is None:
        return
    told = {name: digest for name, digest in log.told.items() if digest}
    for kind, name in sorted(told.keys() | log.records.keys()):
        expected, found = told.get((kind, name)), log.records.get((kind, name))
        if expected != found:
            why = "is missing" if found is None else "is not the one that the log tells of"
            yield Finding(kind="record", says=f"The stored {kind} {name} {why}.")
