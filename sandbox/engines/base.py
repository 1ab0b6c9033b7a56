"""The seam between the manager and what runs sandboxes: one request in, one result out.

Owns the words that both sides share. Must not know any engine. A command that fails is a result
(`ExecResult`); an engine or a container that is broken is an exception (`EngineError`, `SandboxDied`).
An engine keeps what it needs to find its sandboxes outside the process (labels, files), so that another
process can use them: nothing here lives in memory only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from sandbox.errors import EngineError
from sandbox.spec import Limits, Network
from sandbox.trees.entry import Entry

KILLED = 137
"""Exit code of a command that was killed: by its timeout, a limit, or a cancel."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""Exit code of a command that does not exist in the sandbox: a result, as in a shell."""

HIDDEN_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kallsyms", "/proc/kcore", "/proc/keys",
    "/proc/kpagecgroup", "/proc/kpagecount", "/proc/kpageflags", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/slabinfo", "/proc/timer_list", "/proc/timer_stats", "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
"""What the kernel would tell of the machine and of everybody on it: every engine shows nothing there."""

FULL_AT_MOST_S = 5.0
"""How long a command waits for a process to start with: what was killed counts as one until its parent took note."""


def no_process_left() -> EngineError:
    """The error for a command that can't be started, since the sandbox has all the processes that it may have."""
    return EngineError(
        "The sandbox has as many processes as its limit allows: no command can be started in it.",
        "End some of them, roll it back, or create one with a higher limit (pids).",
    )


OnOutput = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and the next bytes, as they come, from one thread at a time."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What an engine can do, as data."""

    name: str
    networks: frozenset[Network]
    keeps_processes: bool
    """A snapshot holds the processes too, not the files alone."""
    default_image: str
    isolation: str
    """In a few words, for a person: what stands between the agent and the host."""
    keeps_attributes: bool = True
    """Files' `user.*` attributes reach the sandbox and changes of them are seen; else they stay as in the tree."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`."""

    ok: bool
    says: str
    hint: str = ""


class Tree(Protocol):
    """A captured tree that an engine places in a sandbox; immutable, found by its `id`."""

    @property
    def id(self) -> str:
        """Names content, modes and owners: equal ids may share one copy."""

    @property
    def root(self) -> Path:
        """A directory that holds the content, links and (where the manager is root) modes and owners."""

    @property
    def under(self) -> tuple[Path, ...]:
        """Directories that show through below `root`, topmost first; mostly none. Then `root` is a layer as overlayfs
        has them: a whiteout hides what is below, directories merge, and none is opaque. All have the same name."""

    def entries(self) -> Iterator[Entry]:
        """Every entry as the sandbox shall see it, root first, in depth-first order."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a tree appears in the sandbox."""

    path: str
    """`/workspace`, or `/workspace/NAME` where there are several."""
    tree: Tree


@dataclass(frozen=True, slots=True)
class CreateRequest:
    sandbox: str
    """The id that the caller chose; unique."""
    image: str
    placements: tuple[Placement, ...]
    limits: Limits
    network: Network = "none"
    env: dict[str, str] = field(default_factory=dict)
    """For every command in the sandbox."""


@dataclass(frozen=True, slots=True)
class ExecRequest:
    sandbox: str
    command: tuple[str, ...]
    cwd: str | None = None
    """None: the working directory of the sandbox (the first placement, or /workspace for several)."""
    env: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    """A name or `uid[:gid]`; None: root."""
    stdin: bytes | None = None
    """None: an empty input, at once at its end."""
    timeout_s: float | None = None
    """When it passes, the command and all that it started are killed, wherever they went."""
    on_output: OnOutput | None = None
    cancel: threading.Event | None = None
    """Once set, the same happens as at a timeout, within a fraction of a second."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    exit_code: int
    """KILLED after a timeout or a cancel; 128 + N after signal N; 127 and 126 as in a shell."""
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool = False
    cancelled: bool = False
    limit: str | None = None
    """`memory` where the kernel is known to have killed something for it during the command; `disk`, `files` or
    `output` where the manager ended it for that."""


@dataclass(frozen=True, slots=True)
class ShellRequest:
    """An interactive command on the caller's own terminal."""

    sandbox: str
    command: tuple[str, ...] = ("sh",)
    cwd: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    sandbox: str
    snapshot: str
    """The id that the caller chose; unique."""


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """A sandbox in the state of `snapshot`: rollback where `sandbox` exists, fork where it doesn't.

    A rollback keeps the sandbox's id, limits, network and environment and kills its processes; a fork takes
    limits, network and environment from the sandbox that the snapshot was made of.
    """

    snapshot: str
    sandbox: str


