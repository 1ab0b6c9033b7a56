"""Whose files they are, seen from the target and seen from a sandbox.

Owns the bijection between the two views. In a sandbox the agent is root, and root stands for the owner of the
target; so what the agent recreates as root belongs to the target's owner again. Must not touch a file system.
"""

from __future__ import annotations

from typing import NamedTuple

from sandbox.trees.entry import Entry


class OwnerMap(NamedTuple):
    """Swaps the owner of the target's root directory with root; every other owner stays. Its own inverse."""

    uid: int
    gid: int

    def swap(self, entry: Entry) -> Entry:
        """The entry in the other view."""
        uid, gid = _swap(entry.uid, self.uid), _swap(entry.gid, self.gid)
        if (uid, gid) == (entry.uid, entry.gid):
            return entry
        return entry._replace(uid=uid, gid=gid)


def _swap(number: int, owner: int) -> int:
    if number == owner:
        return 0
    return owner if number == 0 else number
