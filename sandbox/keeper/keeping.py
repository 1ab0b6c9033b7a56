"""One keeper: starts a sandbox's container as its own child, then runs commands in it, as long as it lives.

What takes long (joining limits, making namespaces, mounts) it does before anybody has ordered a container. Owns its
children and the answers to those who asked. It is in the sandbox's limits (control groups of version 1, which
only a fork gives away for nothing), but not in its namespaces, so the agent sees, signals and reaches nothing of it.
A command's process is hidden (`syscalls.hide`) until it has become the command's program.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from sandbox.keeper import grouping, housing, messages, syscalls, terminals
from sandbox.keeper.confining import CanNotStart, become, bind_to

SOCKET = "keeper"
"""The name of a keeper's socket in the directory that it was given."""
_BACKLOG = 64
_WITHIN_S = 10.0
"""How long whoever has connected may take to say what it wants."""
_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWNET
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWCGROUP
)
_SCORE, _NEVER_KILLED = "/proc/self/oom_score_adj", -1000
_GO_FIRST = "500"
"""For commands, so that what fills the memory dies of it, and neither the keeper nor the first process of the sandbox,
nor somebody else where the host has none left."""


def keep(words: dict[str, Any], asked: socket.socket) -> None:
    """Make all ready that a container needs; once `asked` orders one, start it, tell its process, serve it to its end.

    Ends where nobody at the other end of `asked` will ever order one.
    """
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    group = grouping.settle(words["groups"], words["tracking"])
    # Of what is in these limits, the kernel shall kill the sandbox's own.
    keeper = Keeper(words["config"], bytes.fromhex(words["filter"]), spared=_spare_us())
    bind_to(words["config"]["process"])
    keeper.prepare(words["tracking"], group)
    heard = messages.receive(asked)
    if heard is None:
        return
    order, (directory,) = heard
    for path, text in order["limits"]:
        grouping.write(path, text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"/proc/self/fd/{directory}/{SOCKET}")
        os.close(directory)
        listener.listen(_BACKLOG)
        keeper.start(order)
        messages.send(asked, {"pid": keeper.init})
        asked.close()
        keeper.serve(listener)


