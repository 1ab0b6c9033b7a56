"""The system calls that a keeper needs and Python lacks.

Owns their calling conventions; failures become OSError. Must not know what they are used for.
"""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

_libc = ctypes.PyDLL(None, use_errno=True)
"""PyDLL keeps the interpreter's lock: a raw clone would copy it half given."""

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x20000000, 0x40000000
_CLONE_PIDFD, _CLONE_INTO_CGROUP = 0x1000, 0x200000000
_SIGCHLD = 17

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_STRICTATIME = 32, 4096, 0x4000, 1 << 18, 1 << 24
MNT_DETACH = 2

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 1, 4, 8, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAP_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1
_OPEN_TREE_CLONE, _AT_RECURSIVE = 1, 0x8000
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_SYMLINKS = 4, 0x10
_SECCOMP_SET_MODE_FILTER = 1
_CLOSE_RANGE_CLOEXEC = 4

_X86 = {"pivot_root": 155, "seccomp": 317, "keyctl": 250, "rt_sigaction": 13}
_GENERIC = {"pivot_root": 41, "seccomp": 277, "keyctl": 219, "rt_sigaction": 134}
_NUMBERS = {"x86_64": _X86, "aarch64": _GENERIC, "riscv64": _GENERIC}
"""By machine; calls since Linux 5.1 have one number everywhere."""
_OWN = _NUMBERS.get(os.uname().machine, {})
_OPEN_TREE, _MOVE_MOUNT, _CLONE3, _CLOSE_RANGE = 428, 429, 435, 436


def known_machine(machine: str) -> bool:
    """Whether the numbers of its system calls are known here."""
    return machine in _NUMBERS


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def _call(what: str, number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments), what)


def _own_call(name: str, *arguments: object) -> int:
    return _call(name, _OWN[name], *arguments)


def clone(namespaces: int, group: int) -> tuple[int, int]:
    """Fork into new namespaces and into the control group (version 2) whose directory `group` is.

    The child's id and a pidfd of it; in the child (0, -1). Only for a process with one thread.
    """
    handle = ctypes.c_int(-1)
    flags = namespaces | _CLONE_PIDFD | _CLONE_INTO_CGROUP
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    # set_tid_size, cgroup
    arguments = struct.pack("11Q", flags, ctypes.addressof(handle), 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, group)
    child = _call("clone3", _CLONE3, ctypes.c_char_p(arguments), ctypes.c_size_t(len(arguments)))
    return child, handle.value


def setns(handle: int, kinds: int) -> None:
    """Enter the namespaces that a pidfd's process is in, or one by its own handle (then `kinds` may be 0)."""
    _checked(_libc.setns(handle, kinds), "setns")


def unshare(kinds: int) -> None:
    """Leave the namespaces that are shared with the parent for new ones."""
    _checked(_libc.unshare(kinds), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str | None = None) -> None:
    """mount(2)."""
    texts = [None if text is None else text.encode() for text in (source, target, kind, options)]
    result = _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _checked(result, f"mount {target}")


def clone_of_tree(path: str) -> int:
    """A copy of a mount and of all below it that is attached nowhere yet; see `attach`."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _call("open_tree", _OPEN_TREE, -100, path.encode(), ctypes.c_uint(flags))


def attach(tree: int, target: str) -> None:
    """Attach what `clone_of_tree` gave; links lead to where they say, as with `mount`."""
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS)
    _call(f"move_mount {target}", _MOVE_MOUNT, tree, b"", -100, target.encode(), flags)


def swap_root() -> None:
    """Make the working directory, which is a mount, the root, and leave nothing of the old one."""
    _own_call("pivot_root", b".", b".")
    _checked(_libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def die_with_parent(signal: int) -> None:
    """Have the kernel send this signal to us once the process that forked us ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "PR_SET_PDEATHSIG")


def hide() -> None:
    """Let nobody without CAP_SYS_PTRACE look into this process: its memory, handles, working directory, program."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), 0, 0, 0), "PR_SET_DUMPABLE")


def keep_capabilities(keep: bool) -> None:
    """Whether a change of user from root keeps the permitted capabilities."""
    _checked(_libc.prctl(_PR_SET_KEEPCAPS, ctypes.c_ulong(keep), 0, 0, 0), "PR_SET_KEEPCAPS")


def drop_from_bounding_set(capability: int) -> bool:
    """Take a capability from all that this process will ever run; False where the kernel has none of that number."""
    return int(_libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)) == 0


def clear_ambient() -> None:
    """Pass no capability on to programs that don't have it."""
    _checked(_libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0), "PR_CAP_AMBIENT")


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) on ourselves; each is a set of bits."""
    header = struct.pack("Ii", _CAP_VERSION_3, 0)
    halves = [(bits >> shift) & 0xFFFFFFFF for shift in (0, 32) for bits in (effective, permitted, inheritable)]
    _checked(_libc.capset(header, struct.pack("6I", *halves)), "capset")


def forgo_privileges() -> None:
    """No program can give us more than we have."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def set_filter(program: bytes) -> None:
    """Filter all our system calls from now on by this BPF program."""
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions of 8 bytes, where they are
    head = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    _own_call("seccomp", ctypes.c_uint(_SECCOMP_SET_MODE_FILTER), ctypes.c_uint(0), head)


def default_signal(number: int) -> None:
    """Handle a signal as a new program does; also those that the C library keeps to itself."""
    with suppress(OSError):  # SIGKILL and SIGSTOP are as they are
        _own_call("rt_sigaction", ctypes.c_int(number), bytes(32), None, ctypes.c_size_t(8))


def join_fresh_keyring() -> None:
    """Have a session keyring of our own, empty, instead of the host's."""
    _own_call("keyctl", ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), None)


def close_at_exec(first: int) -> None:
    """Let no handle from this number on reach the program that we are about to run."""
    flags = ctypes.c_uint(_CLOSE_RANGE_CLOEXEC)
    _call("close_range", _CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), flags)
