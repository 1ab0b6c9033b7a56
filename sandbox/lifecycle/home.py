"""Where a manager keeps its things, and which processes of it are alive.

Owns the layout of the home directory and the owner locks in it. Must not know what the files mean.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.clock import fresh_id
from sandbox.errors import InputError, NotFound


class Home:
    """The manager's own directory: journal, keys, bases, change sets, restore points, logs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, root: Path) -> Home:
        """Make the directory where it is missing; refuse one that others may write to (I2)."""
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = root.stat()
        except OSError as error:
            raise InputError(
                f"The home {root} can't be used: {error.strerror}.", "Choose another one with --home DIR."
            ) from error
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise InputError(
                f"The home {root} must belong to you and be writable by you alone.",
                f"Run: chown {os.geteuid()} {root} && chmod 700 {root}",
            )
        home = cls(root.resolve())
        for name in ("bases", "changes", "logs", "owners", "promotions", "scratch"):
            (home.root / name).mkdir(mode=0o700, exist_ok=True)
        return home

    @property
    def id(self) -> str:
        """Tells this home from others on one machine; made once, 16 hex digits."""
        path = self.root / "id"
        with suppress(FileNotFoundError):
            return path.read_text().strip()
        fresh = path.with_name(fresh_id("id"))
        fresh.write_text(fresh_id("h").removeprefix("h_")[:16])
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return path.read_text().strip()

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def keys(self) -> Path:
        """The manager's own key, and the newest checkpoint that it signed."""
        return self.root / "keys"

    def engine(self, name: str) -> Path:
        """What an engine keeps."""
        return self.root / "engines" / name

    def change(self, change: str) -> Path:
        """A sealed change set with its request and the output of its checks."""
        return self.root / "changes" / change

    def promotion(self, promotion: str, target: str) -> Path:
        """The restore point of one target in one promotion."""
        return self.promotion_folder(promotion) / target

    def promotion_folder(self, promotion: str) -> Path:
        """What one promotion keeps: the restore points of its targets, and room to be able to put them back."""
        return self.root / "promotions" / promotion

    def kept_change(self, change: str) -> Path:
        """The directory of a sealed change whose files are there. Raises NotFound."""
        path = self.change(change)
        if not path.is_dir():
            raise NotFound(
                f"The files of the change {change} are gone; `sandbox prune` removes those of closed changes.",
                "If it is still wanted, propose it anew.",
            )
        return path

    @property
    def cache(self) -> Path:
        """What is remembered of targets as they were found; nothing is lost with it."""
        return self.root / "cache"

    def log(self, sandbox: str) -> Path:
        """What the commands of a sandbox printed."""
        return self.root / "logs" / f"{sandbox}.log"

    @contextmanager
    def scratch(self, owner: str) -> Iterator[Path]:
        """A fresh directory for work under way, gone afterwards. It is named by its owner: what resists, or what a
        killed owner leaves, is what `recover` removes, or says why not."""
        from sandbox.trees.removal import remove_tree  # here, because what only lists needs no scratch

        path = self.root / "scratch" / fresh_id(f"{owner}.scratch")
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            with suppress(OSError):
                remove_tree(path)


class Owner:
    """This process, as the owner of work that somebody else must clean up if it dies.

    Alive means: holds a lock on a file that the kernel releases with the process, however it ends.
    """

    def __init__(self, home: Home) -> None:
        self._directory = home.root / "owners"
        self._handle: int | None = None
        self._name = ""

    @property
    def name(self) -> str:
        """The owner's id; taking it for the first time takes the lock."""
        if self._handle is None:
            self._name = fresh_id("own")
            self._handle = os.open(self._directory / self._name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
        return self._name

    @property
    def holds_something(self) -> bool:
        """Whether the lock was taken."""
        return self._handle is not None

    def is_alive(self, owner: str) -> bool:
        """Whether the process that took `owner` still runs (this one does)."""
        if owner == self._name:
            return True
        try:
            handle = os.open(self._directory / owner, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            with suppress(FileNotFoundError):
                (self._directory / owner).unlink()
            return False
        finally:
            os.close(handle)

    def others_alive(self) -> bool:
        """Whether another process owns something in this home now."""
        return any(self.is_alive(name) for name in os.listdir(self._directory) if name != self._name)

    def forget_dead(self) -> None:
        """Remove the files of owners that have died; to ask whether one is alive does."""
        for name in os.listdir(self._directory):
            self.is_alive(name)

    def release(self) -> None:
        """Give up the lock; what is still owned is then anybody's to clean up."""
        if self._handle is not None:
            with suppress(FileNotFoundError):
                (self._directory / self._name).unlink()
            os.close(self._handle)
            self._handle = None
            self._name = ""
