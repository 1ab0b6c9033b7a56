"""Which system calls a sandbox may make: everything but what reaches the kernel itself or the host.

Owns the list. It names what is refused rather than what is allowed, so that a newer program does not fail on
a harmless new call. Refused are the calls that only a host's administrator needs, that open large and often
attacked parts of the kernel (bpf, io_uring, userfaultfd, perf, keyrings), or that make namespaces. Debuggers work:
ptrace sees nothing beyond the sandbox.
"""

from __future__ import annotations

import errno
from typing import Any

_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    "s390x": ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"],
    "ppc64le": ["SCMP_ARCH_PPC64LE"],
    "riscv64": ["SCMP_ARCH_RISCV64"],
}

_REFUSED = {
    "mounts": (
        "mount umount umount2 pivot_root fsopen fsconfig fsmount fspick move_mount open_tree open_tree_attr "
        "mount_setattr listmount statmount"
    ),
    "namespaces": "unshare setns",
    "handles": "open_by_handle_at name_to_handle_at",
    "modules": "init_module finit_module delete_module create_module get_kernel_syms query_module",
    "boot": "kexec_load kexec_file_load reboot swapon swapoff",
    "clock": "clock_settime clock_settime64 clock_adjtime clock_adjtime64 settimeofday stime adjtimex",
    "kernel": "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register lookup_dcookie syslog",
    "keyrings": "add_key request_key keyctl",
    "memory": "move_pages mbind migrate_pages set_mempolicy set_mempolicy_home_node get_mempolicy kcmp",
    "others": "process_madvise pidfd_getfd fanotify_init",
    "hardware": "iopl ioperm vm86 vm86old pciconfig_read pciconfig_write pciconfig_iobase",
    "accounting": "acct quotactl quotactl_fd nfsservctl _sysctl sysfs ustat uselib vhangup",
}

_CLONE_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_AF_VSOCK, _AF_ALG = 40, 38


def profile(machine: str) -> dict[str, Any] | None:
    """The profile in OCI form for `uname -m`; None for an architecture whose numbers are not known here."""
    architectures = _ARCHITECTURES.get(machine)
    if architectures is None:
        return None
    names = sorted({name for group in _REFUSED.values() for name in group.split()})
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures,
        "syscalls": [
            {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM},
            # A libc that is told ENOSYS falls back to clone, whose flags a filter can see.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
            *_new_namespaces(machine),
            # Pushing input into the terminal of the person who opened a shell.
            *(_refuse_argument("ioctl", 1, request) for request in (_TIOCSTI, _TIOCLINUX)),
            # A virtual machine's host is reached without any network.
            *(_refuse_argument("socket", 0, family) for family in (_AF_VSOCK, _AF_ALG)),
        ],
    }


def _new_namespaces(machine: str) -> list[dict[str, Any]]:
    # One rule per flag: a masked comparison can only ask for equality.
    flags_at = 1 if machine == "s390x" else 0
    bits = [1 << bit for bit in range(32) if _CLONE_NAMESPACES >> bit & 1]
    return [_refuse_argument("clone", flags_at, bit, mask=bit) for bit in bits]


def _refuse_argument(name: str, index: int, value: int, mask: int = 0xFFFFFFFF) -> dict[str, Any]:
    # Masked to 32 bits, which is all that the kernel looks at.
    argument = {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM, "args": [argument]}
