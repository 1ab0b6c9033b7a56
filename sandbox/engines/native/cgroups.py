"""Control groups, version 1 and 2: where a sandbox and each of its commands live, freezing and killing them.

Owns paths and files below the cgroup mount. The limits themselves are set by the runtime from the bundle. Must
not know containers or layers.

A command gets a child group of the sandbox's group, so that it and all that it ever started can be found and
killed, wherever they went. In version 1 that child is in the freezer hierarchy only. In version 2 the
sandbox's group enables no controllers for its children, so the rule against processes in inner groups
never applies.
"""

from __future__ import annotations

import errno
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.errors import EngineError, EngineUnavailable

MOUNT = Path("/sys/fs/cgroup")
_BESIDE = MOUNT / "unified"
"""Where version 2 is on machines whose controllers are in version 1."""
PARENT = "sandbox"
NEEDED = ("memory", "pids", "cpu")
_PF_EXITING = 0x4
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.0002, 0.005
_REAPED_WITHIN_S = 2.0
_FREEZE_WITHIN_S = 20.0
_TRIES_OF_V1 = 20
_KILL_WITHIN_S = 120.0
"""Long, since what a snapshot holds still dies only afterwards."""


def read(file: str) -> str:
    """A small file of the kernel. Raises OSError. Each command needs several, for which `Path` takes long."""
    handle = os.open(file, os.O_RDONLY)
    try:
        return os.read(handle, 1 << 16).decode("utf-8", "replace")
    finally:
        os.close(handle)


def unified() -> bool:
    """Whether this machine has cgroup v2 alone (hybrid machines have their controllers in v1)."""
    return os.path.exists(f"{MOUNT}/cgroup.controllers")


def hybrid() -> bool:
    """Whether version 2 is there beside version 1, which has the controllers: processes can be tracked by it."""
    return not unified() and (_BESIDE / "cgroup.procs").exists()


def missing_controllers() -> list[str]:
    """Which of the controllers that limits need are not there."""
    if unified():
        have = (MOUNT / "cgroup.controllers").read_text().split()
        return [name for name in NEEDED if name not in have]
    return [name for name in (*NEEDED, "freezer", "devices") if not (MOUNT / name / "cgroup.procs").exists()]


def enable_controllers() -> None:
    """Version 2: let the groups below the top one have the controllers. Raises EngineUnavailable."""
    control = MOUNT / "cgroup.subtree_control"
    if not unified() or set(NEEDED) <= set(control.read_text().split()):
        return
    try:
        control.write_text(" ".join(f"+{name}" for name in NEEDED))
    except OSError as error:
        hint = "Run `sandbox doctor`, or use --engine docker."
        if error.errno == errno.EBUSY:
            # Only the machine's own top group may have both processes and controllers: this is a container's.
            hint = f"Processes are in the top group of a container; move them to a group of their own below {MOUNT}."
        raise EngineUnavailable(f"The cgroup controllers can't be enabled: {error.strerror}.", hint) from error


def swap_is_counted() -> bool:
    """Whether the kernel can limit swap per group."""
    return unified() or (MOUNT / "memory" / "memory.memsw.limit_in_bytes").exists()


def path_of(home_id: str, container: str) -> str:
    """The group of a container, as the bundle names it."""
    return f"/{PARENT}/{home_id}/{container}"


