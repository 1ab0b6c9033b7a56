"""Images as lower layers: `host`, and the definitions of `images/` unpacked once.

Owns where unpacked images are kept (in the engine's root, so that their files belong to nobody else) and their
names. Must not know how an archive is built.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.engines import images
from sandbox.engines.base import ImageInfo
from sandbox.engines.native import host_image, removal
from sandbox.engines.native.store import NEW, Store
from sandbox.errors import EngineError, EngineUnavailable, NotFound

OnProgress = Callable[[str], None]


class ImageStore:
    """The images of one engine root."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def known(self) -> list[ImageInfo]:
        """What there is."""
        infos = [ImageInfo(host_image.NAME, host_image.missing() is None, host_image.SAYS)]
        for name, definition in sorted(images.definitions().items()):
            infos.append(ImageInfo(name, self._unpacked(definition).exists(), definition.says))
        return infos

    def digest(self, image: str) -> str:
        """The digest of the content; of the definition where it is not built yet. Raises NotFound."""
        if image == host_image.NAME:
            return host_image.digest()
        definition = _defined(image)
        return images.content_digest(definition) or definition.digest

    def layers(self, image: str, on_progress: OnProgress) -> list[Path]:
        """The image's lower layers, topmost first, made ready where they are not. Raises NotFound."""
        if image == host_image.NAME:
            skeleton = self._store.images / f"host-{host_image.digest()[:32]}"
            self._make(skeleton, host_image.build)
            return host_image.layers(skeleton)
        definition = _defined(image)
        unpacked = self._unpacked(definition)
        if not unpacked.exists():
            archive = images.rootfs(definition, on_progress)
            self._make(unpacked, lambda fresh: _unpack(archive, fresh))
        return [unpacked]

    def sweep(self) -> list[str]:
        """Remove what a killed unpacking left."""
        removed = []
        with self._building():
            for path in self._store.images.glob(f"{NEW}*"):
                removal.remove(path)
                removed.append(f"half-made image {path.name.removeprefix(NEW)}")
        return removed

    def _unpacked(self, definition: images.ImageDefinition) -> Path:
        return self._store.images / f"{definition.name}-{definition.digest[:32]}"

    def _make(self, target: Path, build: Callable[[Path], None]) -> None:
        """Have `build` make `target`, once however many ask, and all of it or nothing."""
        if target.exists():
            return
        self._store.prepare()
        with self._building():
            if target.exists():
                return
            fresh = target.with_name(f"{NEW}{target.name}")
            removal.remove(fresh)
            try:
                build(fresh)
                fresh.rename(target)
            except shutil.Error as error:  # of many files; each is said to be wrong in it
                raise EngineError(
                    f"The image can't be made: {error.args[0][0][2]}.", "Is there room on the disk?"
                ) from error
            finally:
                removal.remove(fresh)

    @contextmanager
    def _building(self) -> Iterator[None]:
        with (self._store.root / "images.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _defined(image: str) -> images.ImageDefinition:
    definitions = images.definitions()
    if image not in definitions:
        names = ", ".join(sorted([host_image.NAME, *definitions]))
        raise NotFound(f"There is no image {image!r}.", f"There are: {names}. Others are defined in images/NAME.")
    return definitions[image]


def _unpack(archive: Path, target: Path) -> None:
    if shutil.which("tar") is None:
        raise EngineUnavailable("`tar` is needed to unpack an image.", "Install it: apt-get install tar")
    target.mkdir(mode=0o755)
    command = ["tar", "--extract", f"--file={archive}", f"--directory={target}", "--numeric-owner", "--same-owner"]
    # Devices are the runtime's business, and a tmpfs is mounted over them.
    command += ["--same-permissions", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        says = " ".join(done.stderr.decode(errors="replace").split())
        raise EngineError(f"The image archive {archive} can't be unpacked: {says}", "Is there room on the disk?")
    hosts = target / "etc" / "hosts"
    # Debian's has none: whoever runs it is expected to write one.
    if hosts.parent.is_dir() and not hosts.parent.is_symlink() and not os.path.lexists(hosts):
        hosts.write_text(host_image.HOSTS, encoding="ascii")
        hosts.chmod(0o644)
