"""bubblewrap by hand: overlay layers that are mounted and frozen by ourselves, and bwrap for each command.

Nothing of a sandbox stays between two commands but its mount: a snapshot stops whatever runs by having nothing run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sandbox.bench import residents
from sandbox.bench.content import Content
from sandbox.bench.overlays_by_hand import Overlays
from sandbox.bench.peers import Absent
from sandbox.errors import EngineError

_WALLS = ["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]
_LINKS = ("bin", "lib", "lib64", "sbin")


class BwrapByHand(Overlays):
    name = "bwrap"
    says = (
        "overlay layers mounted and frozen by hand (stop, mount, start), bwrap for each command; no limits, no records"
    )
    by_hand = True
    workspace = "/workspace/tree"
    exact = True
    lacks: frozenset[str] = frozenset()

    @classmethod
    @contextmanager
    def ready(cls, folder: Path, content: Content) -> Iterator[Self]:
        """Try it once. Raises Absent where it does not run here."""
        place = folder / "bwrap"
        (place / "base").mkdir(parents=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(content.root), str(place / "base" / "tree")], check=True)
        made = cls(place)
        try:
            try:
                made.exec(made.create(), ["true"])
            except (OSError, EngineError) as error:
                raise Absent(f"bubblewrap does not run here: {error}") from error
            finally:
                made.forget()
            yield made
        finally:
            made.forget()

    def exec(self, box: str, command: list[str]) -> bytes:
        links = [
            part for name in _LINKS if Path("/", name).is_symlink() for part in ("--symlink", f"usr/{name}", f"/{name}")
        ]
        walls = [*_WALLS, *links, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
        bound = ["--bind", str(self._folder / box), "/workspace", "--chdir", "/workspace"]
        done = subprocess.run(["bwrap", *walls, *bound, *command], capture_output=True, check=False)
        if done.returncode != 0:
            raise EngineError(f"{command[0]} gave {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def memory(self, boxes: list[str]) -> int:
        """Nothing runs between two commands."""
        return residents.memory(boxes)
