"""The OCI bundle: what a sandbox's container and the commands in it may do, as values.

Owns namespaces, capabilities, mounts, devices, limits. Must not start anything. Nothing of the manager's
own environment is in it.
"""

from __future__ import annotations

import platform
import resource
from typing import Any

from sandbox.engines.base import HIDDEN_PATHS
from sandbox.engines.native import seccomp
from sandbox.spec import Limits

INIT = "/dev/.init"
"""PID 1, which waits and reaps. Below /dev, a tmpfs in every sandbox, it is in no layer: `rm -rf /` can't take it
from later snapshots, and meets no mount point where files are."""

_CAPABILITIES = [
    # What a package manager and its scripts need as root: give files away, read and enter all of them,
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP",
    # become a service's user (also what `exec --user` needs), give up rights,
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    # stop services, listen on low ports (of the sandbox's own loopback), run scripts under another root.
    "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
]  # fmt: skip

_MASKED = [*HIDDEN_PATHS, "/sys/fs/cgroup"]

_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))

_NOFILE = 65536
_CPU_PERIOD_US = 100_000

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(home: str, name: str, *layers: dict[str, str]) -> list[str]:
    """A command's environment from scratch: defaults for its user, then each of `layers` over it."""
    merged = {"PATH": _PATH, "HOME": home, "USER": name, "LANG": "C.UTF-8", "HOSTNAME": "sandbox"}
    for layer in layers:
        merged.update(layer)
    return [f"{key}={value}" for key, value in merged.items()]


def process(
    command: tuple[str, ...],
    env: list[str],
    cwd: str,
    ids: tuple[int, int, tuple[int, ...]],
    limits: Limits,
    *,
    terminal: bool = False,
) -> dict[str, Any]:
    """A process in a sandbox, as `config.json` and `exec --process` take it; `ids` are uid, gid and further gids."""
    uid, gid, groups = ids
    # Another user than root keeps no capability across the change of user; root may not pass any on.
    held = _CAPABILITIES if uid == 0 else []
    return {
        "terminal": terminal,
        "user": {"uid": uid, "gid": gid, "additionalGids": list(groups), "umask": 0o022},
        "args": list(command),
        "env": env,
        "cwd": cwd,
        "capabilities": {"bounding": _CAPABILITIES, "effective": held, "permitted": held},
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": _open_files(), "hard": _open_files()},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            {"type": "RLIMIT_FSIZE", "soft": limits.disk_mb << 20, "hard": limits.disk_mb << 20},
        ],
        "noNewPrivileges": True,
    }


def _open_files() -> int:
    """What a build needs, as far as the manager itself may have it: root in a container often can't raise it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _NOFILE if hard == resource.RLIM_INFINITY else min(hard, _NOFILE)


def config(rootfs: str, init: str, cgroup: str, limits: Limits, *, swap_is_counted: bool) -> dict[str, Any]:
    """The content of config.json for a sandbox whose file system is at `rootfs`; `init` is the host's catatonit."""
    linux: dict[str, Any] = {
        "cgroupsPath": cgroup,
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network", "cgroup")],
        "resources": _resources(limits, swap_is_counted),
        "maskedPaths": _MASKED,
        "readonlyPaths": _READ_ONLY,
        "rootfsPropagation": "private",
    }
    filters = seccomp.profile(platform.machine())
    if filters is not None:
        linux["seccomp"] = filters
    return {
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "root": {"path": rootfs, "readonly": False},
        "process": process((INIT, "-P"), environment("/root", "root"), "/", (0, 0, ()), limits),
        "mounts": _mounts(init, limits),
        "linux": linux,
    }


def _mounts(init: str, limits: Limits) -> list[dict[str, Any]]:
    def one(path: str, kind: str, *options: str, source: str | None = None) -> dict[str, Any]:
        return {"destination": path, "type": kind, "source": source or kind, "options": list(options)}

    # Files in memory outlive who wrote them: they must never be all that the limit allows.
    shared = max(1, min(64, limits.memory_mb // 2))
    closed = ("nosuid", "noexec", "nodev")
    return [
        one("/proc", "proc", *closed),
        one("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=1m"),
        one("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        one("/dev/shm", "tmpfs", *closed, "mode=1777", f"size={shared}m", source="shm"),  # noqa: S108
        one("/dev/mqueue", "mqueue", *closed),
        one("/sys", "sysfs", *closed, "ro"),
        one(INIT, "bind", "bind", "ro", "nosuid", "nodev", source=init),
    ]


def _resources(limits: Limits, swap_is_counted: bool) -> dict[str, Any]:
    memory = limits.memory_mb << 20
    allowed = [{"allow": True, "type": "c", "major": a, "minor": b, "access": "rw"} for _, a, b in _DEVICES]
    terminals = [
        {"allow": True, "type": "c", "major": 136, "access": "rw"},
        {"allow": True, "type": "c", "major": 5, "minor": 2, "access": "rw"},
    ]
    return {
        # Equal to `limit`: no swap on top, or a sandbox would stall the host before it meets its limit.
        "memory": {"limit": memory, **({"swap": memory} if swap_is_counted else {})},
        "pids": {"limit": limits.pids},
        "cpu": {"quota": max(1000, int(limits.cpus * _CPU_PERIOD_US)), "period": _CPU_PERIOD_US},
        "devices": [{"allow": False, "access": "rwm"}, *allowed, *terminals],
    }
