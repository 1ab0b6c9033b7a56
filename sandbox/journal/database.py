"""The journal's SQLite file: its layout, how it is opened, and what its errors mean to a person.

Owns the file and nothing that is in it. A connection that leaves here commits durably (WAL, synchronous
FULL, which the ledger lowers for single steps) and waits for other processes. Must not know records or audit entries.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import JournalError, Locked

LAYOUT_VERSION = 1
ROOM = 4 << 20
"""So many bytes should be free where the journal is: what it writes before it tidies up, and more."""

_LAYOUT = """
CREATE TABLE layout (version INTEGER NOT NULL);
CREATE TABLE records (
    age INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE TABLE audit (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE tree (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    size INTEGER NOT NULL,
    edge BLOB NOT NULL,
    last BLOB NOT NULL,
    at TEXT NOT NULL
);
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, line BLOB NOT NULL);
CREATE TABLE nonces (nonce TEXT PRIMARY KEY, promotion TEXT NOT NULL);
INSERT INTO layout VALUES (1);
INSERT INTO tree VALUES (1, 0, x'', x'', '');
"""

_INDEX = """
CREATE INDEX IF NOT EXISTS records_state ON records (
    kind,
    json_extract(body, '$.status'),
    json_extract(body, '$.sandbox'),
    json_extract(body, '$.head'),
    json_extract(body, '$.forked_from')
);
"""
"""What is asked of records at every step, so that what was done long ago costs nothing. A journal without it is as
good, only slower: it is added when one is opened."""


def connect(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open the database at `path`, making it (0600) where there is none.

    The connection may be used by any thread, one at a time. Raises JournalError, Locked.
    """
    try:
        with _opening(path), explained(path):
            _own(path)
            connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
            return connection
    except OSError as error:
        raise JournalError(
            f"The journal {path} can't be opened: {error.strerror}.", "Check that its folder exists and is writable."
        ) from error


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open an existing database, perhaps a copy on read-only media, without changing it. Raises JournalError."""
    name = path.absolute().as_uri()
    with explained(path):
        # A database in WAL mode can't be read where its side files can't be made, unless nobody writes to it.
        for mode in ("mode=ro", "mode=ro&immutable=1"):
            connection = sqlite3.connect(f"{name}?{mode}", uri=True, isolation_level=None)
            try:
                _check_layout(connection, path)
                return connection
            except sqlite3.OperationalError as error:
                connection.close()
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                    raise
            except BaseException:
                connection.close()
                raise
    raise JournalError(f"The journal {path} can't be opened for reading.", "Check that it exists and is readable.")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite raises inside into an error that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explain(path, error) from error


def _explain(path: Path, error: sqlite3.DatabaseError) -> JournalError | Locked:
    # The low byte is the kind of trouble; the rest is detail of interest to SQLite alone.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Locked(
            f"The journal {path} is held by another process.", "Try again when the other command has finished."
        )
    room = f"{_free(path):,} bytes are free there and {ROOM:,} should be; nothing of this step was recorded."
    says, hint = {
        sqlite3.SQLITE_FULL: ("can't grow: the disk is full", f"Make room: {room}"),
        sqlite3.SQLITE_IOERR: ("was refused by the disk", f"Look at the disk's health and make room: {room}"),
        sqlite3.SQLITE_READONLY: ("is read-only", "Make the file and its folder writable for this user."),
        sqlite3.SQLITE_PERM: ("may not be read", "Make the file and its folder accessible for this user."),
        sqlite3.SQLITE_CANTOPEN: ("can't be opened", "Check that its folder exists and is accessible for this user."),
        sqlite3.SQLITE_CORRUPT: ("is damaged", "Put back a copy of it from a backup; keep the damaged file."),
        sqlite3.SQLITE_CONSTRAINT: ("contradicts itself", "Run `sandbox audit verify`; put back a backup."),
        sqlite3.SQLITE_NOTADB: ("is not a journal", "Put back a copy of it from a backup, or name another home."),
    }.get(code, ("can't be used", "Put back a copy of it from a backup if it is damaged."))
    return JournalError(f"The journal {path} {says} ({error}).", hint)


def _free(path: Path) -> int:
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return 0
    return room.f_bavail * room.f_frsize


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """One opening at a time: making the file and switching it to WAL are not safe against each other."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _own(path: Path) -> None:
    """Make sure that the file is there and that nobody else may write to it.

    An existing file is never opened here: closing it would drop SQLite's own locks in this process.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        return
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"The journal {path} is not a plain file.", "Remove it or name another home.")
    if found.st_mode & 0o022:
        raise JournalError(f"The journal {path} can be written by other users.", f"Run: chmod 600 {path}")


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cell_size_check = ON")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {_LAYOUT} COMMIT;")
    _check_layout(connection, path)
    connection.execute(_INDEX)


def _check_layout(connection: sqlite3.Connection, path: Path) -> None:
    known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('layout', 'tree')").fetchone()[0]
    versions = connection.execute("SELECT version FROM layout").fetchall() if known == 2 else []
    if versions != [(LAYOUT_VERSION,)]:
        found = versions[0][0] if versions else "none"
        raise JournalError(
            f"The journal {path} has layout {found}, this version reads {LAYOUT_VERSION}.",
            "Use the version of sandbox that wrote it, or name another home.",
        )
