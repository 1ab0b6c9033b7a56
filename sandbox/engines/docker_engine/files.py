"""Single files of a sandbox, in and out, through the engine's archives.

Owns paths and links here: the engine resolves every link inside the sandbox's own root.
"""

from __future__ import annotations

import posixpath
from typing import Any

from sandbox.engines.docker_engine import archive
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Containers
from sandbox.errors import InputError, NotFound

_LINKS = 8
"""The engine follows a link to its end at once; more steps than a few are a race."""
_GO_DIR = 1 << 31
_GO_LINK = 1 << 27
_GO_TYPE = _GO_DIR | _GO_LINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
"""Bits of Go's file modes: they are not Unix's."""


class Files:
    """Reads and writes files in the sandboxes of one home."""

    def __init__(self, connection: Connection, containers: Containers) -> None:
        self._connection = connection
        self._containers = containers

    def read(self, sandbox: str, path: str) -> bytes:
        """See Engine.read."""
        box = self._containers.find(sandbox)
        found = self._stat(box.id, _absolute(path))
        if found is None:
            raise NotFound(f"There is no file {path!r} in {sandbox}.")
        if found["mode"] & _GO_TYPE:
            raise InputError(f"{path!r} in {sandbox} is not a regular file.")
        with self._connection.archive(box.id, found["path"]) as chunks:
            for _, content in archive.members(chunks):
                if content is not None:
                    return content.read()
        raise NotFound(f"There is no file {path!r} in {sandbox}.")

    def write(self, sandbox: str, path: str, content: bytes, mode: int) -> None:
        """See Engine.write."""
        path = _absolute(path)
        box = self._containers.find(sandbox)
        found = self._stat(box.id, path)
        if found is not None and found["mode"] & _GO_DIR:
            raise InputError(f"{path!r} in {sandbox} is a directory.")
        above, missing = posixpath.dirname(found["path"] if found else path), list[str]()
        while (parent := self._stat(box.id, above)) is None:
            missing.insert(0, posixpath.basename(above))
            above = posixpath.dirname(above)
        if not parent["mode"] & _GO_DIR:
            raise InputError(f"{above!r} in {sandbox} is not a directory.")
        inner = posixpath.join(*missing, posixpath.basename(found["path"] if found else path))
        data = b"".join(archive.directory(name) for name in archive.parents(inner))
        self._connection.patiently(
            lambda: self._connection.api.put_archive(
                box.id, parent["path"], data + archive.file(inner, content, mode & 0o7777) + archive.END
            )
        )

    def _stat(self, container: str, path: str) -> dict[str, Any] | None:
        """What is at the path, links followed inside the sandbox; `path` in it is the real one. None: nothing."""
        for _ in range(_LINKS):
            found = self._connection.path_status(container, path)
            if found is None or not found["mode"] & _GO_LINK:
                return None if found is None else {**found, "path": path}
            path = found["linkTarget"]
        return None


def _absolute(path: str) -> str:
    if not posixpath.isabs(path):
        raise InputError(f"{path!r} is not an absolute path.")
    if "\0" in path:
        raise InputError("A path can't contain a NUL.")
    return posixpath.normpath(path)
