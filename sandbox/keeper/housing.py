"""The inside of a container: mounts, devices, its own root. Runs as the first process of its new namespaces.

Owns the order of the steps. Takes the parts of an OCI bundle's config.json that `sandbox.engines.native.bundle` writes,
and no others. No path of the sandbox is looked at before the root is the sandbox's own: whatever links an agent left in
a layer then lead nowhere else. Nothing runs in the sandbox yet.
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
_NOT_THROUGH_LINKS = ("/proc", "/sys")
_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def furnish(config: dict[str, Any], overlay: dict[str, str]) -> None:
    """Make this process's mount namespace the sandbox's; afterwards `/` is its root and nothing of the host is left."""
    syscalls.unshare(syscalls.CLONE_NEWCGROUP)
    socket.sethostname(config["hostname"])
    _loopback_up()
    syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
    lent = {one["destination"]: syscalls.clone_of_file(one["source"]) for one in config["mounts"] if _is_bind(one)}
    os.chdir(overlay["directory"])
    # No device in a layer can be opened, whoever put it there: the sandbox's own are on a tmpfs.
    syscalls.mount(overlay["name"], overlay["target"], "overlay", syscalls.MS_NODEV, overlay["options"])
    os.chdir(overlay["target"])
    syscalls.swap_root()
    for one in config["mounts"]:
        if _is_bind(one):
            _lend(lent[one["destination"]], one)
        else:
            _mount(one)
    _make_devices()
    for path in config["linux"]["readonlyPaths"]:
        _make_read_only(path)
    for path in config["linux"]["maskedPaths"]:
        _mask(path)


def _is_bind(one: dict[str, Any]) -> bool:
    return bool(one["type"] == "bind")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (flags,) = struct.unpack_from("H", request, 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _mount(one: dict[str, Any]) -> None:
    path, flags, data = one["destination"], 0, []
    for option in one["options"]:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        else:
            data.append(option)
    if path in _NOT_THROUGH_LINKS and os.path.islink(path):
        raise OSError(errno.ELOOP, f"{path} is a link in the sandbox's files")
    os.makedirs(path, 0o755, exist_ok=True)
    syscalls.mount(one["source"], path, one["type"], flags, ",".join(data) or None)


def _lend(tree: int, one: dict[str, Any]) -> None:
    os.close(os.open(one["destination"], os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o755))
    syscalls.attach(tree, one["destination"])
    flags = sum(_FLAGS[option] for option in one["options"] if option in _FLAGS)
    syscalls.mount("none", one["destination"], None, syscalls.MS_REMOUNT | syscalls.MS_BIND | flags)
    os.close(tree)


def _make_devices() -> None:
    before = os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")
    os.umask(before)


def _make_read_only(path: str) -> None:
    if not os.path.lexists(path):
        return
    syscalls.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REC)
    kept = os.statvfs(path).f_flag & (syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    syscalls.mount(path, path, None, syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY | kept)


def _mask(path: str) -> None:
    try:
        kind = os.lstat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise
    if stat.S_ISDIR(kind):
        syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY)
    else:
        syscalls.mount("/dev/null", path, None, syscalls.MS_BIND)
