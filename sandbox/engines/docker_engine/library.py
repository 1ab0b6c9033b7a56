"""The images that sandboxes start from: local ones by name, defined ones built and imported.

Owns finding, building and importing. Never pulls: what is not here is an error with its cure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sandbox.engines import images
from sandbox.engines.base import ImageInfo
from sandbox.engines.docker_engine import naming
from sandbox.engines.docker_engine.connection import Connection
from sandbox.engines.docker_engine.layers import Layers
from sandbox.engines.docker_engine.locks import Locks
from sandbox.engines.docker_engine.mapping import image_missing
from sandbox.engines.images import ImageDefinition

DEFAULT = "base"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Library:
    """The images of one engine."""

    def __init__(self, connection: Connection, layers: Layers, locks: Locks) -> None:
        self._connection = connection
        self._layers = layers
        self._locks = locks

    def resolve(self, image: str) -> str:
        """The id of the image that a name stands for, a defined one built where it isn't. Raises NotFound."""
        definition = images.definitions().get(image)
        if definition is not None:
            return self.build(definition, lambda _: None)
        found = self._layers.find(image)
        if found is None:
            raise image_missing(image)
        return str(found["Id"])

    def build(self, definition: ImageDefinition, on_progress: Callable[[str], None]) -> str:
        """The id of the image of a definition, made anew where it is missing or was made from another one."""
        ready = self._ready(definition)
        if ready is not None:
            return ready
        archive = images.rootfs(definition, on_progress)
        with self._locks.hold(f"image-{definition.name}"):
            ready = self._ready(definition)
            if ready is not None:
                return ready
            name = f"{_repository(definition.name)}:latest"
            before = self._layers.find(name)
            on_progress(f"Importing the image {definition.name} into the Docker Engine.")
            with open(archive, "rb") as data:
                answer = self._connection.api.import_image_from_data(
                    data, repository=_repository(definition.name), tag="latest", changes=_config(definition)
                )
            if before is not None:
                self._layers.untag(before["Id"], force=False)  # its name is the new one's now
        return str(json.loads(answer.splitlines()[-1])["status"])

    def listed(self) -> list[ImageInfo]:
        """Every definition and every tagged image that is not one of our own layers."""
        defined = images.definitions()
        known = [ImageInfo(name, self._ready(item) is not None, item.says) for name, item in sorted(defined.items())]
        ours = {f"{_repository(name)}:latest" for name in defined}
        for image in self._connection.api.images():
            if naming.HOME in (image.get("Labels") or {}):
                continue
            tags = [tag for tag in image.get("RepoTags") or () if tag not in ours and tag != "<none>:<none>"]
            known += [ImageInfo(tag, True, f"{image['Size'] / 1e6:.0f} MB, in the Docker Engine") for tag in tags]
        return known

    def _ready(self, definition: ImageDefinition) -> str | None:
        found: dict[str, Any] | None = self._layers.find(f"{_repository(definition.name)}:latest")
        labels = ((found or {}).get("Config") or {}).get("Labels") or {}
        return str(found["Id"]) if found and labels.get(naming.DEFINITION) == definition.digest else None


def _repository(name: str) -> str:
    return f"sandbox/{name.lower()}"


def _config(definition: ImageDefinition) -> list[str]:
    return [f"ENV PATH={_PATH}", "WORKDIR /", 'CMD ["sh"]', f"LABEL {naming.DEFINITION}={definition.digest}"]