class Keeper:
    def __init__(self, config: dict[str, Any], program_filter: bytes, *, spared: bool) -> None:
        self._spared = spared
        self._config = config
        self._filter = program_filter
        self._commands: dict[int, tuple[int, str, socket.socket]] = {}
        """By pidfd: the process id, the name of its group, and who waits for its end."""
        self._group = -1
        self.init = 0
        self._handle = -1

    def prepare(self, stage: str, group: int) -> None:
        """Have the container's first process wait in its namespaces, furnished as far as can be without its files."""
        self._group = group
        self._ordering, ordered = socket.socketpair()
        self._told, telling = os.pipe()
        kinds = (_NAMESPACES & ~syscalls.CLONE_NEWCGROUP) | syscalls.CLONE_NEWPID

        def first() -> None:
            syscalls.die_with_parent(signal.SIGKILL)
            self._ordering.close()
            os.setsid()
            if self._spared:
                grouping.write(_SCORE, "0")
            trees = housing.stage(self._config, stage)
            heard = messages.receive(ordered)
            if heard is None:
                raise ConnectionResetError
            order, _ = heard
            housing.move_in(trees, order["overlay"], order["remounts"])
            null = os.open("/dev/null", os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            become(order["process"], self._filter)

        self.init, self._handle = syscalls.clone(kinds, group)
        if self.init == 0:
            _in_child(first, lambda says: os.write(telling, says))
        os.close(telling)
        ordered.close()
        self._rehearse()

    def start(self, order: dict[str, Any]) -> None:
        """Let the first process become the container's. Raises RuntimeError, with what kept it from that."""
        with self._ordering, suppress(BrokenPipeError):  # it has failed, and told why
            messages.send(self._ordering, order)
        with os.fdopen(self._told, "rb") as said:
            failure = said.read()
        if failure:
            raise RuntimeError(failure.decode(errors="replace"))
        # From now on every process that we fork is one of the sandbox's.
        syscalls.setns(self._handle, syscalls.CLONE_NEWPID)

    def _rehearse(self) -> None:
        """Go once through what a command takes of us.

        The memory that we write to is the nursery's until then. Where the sandbox has used up all of its own later,
        there would be none for us to copy it to, and the kernel would take us for it.
        """
        for _ in range(2):
            ours, theirs = socket.socketpair()
            messages.send(ours, {"process": {}})
            messages.receive(theirs)
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            handle = os.pidfd_open(pid)
            self._commands[handle] = pid, "none", theirs
            select.select([handle], [], [])
            self._ended(handle)
            ours.close()

    def serve(self, listener: socket.socket) -> None:
        """Answer whoever connects, until the container has ended."""
        poll = select.epoll()
        poll.register(listener, select.EPOLLIN)
        poll.register(self._handle, select.EPOLLIN)
        while True:
            ready = {handle for handle, _ in poll.poll()}
            for handle in ready & self._commands.keys():
                poll.unregister(handle)
                self._ended(handle)
            if self._handle in ready and not self._commands:
                return
            if listener.fileno() in ready:
                started = self._answer(listener)
                if started is not None:
                    poll.register(started, select.EPOLLIN)

    def _answer(self, listener: socket.socket) -> int | None:
        """Start the command that the next caller wants; its pidfd."""
        asked, _ = listener.accept()
        handles: list[int] = []
        try:
            asked.settimeout(_WITHIN_S)
            if _uid(asked) != os.geteuid():
                raise ConnectionRefusedError
            heard = messages.receive(asked)
            if heard is None:
                raise ConnectionResetError
            words, handles = heard
            # Blocking for the child's words; ours are few, and fit.
            asked.settimeout(None)
            pid, handle = self._run(asked, words, handles)
        except (OSError, ValueError) as error:
            _tell(asked, f"fail fork {getattr(error, 'errno', 0) or 0} {error}\n".encode())
            asked.close()
            return None
        finally:
            for one in handles:
                os.close(one)
        _tell(asked, b"started\n")
        self._commands[handle] = pid, words["group"], asked
        return handle

    def _run(self, asked: socket.socket, words: dict[str, Any], handles: list[int]) -> tuple[int, int]:
        process, streams = words["process"], handles

        def command() -> None:
            grouping.write(_SCORE, _GO_FIRST)
            os.setsid()
            syscalls.setns(self._handle, _NAMESPACES)
            inside = terminals.open_inside(streams[0]) if process["terminal"] else streams
            for number, stream in enumerate(inside):
                os.dup2(stream, number)
                if process["user"]["uid"] != 0:
                    # So that /dev/stdout can be opened again by its user.
                    os.fchown(number, process["user"]["uid"], process["user"]["gid"])
            become(process, self._filter)

        os.mkdir(words["group"], dir_fd=self._group)
        try:
            group = os.open(words["group"], os.O_PATH | os.O_DIRECTORY, dir_fd=self._group)
            try:
                pid, handle = syscalls.clone(0, group)
            finally:
                os.close(group)
        except BaseException:
            os.rmdir(words["group"], dir_fd=self._group)
            raise
        if pid == 0:
            _in_child(command, lambda says: _tell(asked, b"fail " + says + b"\n"))
        return pid, handle

    def _ended(self, handle: int) -> None:
        pid, group, asked = self._commands.pop(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(handle)
        _tell(asked, b"exit %d\n" % (code if code >= 0 else 128 - code))
        asked.close()
        # Now that nobody waits for it; it stays where something goes on in the background.
        with suppress(OSError):
            os.rmdir(group, dir_fd=self._group)


def _in_child(work: Callable[[], None], tell: Callable[[bytes], object]) -> NoReturn:
    """Do what a child is for; whatever happens, it never goes on as a keeper."""
    try:
        work()
    except CanNotStart as reason:
        tell(str(reason).encode())
    except BaseException as error:  # noqa: BLE001 - told to whoever asked, who has no other way to know
        step = "died" if isinstance(error, OSError) and error.errno == errno.ESRCH else "setup"
        tell(f"{step} {getattr(error, 'errno', 0) or 0} {type(error).__name__}: {error}".encode())
    finally:
        os._exit(127)


def _tell(asked: socket.socket, says: bytes) -> None:
    with suppress(OSError):  # nobody waits any more
        asked.sendall(says, socket.MSG_NOSIGNAL)


def _uid(asked: socket.socket) -> int:
    credentials = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def _spare_us() -> bool:
    """Whether the kernel lets us say that it must not kill us for memory; else commands go before us anyway."""
    try:
        grouping.write(_SCORE, str(_NEVER_KILLED))
    except PermissionError:  # root without CAP_SYS_RESOURCE, as in many containers
        return False
    return True
