"""What the engine knows, as files: sandboxes, snapshots, layers, and the locks on them.

Owns everything below the engine's root. A record is replaced at once or not at all. Must not run containers.

    sandboxes/ID/record.json, lock, upper/, work/, links/, bundle …     one directory per sandbox
    snapshots/ID.json                                                   what a snapshot stands on
    layers/NAME/                                                        immutable; freed once in no chain
    images/NAME/                                                        layers of images

Two locks: `lock` (short: records and the list of layers) and one per sandbox (as long as an operation on it takes).
Who needs both takes the sandbox's first.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sandbox.engines.native import removal
from sandbox.errors import Conflict, InputError, NotFound
from sandbox.spec import Limits

NEW = ".new-"
"""Starts the name of everything that is not complete."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", cache_strings="keys")


class Placed(_Stored):
    """Where a tree was placed."""

    path: str
    tree: str


class Origin(_Stored):
    """What sandbox and snapshots of one descent have in common."""

    image: str
    limits: Limits
    env: dict[str, str]
    placements: tuple[Placed, ...]
    cwd: str
    chain: tuple[str, ...]
    """Lower layers, topmost first: snapshots' layers, then what `base_layers` counts."""
    base_layers: int
    """How many at the end of `chain` are placements and image: what the agent started from."""


class SandboxState(_Stored):
    """One sandbox."""

    sandbox: str
    origin: Origin
    runtime: str
    container: str
    """Its name for the runtime and for cgroups; a new one after each rollback."""
    pid: int
    """Of its PID 1 on this host; 0 while there is none yet."""
    started: str
    """When that process started, as the kernel tells it: a number used again is not mistaken for it."""
    upper: str
    """The directory with its `upper` and `work`."""
    ready: bool = False
    """Whether it ever ran; one that did not, and that nobody holds, was never finished."""
    last_snapshot: str | None = None
    """The snapshot that was taken of this very upper last."""


class SnapshotState(_Stored):
    """One snapshot."""

    snapshot: str
    sandbox: str
    origin: Origin


_YOUNG_NS = 100_000_000

S = TypeVar("S", bound=_Stored)


class _Chain(NamedTuple):
    """The layers of a record, and what the file of that record was when it was read."""

    mark: tuple[int, ...]
    layers: tuple[str, ...]