class Sink(Protocol):
    """Takes the content of one file while the engine reads it once."""

    def __call__(self, path: bytes, chunks: Iterable[bytes]) -> tuple[bytes, int]:
        """Consume all chunks; the SHA-256 (32 bytes) and the size of what went through."""


@dataclass(frozen=True, slots=True)
class ChangesRequest:
    """What differs from `placement.tree` under `placement.path`, in a sandbox or in a snapshot of one."""

    origin: str
    """A sandbox or a snapshot. A sandbox is frozen while it is read; a snapshot can't change."""
    placement: Placement
    sink: Sink


Candidate = tuple[bytes, Entry | None]
"""A path relative to the placement and its state now; None: it is gone, with all that was below it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox has written since it was made, or was last rolled back."""

    bytes: int
    """Sizes of files, holes included; a file that is changed counts whole."""
    files: int | None
    """Files, directories, links; None where the engine can't tell without reading all of it."""
    free: int | None
    """Bytes free where it writes; None where that is out of sight."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A sandbox that the engine knows of."""

    sandbox: str
    alive: bool
    image: str


@dataclass(frozen=True, slots=True)
class ImageInfo:
    name: str
    ready: bool
    """Present, so that a sandbox starts without building or importing anything."""
    says: str


@runtime_checkable
class Engine(Protocol):
    """Where sandboxes run. Safe to use from several threads and several processes at once."""

    traits: Traits

    def doctor(self) -> list[Finding]:
        """What it needs and whether that is there; never raises."""

    def expect(self, limits: Limits) -> None:
        """One will be created soon, with these limits: what takes a while to start may start meanwhile. Never raises:
        what is wrong `create` will say."""

    def create(self, request: CreateRequest) -> None:
        """A running sandbox; when it fails, nothing of it stays.

        Raises NotFound for an image that does not exist, InputError for what the engine can't do.
        """

    def exec(self, request: ExecRequest) -> ExecResult:
        """Run a command to its end. Raises NotFound for an unknown sandbox, SandboxDied for a dead one,
        InputError for a user or a working directory that does not exist in it."""

    def shell(self, request: ShellRequest) -> int:
        """Join the caller's terminal to a command; its exit code."""

    def write(self, sandbox: str, path: str, content: bytes, mode: int = 0o644) -> None:
        """Create or replace a file, with missing parents, never leaving the sandbox through a link."""

    def read(self, sandbox: str, path: str) -> bytes:
        """The content of a file. Raises NotFound where there is none, InputError for a directory."""

    def snapshot(self, request: SnapshotRequest) -> None:
        """Keep the whole file system as it is at one instant; processes go on afterwards."""

    def restore(self, request: RestoreRequest) -> None:
        """See RestoreRequest. Raises NotFound for an unknown snapshot."""

    def discard(self, snapshot: str) -> None:
        """Forget a snapshot; its space is freed once no sandbox stands on it. Unknown ids are ignored."""

    def changes(self, request: ChangesRequest) -> Generator[Candidate, None, None]:
        """Every path that differs from the tree, in depth-first order; paths that do not may come too.

        Files have been read once, through the sink, which gave their digest. Close it where you stop before its end.
        """

    def usage(self, sandbox: str) -> Usage:
        """What it has written; a good estimate while it goes on writing.

        Raises NotFound, and OverLimit where it was made so that it can't be measured.
        """

    def watch_root(self, sandbox: str) -> Path | None:
        """The sandbox's root as this host sees it, for file events; None where it can't be seen."""

    def destroy(self, sandbox: str) -> None:
        """End the sandbox and leave nothing of it. An unknown id is ignored, so it can be repeated.

        Nothing of it runs when this returns; what takes long to be cleared away is gone when the engine is closed.
        """

    def instances(self) -> list[Instance]:
        """Every sandbox of this home, dead ones too."""

    def snapshots(self) -> list[str]:
        """Every snapshot of this home that has not been discarded."""

    def images(self) -> list[ImageInfo]:
        """What `--image` accepts, as far as it can be listed."""

    def image_digest(self, image: str) -> str:
        """What the image is, by content, as 64 hex digits. Raises NotFound."""

    def build_image(self, image: str, on_progress: Callable[[str], None]) -> None:
        """Make a defined image ready; nothing to do where it is."""

    def close(self) -> None:
        """Let go of connections; sandboxes go on, and the next call connects anew."""

    def sweep(self) -> list[str]:
        """Remove what crashed work left (half-made sandboxes, mounts, layers); a line for each thing."""
