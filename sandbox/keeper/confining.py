"""What a process gives up before it runs a program of the sandbox, and the running of it.

Owns the order: after `become` nothing can be got back. Takes a process as an OCI bundle describes it. The outcome is an
OCI runtime's; a test holds one against the other.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from typing import Any, NoReturn

from sandbox.keeper import syscalls

_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
)  # fmt: skip
"""By their numbers, as far as a sandbox may hold any."""
_ALL = 64
_SIGNALS = 64


def bind_to(process: dict[str, Any]) -> None:
    """Let no program that we or our children run have more capabilities than `process` may, nor a group of our own.

    What we hold ourselves we keep.
    """
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    bounding = _bits(process["capabilities"]["bounding"])
    for capability in range(_ALL):
        if not bounding >> capability & 1 and not syscalls.drop_from_bounding_set(capability):
            break


class CanNotStart(Exception):
    """A program that can't be run, and in which step: a result for the caller, not an error here."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(f"{step} {error.errno or 0} {error.strerror}")


def become(process: dict[str, Any], program_filter: bytes) -> NoReturn:
    """Turn this process, which is in the sandbox's namespaces, into `process`. Raises CanNotStart, OSError.

    `forget_signals` and `bind_to` were called before, once for all that a keeper will start.
    """
    os.umask(process["user"]["umask"])
    for limit in process["rlimits"]:
        resource.setrlimit(getattr(resource, limit["type"]), (limit["soft"], limit["hard"]))
    _enter(process["cwd"])
    syscalls.join_fresh_keyring()
    _give_up_rights(process)
    # Ours are ignored on purpose, and what is ignored stays so in a program.
    syscalls.default_signal(signal.SIGPIPE)
    syscalls.close_at_exec(3)
    # As late as can be: from here on nothing but the program itself is started.
    syscalls.set_filter(program_filter)
    _execute(process["args"], process["env"])


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
        # A directory that is no part of the root would let the program walk out of it by `..`.
        if not os.getcwd().startswith("/"):
            raise OSError(errno.ENOENT, "outside of the sandbox")
    except OSError as error:
        raise CanNotStart("cwd", error) from error


def _give_up_rights(process: dict[str, Any]) -> None:
    sets = {name: _bits(names) for name, names in process["capabilities"].items()}
    user = process["user"]
    if user["uid"] or user["gid"] or user["additionalGids"]:
        _change_user(user["uid"], user["gid"], user["additionalGids"])
    syscalls.clear_ambient()
    syscalls.set_capabilities(sets["effective"], sets["permitted"], sets.get("inheritable", 0))
    syscalls.forgo_privileges()


def _change_user(uid: int, gid: int, groups: list[int]) -> None:
    """Raises CanNotStart."""
    syscalls.keep_capabilities(True)
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise CanNotStart("user", error) from error
    syscalls.keep_capabilities(False)


def _bits(names: list[str]) -> int:
    return sum(1 << _CAPABILITIES.index(name.removeprefix("CAP_")) for name in names)


def forget_signals() -> None:
    """What our manager, or Python, ignores or holds back would stay so in every program; SIGPIPE stays ignored here."""
    for number in range(1, _SIGNALS + 1):
        if number != signal.SIGPIPE:
            syscalls.default_signal(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(command: list[str], environment: list[str]) -> NoReturn:
    env = dict(os.fsencode(pair).split(b"=", 1) for pair in environment)
    # Only names without a slash are looked for, and by the command's own PATH.
    places = [b""] if "/" in command[0] else [where + b"/" for where in env.get(b"PATH", b"").split(b":") if where]
    worst: OSError | None = None
    for place in places:
        try:
            os.execve(  # noqa: S606 - by name, no shell: it is what this function is for
                place + os.fsencode(command[0]), [os.fsencode(word) for word in command], env
            )
        except OSError as error:
            # What is there and can't be run is a better reason than what is not there.
            if worst is None or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                worst = error
    raise CanNotStart("exec", worst or FileNotFoundError(errno.ENOENT, "not found"))
