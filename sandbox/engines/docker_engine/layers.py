"""Images that are ours: base layers (an image plus the placed trees), and what frees them.

Owns the life of base layers: made once however many ask, removed with the last sandbox or snapshot on them, or a
little later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from docker import errors as docker_errors

from sandbox.engines.base import Placement
from sandbox.engines.docker_engine import archive, naming, waiter
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.containers import Containers
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.mapping import SDK_ERRORS, image_missing
from sandbox.engines.docker_engine.naming import Blueprint, Names
from sandbox.errors import InputError


class Layers:
    """The derived images of one home."""

    def __init__(self, connection: Connection, names: Names, locks: Locks, containers: Containers) -> None:
        self._connection = connection
        self._names = names
        self._locks = locks
        self._containers = containers
        self._kept = ""
        self._keeping: BinaryIO | None = None

    def lock(self, base: str) -> str:
        """The lock that is held while a base layer is made, taken into use, or removed."""
        return f"base-{base}"

    def ready(self, blueprint: Blueprint, placements: Sequence[Placement]) -> tuple[str, str]:
        """The base layer's image, made where it is missing, and its architecture. The caller holds its lock."""
        name = self._names.base(blueprint.base)
        found = self.find(name) or self._make(blueprint, placements)
        return name, str(found.get("Architecture", ""))

    def find(self, image: str) -> dict[str, Any] | None:
        """What the engine knows of an image; None where there is none."""
        return self._connection.image(image)

    def keep(self, base: str) -> None:
        """Let the base layer of the last create stay until this engine object is closed: making one anew costs as much
        as the whole tree, and the next sandbox is most likely of the same. Other processes see that it is kept."""
        before, self._kept = self._kept, base
        if before == base:
            return
        if self._keeping is not None:
            self._keeping.close()
        self._keeping = self._locks.share(_keeping(base)) if base else None
        self.release(before)

    def close(self) -> None:
        """Keep none any more. What can't be removed now is left to a sweep."""
        with contextlib.suppress(*SDK_ERRORS):
            self.keep("")

    def release(self, base: str) -> None:
        """Remove a base layer unless a sandbox or a snapshot still stands on it, or somebody keeps it."""
        if not base or base == self._kept:
            return
        with self._locks.hold(self.lock(base)), self._locks.hold_if_free(_keeping(base)) as free:
            if free:
                if not self._in_use(base):
                    self.untag(self._names.base(base))
                self._locks.forget(_keeping(base))
            self._locks.forget(self.lock(base))

    def untag(self, image: str, *, force: bool = True) -> None:
        """Remove a name; the image goes with it, or with the last container or image that stands on it.

        Without `force` an image that a container stands on is left alone.
        """
        try:
            self._connection.api.remove_image(image, force=force)
        except docker_errors.APIError as error:
            if not _stays_or_is_gone(error):
                raise

    def drop_unnamed(self, image: str) -> bool:
        """Remove an image of ours that has lost its name, unless something stands on it; whether it is gone."""
        found = self.find(image)
        if found is None or found.get("RepoTags") or _label(found, naming.HOME) != self._names.home:
            return False
        try:
            self._connection.api.remove_image(image)
        except docker_errors.APIError as error:
            if not _stays_or_is_gone(error):
                raise
            return False
        return True

    def listed(self, filters: dict[str, list[str]], **more: bool) -> list[dict[str, Any]]:
        """Images by label."""
        return list(self._connection.api.images(filters={**filters, **more}))

    def _in_use(self, base: str) -> bool:
        wanted = self._names.of_home(base=base)
        if self._containers.listed(wanted):
            return True
        mine = self.listed(self._names.of_home("snapshot", base=base))
        return any(tag != "<none>:<none>" for item in mine for tag in item.get("RepoTags") or ())

    def _make(self, blueprint: Blueprint, placements: Sequence[Placement]) -> dict[str, Any]:
        """Make it; what the engine knows of the image that it stands on, which has the same architecture."""
        api = self._connection.api
        image = self._connection.image(blueprint.image_id)
        if image is None:
            raise image_missing(blueprint.image)
        if image["Config"].get("Volumes"):
            raise InputError(
                f"The image {blueprint.image!r} declares volumes, which no snapshot can hold.",
                "Use an image without VOLUME, or import it flat: `docker export` and `docker import`.",
            )
        with self._containers.temporary("builder", blueprint.image_id, [waiter.PATH]) as container:
            added = _archive(str(image.get("Architecture", "")), blueprint.cwd, placements)
            api.put_archive(container, "/", archive.gathered(added))
            repository, _, tag = self._names.base(blueprint.base).rpartition(":")
            labels = self._names.labels("base", base=blueprint.base)
            api.commit(container, repository=repository, tag=tag, conf={"Labels": labels})
        return image


def _keeping(base: str) -> str:
    """The lock that everybody shares who keeps a base layer."""
    return f"keeping-{base}"


def _archive(architecture: str, cwd: str, placements: Sequence[Placement]) -> Iterator[bytes]:
    """Everything that a base layer adds to its image, as one archive."""
    program = waiter.program(architecture)
    if program is not None:
        yield archive.file(waiter.PATH, program, 0o755)
    paths = [placement.path for placement in placements]
    above = sorted({parent for path in [*paths, cwd.rstrip("/") + "/."] for parent in archive.parents(path)})
    placed = {path.strip("/") for path in paths}
    for path in above:
        if path not in placed:
            yield archive.directory(path)
    for placement in placements:
        yield from archive.placed(placement.path, placement.tree)
    yield archive.END


def _stays_or_is_gone(error: docker_errors.APIError) -> bool:
    """Something stands on the image, or it went with another one a moment ago (which may be a 500)."""
    return error.status_code in (404, 409) or "unrecognized image ID" in str(error.explanation)


def _label(image: dict[str, Any], name: str) -> str | None:
    labels: dict[str, str] = (image.get("Config") or {}).get("Labels") or {}
    return labels.get(name)
