"""What the native engine needs of a machine, each thing looked at or tried.

Owns the findings and their hints. Must not change anything that stays.
"""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from sandbox.engines.base import Finding
from sandbox.engines.native import cgroups, containers, host_image, overlay, runtime, seccomp
from sandbox.engines.native.kernel import in_private_mounts
from sandbox.errors import EngineUnavailable


def findings(root: Path) -> list[Finding]:
    """One line for each need; `root` is where layers would be."""
    if not Path("/proc/self/ns").exists():
        return [Finding(False, "The native engine needs Linux.", "Use --engine docker.")]
    return [_root(), _runtime(), _init(), _cgroups(), _overlay(root), _filter(), _host()]


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding(True, "runs as root, which mounts and cgroups need")
    return Finding(False, "The native engine needs root.", "Run it as root (sudo), or use --engine docker.")


def _runtime() -> Finding:
    try:
        name, binary = runtime.choose()
    except EngineUnavailable as error:
        return Finding(False, error.says, error.hint)
    return Finding(True, f"OCI runtime {name} at {binary}")


def _init() -> Finding:
    try:
        return Finding(True, f"first process of a sandbox: {containers.init_binary()}")
    except EngineUnavailable as error:
        return Finding(False, error.says, error.hint)


def _cgroups() -> Finding:
    version = "v2" if cgroups.unified() else "v1"
    missing = cgroups.missing_controllers()
    if missing:
        hint = "Boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), and the controllers enabled at the root."
        return Finding(False, f"The cgroup controllers {', '.join(missing)} are missing ({version}).", hint)
    return Finding(True, f"cgroup {version} with the controllers that limits need")


def _overlay(root: Path) -> Finding:
    if os.geteuid() != 0:
        return Finding(False, "Whether overlayfs works can't be tried without root.", "Run `sandbox doctor` as root.")
    nearest = next(path for path in (root, *root.parents) if path.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".sandbox-try-", dir=nearest) as scratch:
            in_private_mounts(lambda: _try_overlay(Path(scratch)))
    except OSError as error:
        hint = "Put the home (SANDBOX_HOME) on ext4, xfs or btrfs; Linux must be 5.10 or later."
        return Finding(False, f"overlayfs does not work on {nearest}: {error.strerror}.", hint)
    return Finding(True, f"overlayfs works on {nearest}")


def _try_overlay(scratch: Path) -> None:
    for name in ("lower", "lower/to", "holder", "holder/from", "upper", "work", "links", "merged"):
        (scratch / name).mkdir()
    (scratch / "holder/from/file").write_text("seen through a redirect")
    overlay.set_redirect(scratch / "lower/to", "/from")
    lowers = [scratch / "lower", scratch / "holder"]
    upper, work, links, merged = (scratch / name for name in ("upper", "work", "links", "merged"))
    overlay.mount_chain("sandbox-try", lowers, upper, work, links, merged)
    (merged / "to/file").read_text()


def _filter() -> Finding:
    machine = platform.machine()
    if seccomp.profile(machine) is None:
        return Finding(False, f"There is no system call filter for {machine}.", "Use --engine docker on this machine.")
    return Finding(True, f"system call filter for {machine}")


def _host() -> Finding:
    reason = host_image.missing()
    if reason is None:
        return Finding(True, "the image 'host' can lend this machine's /usr")
    # Not a need: sandboxes of other images start without it.
    return Finding(True, f"the image 'host' can't be had: {reason}")