class Store:
    """The files of one engine root."""

    def __init__(self, root: Path) -> None:
        self._chains: dict[str, _Chain] = {}
        self.root = root
        self.sandboxes = root / "sandboxes"
        self.snapshots = root / "snapshots"
        self.layers = root / "layers"
        self.images = root / "images"

    def prepare(self) -> None:
        """Make the directories, closed to everybody else."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for directory in (self.sandboxes, self.snapshots, self.layers, self.images):
            directory.mkdir(exist_ok=True, mode=0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock on records and layers; keep it short."""
        self.prepare()
        with (self.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def holding(self, sandbox: str, *, wait: bool = True) -> Iterator[None]:
        """Hold one sandbox. Raises NotFound; with `wait` False, Conflict while somebody else holds it."""
        path = self.sandboxes / _safe(sandbox) / "lock"
        while True:
            try:
                file = path.open("r+")
            except (FileNotFoundError, NotADirectoryError) as error:
                raise no_sandbox(sandbox) from error
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError as error:
                    raise Conflict(f"Sandbox {sandbox} is being worked on.") from error
                if not _is_still(file.fileno(), path):
                    continue  # destroyed, and perhaps made again, while we waited
                yield
                return

    @contextmanager
    def claiming(self, sandbox: str) -> Iterator[Path]:
        """Make the directory of a new sandbox and hold it. Raises InputError where it exists."""
        fresh = self.sandboxes / f"{NEW}{secrets.token_hex(8)}"
        home = self.sandboxes / _safe(sandbox)
        with self.locked():
            if home.exists():
                raise InputError(f"Sandbox {sandbox} exists already.")
            fresh.mkdir(mode=0o700)
            file = (fresh / "lock").open("w")
            fcntl.flock(file, fcntl.LOCK_EX)
            os.rename(fresh, home)
        with file:
            yield home

    def rename_sandbox(self, idle: str, sandbox: str) -> None:
        """Give an idle sandbox, which the caller holds, the id by which it is known from now on.

        Raises InputError where that is taken.
        """
        before, home = self.sandboxes / _safe(idle), self.sandboxes / _safe(sandbox)
        with self.locked():
            if home.exists():
                raise InputError(f"Sandbox {sandbox} exists already.")
            state = self.sandbox(idle)
            os.rename(before, home)
            self.put_sandbox(state.model_copy(update={"sandbox": sandbox, "upper": str(home / Path(state.upper).name)}))

    def sandbox(self, sandbox: str) -> SandboxState:
        """What is known of a sandbox. Raises NotFound."""
        try:
            return _read(self.sandboxes / _safe(sandbox) / "record.json", SandboxState)
        except (FileNotFoundError, ValidationError) as error:
            # One that can't be read was cut short by a crash of the machine: there is no sandbox to it any more.
            raise no_sandbox(sandbox) from error

    def snapshot(self, snapshot: str) -> SnapshotState:
        """What is known of a snapshot. Raises NotFound."""
        try:
            return _read(self.snapshots / f"{_safe(snapshot)}.json", SnapshotState)
        except (FileNotFoundError, ValidationError) as error:
            raise NotFound(f"There is no snapshot {snapshot}.", "`sandbox snapshots ID` lists them.") from error

    def put_sandbox(self, state: SandboxState) -> None:
        """Record a sandbox. It waits for no disk: a crash of the machine ends the sandbox anyway."""
        _write(self.sandboxes / state.sandbox / "record.json", state)

    def put_snapshot(self, state: SnapshotState) -> None:
        """Record a snapshot. It waits for no disk, as its layer does not: neither survives a power cut."""
        _write(self.snapshots / f"{_safe(state.snapshot)}.json", state)

    def drop_snapshot(self, snapshot: str) -> bool:
        """Forget a snapshot; whether there was one."""
        try:
            (self.snapshots / f"{_safe(snapshot)}.json").unlink()
        except FileNotFoundError:
            return False
        return True

    def has_snapshot(self, snapshot: str) -> bool:
        """Whether there is a snapshot of that name."""
        return (self.snapshots / f"{_safe(snapshot)}.json").exists()

    def fresh_layer(self, sandbox: str) -> Path:
        """Where the holder of a sandbox may make a layer, to be renamed once it is whole."""
        return self.layers / f"{NEW}{sandbox}.{secrets.token_hex(8)}"

    def half_made_layers(self) -> list[tuple[str, Path]]:
        """Layers that are being made, or never will be, with the sandbox whose holder makes them."""
        names = [name for name in _names(self.layers) if name.startswith(NEW)]
        return [(name.removeprefix(NEW).rpartition(".")[0], self.layers / name) for name in names]

    def sandbox_ids(self) -> list[str]:
        """Every sandbox with a directory, half-made ones too."""
        return [name for name in _names(self.sandboxes) if not name.startswith(".")]

    def snapshot_ids(self) -> list[str]:
        """Every snapshot."""
        return [name.removesuffix(".json") for name in _names(self.snapshots) if not name.startswith(".")]

    def free_layers(self) -> list[Path]:
        """Set aside every layer that stands in no chain; call it with `locked` held.

        Returns what is left to be removed, best without the lock.
        """
        chains: dict[str, _Chain] = {}
        for path, kind in self._records():
            with suppress(OSError, ValidationError):  # half-made, or cut short by a crash of the machine
                chains[path] = self._chain(path, kind)
        self._chains = chains
        above = f"{self.layers}/"
        used = {
            path.removeprefix(above).partition("/")[0]
            for chain in chains.values()
            for path in chain.layers
            if path.startswith(above)
        }
        free = [self.layers / name for name in _names(self.layers) if not name.startswith(".") and name not in used]
        return [aside for aside in map(removal.set_aside, free) if aside is not None]

    def _records(self) -> Iterator[tuple[str, type[SandboxState | SnapshotState]]]:
        for name in self.sandbox_ids():
            yield f"{self.sandboxes}/{name}/record.json", SandboxState
        for name in self.snapshot_ids():
            yield f"{self.snapshots}/{name}.json", SnapshotState

    def _chain(self, path: str, kind: type[SandboxState | SnapshotState]) -> _Chain:
        """What a record stands on. Read again where it is another file than last time, since none is ever written to
        twice, or was so young that another one could look the same. Raises OSError, ValidationError."""
        state, now = os.stat(path), time.time_ns()
        mark = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        known = self._chains.get(path)
        if known and known.mark == mark:
            return known
        layers = _read(Path(path), kind).origin.chain
        return _Chain(mark if state.st_ctime_ns < now - _YOUNG_NS else (), layers)

    def recorded(self, sandbox: str) -> bool:
        """Whether a sandbox got as far as its record."""
        try:
            self.sandbox(sandbox)
        except NotFound:
            return False
        return True


def no_sandbox(sandbox: str) -> NotFound:
    """The error for an id that names nothing."""
    return NotFound(f"There is no sandbox {sandbox}.", "`sandbox list` shows those that there are.")


def _safe(name: str) -> str:
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise InputError(f"{name!r} can't name a sandbox or a snapshot.")
    return name


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _read(path: Path, kind: type[S]) -> S:
    return kind.model_validate_json(path.read_bytes())


def _write(path: Path, state: _Stored) -> None:
    fresh = path.with_name(f"{NEW}{secrets.token_hex(8)}")
    fresh.write_text(state.model_dump_json(), encoding="utf-8")
    os.rename(fresh, path)
