"""The system call filter as the kernel takes it, made from its OCI description by libseccomp.

Owns the calls on that library, which OCI runtimes use for the same. Must not know which calls are filtered, nor why.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from functools import cache
from typing import Any

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_MASKED_EQ = 7
_OPTIMIZE, _AS_TREE = 8, 2
_NO_SUCH_CALL = -1
_ARCHITECTURES = {
    "SCMP_ARCH_X86_64": b"x86_64",
    "SCMP_ARCH_X86": b"x86",
    "SCMP_ARCH_X32": b"x32",
    "SCMP_ARCH_AARCH64": b"aarch64",
    "SCMP_ARCH_ARM": b"arm",
    "SCMP_ARCH_S390X": b"s390x",
    "SCMP_ARCH_S390": b"s390",
    "SCMP_ARCH_PPC64LE": b"ppc64le",
    "SCMP_ARCH_RISCV64": b"riscv64",
}


class _Compared(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@cache
def library() -> ctypes.CDLL | None:
    """libseccomp, where it is there."""
    try:
        found = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    return found


def program(profile: dict[str, Any]) -> bytes:
    """The BPF program of a profile that allows all but what it names. Raises OSError."""
    seccomp = library()
    if seccomp is None or profile["defaultAction"] != "SCMP_ACT_ALLOW":
        raise OSError("libseccomp is not there")
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ALLOW)))
    try:
        # Searched as a tree: the kernel runs it once for every call there is when it is set, and for every call made.
        _done(seccomp.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(_AS_TREE)), "optimize")
        for name in profile["architectures"]:
            number = ctypes.c_uint32(seccomp.seccomp_arch_resolve_name(_ARCHITECTURES[name]))
            if seccomp.seccomp_arch_exist(context, number) != 0:
                _done(seccomp.seccomp_arch_add(context, number), name)
        for rule in profile["syscalls"]:
            for name in rule["names"]:
                _refuse(seccomp, context, name, rule)
        return _exported(seccomp, context)
    finally:
        seccomp.seccomp_release(context)


def _refuse(seccomp: ctypes.CDLL, context: ctypes.c_void_p, name: str, rule: dict[str, Any]) -> None:
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number == _NO_SUCH_CALL:
        return  # younger than this library, or of another architecture, as with every runtime
    compared = [_Compared(one["index"], _MASKED_EQ, one["value"], one["valueTwo"]) for one in rule.get("args", ())]
    arguments = (_Compared * len(compared))(*compared)
    action = ctypes.c_uint32(_ERRNO | rule["errnoRet"])
    _done(seccomp.seccomp_rule_add_array(context, action, number, len(compared), arguments), name)


def _exported(seccomp: ctypes.CDLL, context: ctypes.c_void_p) -> bytes:
    handle = os.memfd_create("filter", os.MFD_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        _done(seccomp.seccomp_export_bpf(context, handle), "export")
        file.seek(0)
        return file.read()


def _done(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result), what)