class Group:
    """The control group of one sandbox, or of one command in it."""

    def __init__(self, path: str, *, beside: bool = False) -> None:
        self.path = path
        self._beside = beside
        self._v2 = beside or unified()
        mount = _BESIDE if beside else MOUNT if self._v2 else MOUNT / "freezer"
        self.tracking = mount / path.lstrip("/")
        """The directory by which its processes are found, frozen and killed."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.tracking.name

    def exists(self) -> bool:
        """Whether the kernel has it."""
        return self.tracking.is_dir()

    def child(self, name: str) -> Group:
        """A group below this one; see `make`."""
        return Group(f"{self.path}/{name}", beside=self._beside)

    def make(self) -> None:
        """Create it; its parent must exist."""
        os.mkdir(self.tracking)

    @contextmanager
    def of_one_command(self) -> Iterator[Group]:
        """A new group below this one; what goes on in the background stays in it, an empty one is removed.

        Raises FileNotFoundError where this one is gone.
        """
        group = self.child(f"exec-{secrets.token_hex(4)}")
        group.make()
        try:
            yield group
        finally:
            with suppress(OSError):
                os.rmdir(group.tracking)

    def exec_option(self) -> list[str]:
        """How a runtime is told to start a command in this group."""
        return ["--cgroup", self.name if self._v2 else f"freezer:{self.name}"]

    def pids(self) -> list[int]:
        """Every process in it and below it."""
        found: list[int] = []
        for directory, _, _ in os.walk(self.tracking):
            with suppress(OSError):
                found += [int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()]
        return found

    def strike(self, first: int) -> None:
        """Kill every process in it and below it; returns when nothing of them runs any more; version 2 only.

        `first` is the first process of its PID namespace. The kernel lets that one end after all others have, and it
        may take a while: with it go the mounts, and what they have in memory.
        """
        with suppress(FileNotFoundError):
            self._tell("cgroup.kill", "1")
        self._wait_until_none(lambda: [pid for pid in self.pids() if pid != first or start_time(pid) is not None])

    def runs(self) -> bool:
        """Whether anything in it, or below it, is not at its end."""
        return any(start_time(pid) is not None for pid in self.pids())

    def kill(self) -> None:
        """Kill every process in it and below it; returns when none is left."""
        self._wait_until_none(self._kill_once)

    def _wait_until_none(self, left: Callable[[], list[int]]) -> None:
        deadline = time.monotonic() + _KILL_WITHIN_S
        pause_s = _SHORTEST_PAUSE_S
        while pids := left():
            if time.monotonic() > deadline:
                raise EngineError(f"{len(pids)} processes of {self.path} survive SIGKILL (stuck in the kernel?).")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _kill_once(self) -> list[int]:
        # Whoever made it may remove it meanwhile: then nobody is left in it.
        with suppress(FileNotFoundError):
            if self._v2 and (self.tracking / "cgroup.kill").exists():
                self._tell("cgroup.kill", "1")
                return self.pids()
            # Frozen, none of them can fork while the list is worked off. Without a freeze the loop still ends.
            self._write_freeze(True)
            try:
                for pid in self.pids():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            finally:
                self._write_freeze(False)
        return self.pids()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Hold every process still; they go on afterwards, whatever happens in between."""
        try:
            self._write_freeze(True)
            self._await_frozen()
            yield
        finally:
            with suppress(FileNotFoundError):
                self._write_freeze(False)

    def thaw(self) -> None:
        """Let go what a killed manager left frozen."""
        with suppress(FileNotFoundError):
            self._write_freeze(False)

    def _write_freeze(self, freeze: bool) -> None:
        if self._v2:
            self._tell("cgroup.freeze", "1" if freeze else "0")
        else:
            self._tell("freezer.state", "FROZEN" if freeze else "THAWED")

    def _tell(self, name: str, word: str) -> None:
        """Write to a file of it. Raises FileNotFoundError where it is gone, before or after the file was opened."""
        handle = os.open(f"{self.tracking}/{name}", os.O_WRONLY)
        try:
            os.write(handle, word.encode())
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self.tracking}/{name}") from error
        finally:
            os.close(handle)

    def _await_frozen(self) -> None:
        deadline = time.monotonic() + _FREEZE_WITHIN_S
        tries = 0
        while not self._is_frozen():
            if time.monotonic() > deadline:
                raise EngineError(f"The processes of {self.path} can't be frozen (stuck in the kernel?).")
            tries += 1
            if not self._v2 and tries % _TRIES_OF_V1 == 0:
                # Version 1 can miss a process that is just starting, and then never gets done: begin again.
                self._write_freeze(False)
                time.sleep(0.002)
                self._write_freeze(True)
            time.sleep(_SHORTEST_PAUSE_S if tries < _TRIES_OF_V1 else 0.001)

    def _is_frozen(self) -> bool:
        if self._v2:
            return "frozen 1" in (self.tracking / "cgroup.events").read_text()
        return (self.tracking / "freezer.state").read_text().strip() == "FROZEN"

    def oom_kills(self) -> int:
        """How many processes the kernel has killed for this group's memory limit so far."""
        file = f"{self.tracking}/memory.events" if unified() else f"{MOUNT}/memory{self.path}/memory.oom_control"
        try:
            fields = dict(line.split() for line in read(file).splitlines())
        except OSError:
            return 0
        return int(fields.get("oom_kill", 0))

    def remove(self) -> None:
        """Remove it with everything below it, in every hierarchy; it must be empty of processes."""
        for root in _hierarchies():
            for directory, _, _ in os.walk(root / self.path.lstrip("/"), topdown=False):
                _remove_patiently(directory)


def start_time(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where it is gone or going."""
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in ("Z", "X") or int(fields[6]) & _PF_EXITING:
        return None
    return fields[19]


def _remove_patiently(directory: str) -> None:
    # A killed process keeps its group busy for the moment that it takes to be reaped.
    deadline, pause_s = time.monotonic() + _REAPED_WITHIN_S, _SHORTEST_PAUSE_S
    while time.monotonic() < deadline:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        else:
            return


def _hierarchies() -> list[Path]:
    """Where groups are mounted."""
    return [MOUNT] if unified() else [entry for entry in MOUNT.iterdir() if entry.is_dir() and not entry.is_symlink()]


def groups_of(home_id: str) -> list[str]:
    """The names of all containers that have a group in this home."""
    found: set[str] = set()
    for root in _hierarchies():
        with suppress(FileNotFoundError):
            found.update(entry.name for entry in (root / PARENT / home_id).iterdir() if entry.is_dir())
    return sorted(found)


def remove_if_empty(home_id: str) -> None:
    """Remove the groups above the sandboxes of a home once none is left."""
    for root in _hierarchies():
        for path in (root / PARENT / home_id, root / PARENT):
            with suppress(OSError):
                path.rmdir()
