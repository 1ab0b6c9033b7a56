"""Whether the symbolic links of a tree stay inside it.

Owns the lexical resolution of links, through other links of the same tree. Pure; must not touch a file system.
"""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.trees.entry import Entry, parent_of

_MOST_LINKS = 40
"""As many as the kernel follows."""


class Links:
    """The symbolic links of one state of a tree."""

    def __init__(self) -> None:
        self._targets: dict[bytes, bytes] = {}

    def note(self, entry: Entry) -> None:
        """Take an entry of the tree in."""
        if entry.kind == "link":
            self._targets[entry.path] = entry.content

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Each link and what it says."""
        yield from self._targets.items()

    def target(self, path: bytes) -> bytes | None:
        """What the link at `path` says; None where it is no link."""
        return self._targets.get(path)

    def leaves(self, path: bytes) -> str | None:
        """Why the link at `path` leads out of the tree, or None where it stays inside or leads in a circle.

        What is no link is taken for a directory, whether it exists or not: it may come to exist.
        """
        if path not in self._targets:
            return None
        here = [] if b"/" not in path else parent_of(path).split(b"/")
        pending = self._parts(self._targets[path])
        if pending is None:
            return "it is absolute"
        followed = 0
        while pending:
            part = pending.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not here:
                    return "it climbs above the target"
                here.pop()
                continue
            here.append(part)
            target = self._targets.get(b"/".join(here))
            if target is None:
                continue
            followed += 1
            if followed > _MOST_LINKS:
                return None
            further = self._parts(target)
            if further is None:
                return "another link on its way is absolute"
            here.pop()
            pending += further
        return None

    @staticmethod
    def _parts(target: bytes) -> list[bytes] | None:
        """The components, last first; None for an absolute path."""
        return None if target.startswith(b"/") else target.split(b"/")[::-1]
