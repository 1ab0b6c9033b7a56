"""The journal: every record and every step, durable before the next one is taken.

A step that is not `flushed` outlives its process at once, and a power cut with the next one that is: nothing that is
stored is there without all that was stored before it. It is for what a power cut ends, too (decision 0020).

Owns the transactions: a change of a record and the audit entry that tells of it are one, so neither exists
without the other. Must not know what the records mean, and must not sign (`audit` does). Callers keep
secrets out of `detail`: what is in the log stays in the log.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import rfc8785
from pydantic import ValidationError

from sandbox import faults
from sandbox.errors import JournalError, NotFound, Refused
from sandbox.journal import spent
from sandbox.journal.database import connect, explained
from sandbox.journal.entries import AuditEntry, Step, append, edge_of
from sandbox.journal.merkle import Edge, leaf_hash
from sandbox.records import Record

R = TypeVar("R", bound=Record)

_BATCH = 500


class _Together(threading.local):
    """Of one thread: the steps that it has stored so far within `together`; None outside of it."""

    steps: list[str] | None = None


class Ledger:
    """One open journal. Any number of threads and processes may use one file at the same time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()
        self._together = _Together()
        self._flushes = True
        self._told: dict[str, tuple[int, dict[str, str]]] = {}

    @classmethod
    def open(cls, path: Path, *, busy_s: float = 30) -> Self:
        """Open the journal, making it where there is none.

        `busy_s` is how long a call waits for another process. Raises JournalError, Locked.
        """
        return cls(path, connect(path, busy_s))

    def close(self) -> None:
        """Let go of the file; the ledger can't be used any more."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- records -------------------------------------------------------------------------------------

    def put(
        self,
        kind: str,
        id: str,  # noqa: A002
        record: Record,
        *,
        event: str,
        actor: str = "",
        flushed: bool = True,
        **detail: Any,
    ) -> None:
        """Store the record, over an earlier one of that kind and id, with an audit entry; durable on return."""
        step = Step(event, actor, id, detail, kind, body := _canonical(record))
        self._take(
            step,
            "INSERT INTO records (kind, id, body) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            (kind, id, body),
            flushed=flushed,
        )

    def add(self, kind: str, id: str, record: Record, *, event: str, actor: str = "", **detail: Any) -> bool:  # noqa: A002
        """Store the record unless there is one of that kind and id, else do nothing; whether it did."""
        step = Step(event, actor, id, detail, kind, body := _canonical(record))
        return self._take(step, "INSERT OR IGNORE INTO records (kind, id, body) VALUES (?, ?, ?)", (kind, id, body))

    def swap(
        self,
        kind: str,
        id: str,  # noqa: A002
        expected: Record,
        record: Record,
        *,
        event: str,
        actor: str = "",
        **detail: Any,
    ) -> bool:
        """Store the record if what is stored equals `expected`, else do nothing at all.

        Returns whether it did; of several that expect the same, one does.
        """
        step = Step(event, actor, id, detail, kind, body := _canonical(record))
        return self._take(
            step,
            "UPDATE records SET body = ? WHERE kind = ? AND id = ? AND body = ?",
            (body, kind, id, _canonical(expected)),
        )

    def drop(self, kind: str, id: str, *, event: str, actor: str = "", **detail: Any) -> None:  # noqa: A002
        """Remove the record with an audit entry; durable on return. Raises NotFound."""
        step = Step(event, actor, id, detail, kind)
        if not self._take(step, "DELETE FROM records WHERE kind = ? AND id = ?", (kind, id)):
            raise _missing(kind, id)

    def get(self, kind: str, id: str, cls: type[R]) -> R:  # noqa: A002
        """The record as last stored. Raises NotFound."""
        rows = self._read("SELECT body FROM records WHERE kind = ? AND id = ?", (kind, id))
        if not rows:
            raise _missing(kind, id)
        return self._parsed(cls, kind, id, rows[0][0])

    def find(self, kind: str, cls: type[R], **where: str | tuple[str, ...]) -> list[R]:
        """All records of a kind whose top-level fields have the given values, or one of them, oldest first."""
        tests, values = _tests(cls, where)
        rows = self._read(f"SELECT id, body FROM records WHERE kind = ?{tests} ORDER BY age", (kind, *values))  # noqa: S608
        return [self._parsed(cls, kind, found, body) for found, body in rows]

    def values(
        self, kind: str, cls: type[Record], fields: tuple[str, ...], **where: str | tuple[str, ...]
    ) -> set[str | None]:
        """What all those records have in some of their top-level fields, without reading the rest of them."""
        tests, values = _tests(cls, where)
        wanted = ", ".join(_field(cls, field) for field in fields)
        rows = self._read(f"SELECT {wanted} FROM records WHERE kind = ?{tests}", (kind, *values))  # noqa: S608
        return {value for row in rows for value in row}

    def held(self, kind: str, cls: type[R]) -> dict[str, R]:
        """All records of a kind by their id, each held against what the log tells of it. Raises JournalError.

        For records that nothing else vouches for: a row that was edited, inserted or deleted is found. It reads the
        log from where the last call of this process ended.
        """
        with self._lock:
            seq, told = self._told.get(kind, (0, {}))
            newest = self._read("SELECT size FROM tree")[0][0]
            if newest < seq:
                seq, told = 0, {}  # an older copy of the journal was put back
            for subject, digest in self._read(
                "SELECT json_extract(text, '$.subject'), json_extract(text, '$.record') FROM"
                " (SELECT seq, CAST(body AS TEXT) AS text FROM audit"
                " WHERE seq > ? AND seq <= ? AND instr(body, ?) > 0)"
                " WHERE json_extract(text, '$.kind') = ? ORDER BY seq",
                (seq, newest, f'"kind":"{kind}"'.encode(), kind),
            ):
                told[subject] = digest
            self._told[kind] = (newest, told)
            rows = dict(self._read("SELECT id, body FROM records WHERE kind = ? ORDER BY age", (kind,)))
        found = {name: hashlib.sha256(body.encode()).hexdigest() for name, body in rows.items()}
        if wrong := {name for name in found.keys() | told.keys() if found.get(name, "") != told.get(name, "")}:
            raise JournalError(
                f"The {kind} {min(wrong)} in {self.path} is not the one that the log tells of.",
                "Somebody changed the journal: run `sandbox audit verify` and find out who.",
            )
        return {name: self._parsed(cls, kind, name, body) for name, body in rows.items()}

    @contextmanager
    def together(self, *, flushed: bool = True) -> Iterator[None]:
        """What is stored within is stored together: all of it or nothing, durable when this is left.

        For steps of which none is taken before the last one is stored; it costs the disk one wait instead of one each.
        """
        with self._transaction(flushed=flushed):
            reached: list[str] = []
            self._together.steps = reached
            try:
                yield
            finally:
                self._together.steps = None
        for event in reached:
            faults.reached(event)

    # --- steps ---------------------------------------------------------------------------------------

    def note(self, event: str, *, actor: str = "", subject: str = "", flushed: bool = True, **detail: Any) -> None:
        """An audit entry alone; durable on return."""
        with self._transaction(flushed=flushed) as database:
            append(database, Step(event, actor, subject, detail))
        self._reached(event)

    def spend(self, nonce: str, *, promotion: str) -> None:
        """Use up a nonce for a promotion, once and for all; durable on return.

        It stays spent where an older copy of the journal is put back. Raises Refused when it was spent.
        """
        if spent.is_marked(self._spent, nonce):
            raise _already_spent()
        with self._transaction() as database:
            try:
                database.execute("INSERT INTO nonces VALUES (?, ?)", (nonce, promotion))
            except sqlite3.IntegrityError:
                raise _already_spent() from None
            digest = hashlib.sha256(nonce.encode()).hexdigest()
            append(database, Step("nonce.spent", "", promotion, {"nonce_sha256": digest}))
        faults.reached("nonce.recorded")
        spent.mark(self._spent, nonce)
        faults.reached("nonce.spent")

    def is_spent(self, nonce: str) -> bool:
        """Whether the nonce was spent."""
        if spent.is_marked(self._spent, nonce):
            return True
        return bool(self._read("SELECT 1 FROM nonces WHERE nonce = ?", (nonce,)))

    def entries(self, after: int = 0) -> Iterator[AuditEntry]:
        """The audit entries with a higher `seq`, in order. Those added meanwhile may be among them."""
        for seq, body in self.leaves(after):
            yield self._parsed(AuditEntry, "audit entry", str(seq), body)

    def latest_at(self) -> datetime | None:
        """The latest time of any audit entry, which need not be the newest: a clock that is behind was set back."""
        text = self._read("SELECT at FROM tree")[0][0]
        return datetime.fromisoformat(text) if text else None

    # --- for the audit log ---------------------------------------------------------------------------

    def leaves(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """`seq` and exact bytes of the audit entries with a higher `seq`, in order."""
        while rows := self._read("SELECT seq, body FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, _BATCH)):
            yield from rows
            after = rows[-1][0]

    def hashes(self, after: int, until: int) -> Iterator[tuple[int, bytes]]:
        """`seq` and leaf hash of the audit entries after one and up to another, in order."""
        for seq, body in self.leaves(after):
            if seq > until:
                return
            yield seq, leaf_hash(body)

    def edge(self) -> Edge:
        """The right edge of the Merkle tree over all entries."""
        size, packed = self._read("SELECT size, edge FROM tree")[0]
        return edge_of(size, packed)

    def add_checkpoint(self, size: int, line: bytes) -> None:
        """Keep a signed checkpoint; an earlier one of the same size stays."""
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO checkpoints VALUES (?, ?)", (size, line))

    # --- inside --------------------------------------------------------------------------------------

    @property
    def _spent(self) -> Path:
        return self.path.parent / "spent"

    @contextmanager
    def _transaction(self, *, flushed: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing, and on disk when it is left, unless it need not be `flushed`."""
        with self._lock, explained(self.path):
            if self._together.steps is not None:
                yield self._connection
                return
            if flushed != self._flushes:
                # In WAL mode NORMAL is as consistent as FULL; its last commits may be missing after a power cut.
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if flushed else 'NORMAL'}")
                self._flushes = flushed
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._told.clear()  # it may have seen what never came to be
                # SQLite may have rolled back by itself (full disk); then there is nothing left to undo.
                if self._connection.in_transaction:
                    with suppress(sqlite3.DatabaseError):
                        self._connection.execute("ROLLBACK")
                raise

    def _take(self, step: Step, statement: str, values: tuple[Any, ...], *, flushed: bool = True) -> bool:
        """Change a record, and tell of it; whether there was one to change."""
        with self._transaction(flushed=flushed) as database:
            done = database.execute(statement, values).rowcount
            if done:
                append(database, step)
        if done:
            self._reached(step.event)
        return bool(done)

    def _reached(self, event: str) -> None:
        """A step is stored, which is when a test may have us killed."""
        if self._together.steps is None:
            faults.reached(event)
        else:
            self._together.steps.append(event)

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock, explained(self.path):
            return self._connection.execute(query, values).fetchall()

    def _parsed(self, cls: type[R], kind: str, name: str, body: str | bytes) -> R:
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise JournalError(
                f"The {kind} {name} in {self.path} is not one that this version wrote.",
                "Run `sandbox audit verify`; use the version of sandbox that wrote it, or a backup.",
            ) from error


def _tests(cls: type[Record], where: dict[str, str | tuple[str, ...]]) -> tuple[str, list[str]]:
    """SQL that narrows records by their fields, and its values. The fields are written out, as an index needs them."""
    tests, values = "", list[str]()
    for field, value in where.items():
        several = (value,) if isinstance(value, str) else value
        tests += f" AND {_field(cls, field)} IN ({', '.join('?' * len(several))})"
        values += several
    return tests, values


def _field(cls: type[Record], field: str) -> str:
    if field not in cls.model_fields:
        raise ValueError(f"{cls.__name__} has no field {field}")
    return f"json_extract(body, '$.{field}')"


def _canonical(record: Record) -> str:
    return rfc8785.dumps(record.model_dump(mode="json")).decode()


def _missing(kind: str, name: str) -> NotFound:
    return NotFound(f"There is no {kind} {name!r}.")


def _already_spent() -> Refused:
    return Refused(
        "This sign-off was already used for a promotion.", "Propose the change anew and have it signed again."
    )
