"""Names of users as the sandbox knows them, and their numbers.

Owns the reading of the sandbox's own /etc/passwd and /etc/group, which the agent may have rewritten: every line
is taken with care, and the host's are never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.engines.native import rooted
from sandbox.errors import InputError

_NUMERIC = re.compile(r"(\d{1,9})(?::(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class User:
    """Who a command runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @property
    def ids(self) -> tuple[int, int, tuple[int, ...]]:
        """uid, gid and further gids."""
        return self.uid, self.gid, self.groups


ROOT = User("root", 0, 0, (), "/root")


def find(root: int, asked: str | None) -> User:
    """The user `asked` (a name or `uid[:gid]`; None: root) in the sandbox at `root`. Raises InputError."""
    if asked is None or asked in ("root", "0"):
        # Whatever the agent did to the files, root can always be reached.
        return ROOT
    numbers = _NUMERIC.fullmatch(asked)
    uid = int(numbers[1]) if numbers else None
    for name, _, own_uid, own_gid, _, home, *_ in _lines(root, "/etc/passwd", 6):
        if not own_uid.isdecimal() or not own_gid.isdecimal():
            continue
        if name == asked or (uid is not None and int(own_uid) == uid):
            gid = int(numbers[2]) if numbers and numbers[2] else int(own_gid)
            return User(name, int(own_uid), gid, _groups(root, name), home or "/")
    if numbers is None:
        hint = "Name a user of its /etc/passwd, or give numbers: UID or UID:GID."
        raise InputError(f"There is no user {asked!r} in the sandbox.", hint)
    number = int(numbers[1])
    return User(str(number), number, int(numbers[2] or 0), (), "/")


def _groups(root: int, name: str) -> tuple[int, ...]:
    lines = _lines(root, "/etc/group", 4)
    return tuple(int(gid) for _, _, gid, members, *_ in lines if gid.isdecimal() and name in members.split(","))


def _lines(root: int, path: str, fields: int) -> Iterator[list[str]]:
    try:
        text = rooted.read(root, path).decode("utf-8", "replace")
    except InputError:
        return
    for line in text.splitlines():
        parts = line.split(":")
        if len(parts) >= fields:
            yield parts
