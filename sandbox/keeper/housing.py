"""The inside of a container: mounts, devices, its own root. Runs as the first process of its new namespaces.

Owns the order of the steps: `stage`, which may be done long before anybody wants a sandbox, and `move_in`. Takes the
parts of an OCI bundle's config.json that `sandbox.engines.native.bundle` writes, and no others. No path of the sandbox
is looked at before the root is the sandbox's own: whatever links an agent left in a layer then lead nowhere else.
Nothing runs in the sandbox yet.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from typing import Any

from sandbox.keeper import syscalls

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_FLAGS = {
    "nosuid": syscalls.MS_NOSUID,
    "nodev": syscalls.MS_NODEV,
    "noexec": syscalls.MS_NOEXEC,
    "ro": syscalls.MS_RDONLY,
    "strictatime": syscalls.MS_STRICTATIME,
}
_TOPS = ("/proc", "/dev", "/sys")
_NOT_THROUGH_LINKS = ("/proc", "/sys")
_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def stage(config: dict[str, Any], place: str) -> dict[str, int]:
    """Furnish this process's new namespaces, as far as no file of the sandbox is needed for it.

    All is put together on a file system in memory over the directory `place`, which only this process sees. Gives what
    `move_in` then attaches: handles on /proc, /dev and /sys.
    """
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    socket.sethostname(config["hostname"])
    _loopback_up()
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("stage", place, "tmpfs")
    for one in config["mounts"]:
        if one["type"] == "bind":
            _lend(one, place)
        else:
            os.makedirs(place + one["destination"], 0o755, exist_ok=True)
            _mount(one, place)
    _make_devices(f"{place}/dev")
    for path in config["linux"]["readonlyPaths"]:
        _make_read_only(place + path)
    for path in config["linux"]["maskedPaths"]:
        _mask(place + path, f"{place}/dev/null")
    return {path: syscalls.clone_of_tree(place + path) for path in _TOPS}


def move_in(trees: dict[str, int], overlay: dict[str, str], remounts: list[dict[str, Any]]) -> None:
    """Mount the sandbox's files; afterwards `/` is its root and nothing of the host is left.

    `remounts` are mounts of `stage` that are to have other options.
    """
    os.chdir(overlay["directory"])
    # No device in a layer can be opened, whoever put it there: the sandbox's own are on a tmpfs.
    syscalls.mount(overlay["name"], overlay["target"], "overlay", syscalls.MS_NODEV, overlay["options"])
    os.chdir(overlay["target"])
    syscalls.swap_root()
    for path, tree in trees.items():
        if path in _NOT_THROUGH_LINKS and os.path.islink(path):
            raise OSError(errno.ELOOP, f"{path} is a link in the sandbox's files")
        os.makedirs(path, 0o755, exist_ok=True)
        syscalls.attach(tree, path)
        os.close(tree)
    for one in remounts:
        _mount(one, "", syscalls.MS_REMOUNT)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _mount(one: dict[str, Any], place: str, flags: int = 0) -> None:
    data = []
    for option in one["options"]:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    syscalls.mount(one["source"], place + one["destination"], one["type"], flags, ",".join(data) or None)


def _lend(one: dict[str, Any], place: str) -> None:
    path = place + one["destination"]
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o755))
    syscalls.mount(one["source"], path, None, syscalls.MS_BIND)
    flags = sum(_FLAGS[option] for option in one["options"] if option in _FLAGS)
    syscalls.mount("none", path, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | flags)


def _make_devices(at: str) -> None:
    before = os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"{at}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{at}/{name}")
    os.umask(before)


def _make_read_only(path: str) -> None:
    if not os.path.lexists(path):
        return
    syscalls.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REC)
    kept = os.statvfs(path).f_flag & (syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    syscalls.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | kept)


def _mask(path: str, null: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    if stat.S_ISDIR(kind):
        syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY)
    else:
        syscalls.mount(null, path, None, syscalls.MS_BIND)
