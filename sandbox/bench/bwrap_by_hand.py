"""bubblewrap by hand: a sandbox is a copy of the tree, a snapshot is another one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sandbox.bench.content import Content
from sandbox.bench.peers import Absent
from sandbox.clock import fresh_id
from sandbox.errors import EngineError

_WALLS = ["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/usr", "/usr"]
_LINKS = ("bin", "lib", "lib64", "sbin")


class BwrapByHand:
    name = "bwrap"
    says = "a copy of the tree for each sandbox and snapshot (cp -a, reflinks where there are), bwrap for each command"
    workspace = "/workspace/tree"
    exact = True

    def __init__(self, folder: Path, content: Content) -> None:
        self._folder = folder
        self._content = content

    @classmethod
    @contextmanager
    def ready(cls, folder: Path, content: Content) -> Iterator[Self]:
        """Try it once. Raises Absent where it does not run here."""
        place = folder / "bwrap"
        place.mkdir()
        made = cls(place, content)
        try:
            made.exec(made.create(), ["true"])
            made.forget()
        except (OSError, EngineError) as error:
            raise Absent(f"bubblewrap does not run here: {error}") from error
        try:
            yield made
        finally:
            made.forget()

    def create(self) -> str:
        return self._copy(self._content.root)

    def _copy(self, tree: Path) -> str:
        name = fresh_id("copy")
        (self._folder / name).mkdir()
        subprocess.run(["cp", "-a", "--reflink=auto", str(tree), str(self._tree(name))], check=True)
        return name

    def _tree(self, name: str) -> Path:
        return self._folder / name / "tree"

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

    def snapshot(self, box: str) -> str:
        return self._copy(self._tree(box))

    def rollback(self, box: str, snapshot: str) -> str:
        self.destroy(box)
        return self._copy(self._tree(snapshot))

    def fork(self, snapshot: str) -> str:
        return self._copy(self._tree(snapshot))

    def diff(self, box: str) -> frozenset[str]:
        """rsync and the like are not asked for: diff is on every machine, and reads all bytes as a hash would."""
        tree, base = self._tree(box), self._content.root
        done = subprocess.run(["diff", "-rqN", str(base), str(tree)], capture_output=True, text=True, check=False)
        differ = (line.split(" and ")[1].removesuffix(" differ") for line in done.stdout.splitlines())
        return frozenset(str(Path(path).relative_to(tree)) for path in differ if Path(path).exists())

    def destroy(self, box: str) -> None:
        subprocess.run(["rm", "-rf", str(self._folder / box)], check=True)

    def forget(self) -> None:
        """Remove what a round left."""
        for left in self._folder.iterdir():
            shutil.rmtree(left)
